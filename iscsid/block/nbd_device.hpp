// A logical unit shown as /dev/nbdN: control's half. The kernel keeps the device, and what is asked of it,
// while no daemon serves it. A socket that dies under a live daemon is replaced, as often as it takes. What
// blocks runs on helper threads. Control's thread, but for make_queue().
#pragma once

#include "block/block.hpp"
#include "block/kernel_device.hpp"
#include "block/nbd_binding.hpp"
#include "block/nbd_kernel_queue.hpp"
#include "ring/await.hpp"

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace iscsi::block {

class NbdDevice final : public BlockDevice {
public:
    using Made = base::Result<std::unique_ptr<BlockDevice>>;

    /// A new device; start() picks its name. Errors: not_supported (blocks that are longer than a page).
    static ring::Task<Made> create(ring::Loop& loop, KernelDeviceRequest request);
    /// The device that a daemon before this one made with `request.cookie`. Errors: not_found; whatever else:
    /// it may be there.
    static ring::Task<Made> take_back(ring::Loop& loop, KernelDeviceRequest request);

    ~NbdDevice() override;

    /// Of a new device: empty until it was started.
    const std::string& name() const override { return name_; }
    const std::string& path() const override { return path_; }
    const std::string& uri() const override { return uri_; }
    const std::vector<std::string>& links() const override { return links_; }
    base::Result<std::unique_ptr<BlockQueue>> make_queue(const QueueContext& context) override;
    ring::Task<base::Result<void>> start() override;
    ring::Task<base::Result<void>> resize(Attributes attributes) override;
    ring::Task<base::Result<void>> remove() override;
    bool outlives_daemon() const override { return true; }

    void set_on_lost(const std::function<void(const base::Error&)>& on_lost) override { on_lost_ = on_lost; }
    bool is_lost() const { return lost_; }

private:
    NbdDevice(ring::Loop& loop, KernelDeviceRequest request);
    void take_name();
    void on_link_dead();
    void mend();
    void on_mended();
    void settle() const;

    ring::Loop& loop_;
    KernelDeviceRequest request_;
    NbdBinding binding_; ///< on helper threads while one of them works on it
    std::string name_;
    std::string path_;
    std::string uri_;
    std::vector<std::string> links_;
    bool taken_back_ = false;
    bool removing_ = false;
    bool lost_ = false;
    std::function<void(const base::Error&)> on_lost_;

    std::shared_ptr<NbdLink> link_;
    std::thread mender_;
    bool mending_ = false;
    base::Result<void> mended_;
    ring::Event mended_event_;
    ring::Timer mend_again_;
    bool resizing_ = false;
};

} // namespace iscsi::block

// A logical unit shown as /dev/ublkbN: control's half. The device is made so that the kernel keeps it, and
// all I/O for it, while no daemon serves it (user recovery); the cookie by which the next daemon finds it
// lies in the kernel, with the device. Owns /dev/ublkcN until the queue is made. Control's thread, but for
// make_queue(). Source: Linux 6.12 to 7.2, drivers/block/ublk_drv.c.
#pragma once

#include "block/block.hpp"
#include "block/kernel_device.hpp"
#include "block/ublk_control.hpp"
#include "block/ublk_queue.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace iscsi::block {

class UblkDevice final : public BlockDevice {
public:
    using Made = base::Result<std::unique_ptr<BlockDevice>>;
    using Added = base::Result<std::unique_ptr<UblkDevice>>;

    /// A new device. `control` outlives it. Errors: not_supported (an older kernel), access_denied, busy (no
    /// more devices are allowed), internal.
    static ring::Task<Made> create(UblkControl& control, KernelDeviceRequest request);
    /// The device that a daemon before this one made with `request.cookie`; its depth, its queues and its
    /// parameters are what they were. Waits until the kernel has noticed the old daemon's end. Errors:
    /// not_found (also when it had never been started; it is deleted then), busy (still served after a
    /// minute), internal.
    static ring::Task<Made> take_back(UblkControl& control, KernelDeviceRequest request);

    ~UblkDevice() override;

    const std::string& name() const override { return name_; }
    const std::string& path() const override { return path_; }
    const std::string& uri() const override { return uri_; }
    const std::vector<std::string>& links() const override { return links_; }
    unsigned queues() const override { return info_.queues; }
    base::Result<std::unique_ptr<BlockQueue>> make_queue(const QueueContext& context) override;
    ring::Task<base::Result<void>> start() override;
    ring::Task<base::Result<void>> resize(Attributes attributes) override;
    ring::Task<base::Result<void>> remove() override;
    /// Linux 6.16.
    ring::Task<bool> quiesce() override;
    bool outlives_daemon() const override { return true; }

    // The kernel's part of the above, without udev, for the self-test.
    static ring::Task<Added> add(UblkControl& control, KernelDeviceRequest request);
    ring::Task<base::Result<void>> begin();
    ring::Task<base::Result<void>> end();
    /// Deletes the device when the last user has closed it.
    ring::Task<base::Result<void>> erase();
    unsigned number() const { return info_.dev_id; }

private:
    UblkDevice(UblkControl& control, KernelDeviceRequest request, const ublk::DeviceInfo& info);
    ring::Task<base::Result<void>> prepare();
    ring::Task<base::Result<void>> open_node();
    ring::Task<base::Result<void>> recover();
    ring::Task<void> quiesce_if_unserved();
    ring::Task<void> check_tags();
    int tag_refusal() const;
    std::string node() const; ///< the server's: /dev/ublkcN
    UdevProperties properties() const;
    base::Error failure(const char* command, int result) const;

    UblkControl& control_;
    KernelDeviceRequest request_;
    ublk::DeviceInfo info_;
    std::string name_;
    std::string path_;
    std::string uri_;
    std::vector<std::string> links_;
    int fd_ = -1; ///< until the last queue is made
    unsigned queues_made_ = 0;
    bool taken_back_ = false;
    bool begun_ = false;
    std::shared_ptr<UblkShared> shared_ = std::make_shared<UblkShared>();
};

/// Errors: internal, there may be one.
base::Result<bool> is_any_ublk_device();

/// The device that carries `cookie`, if there is one. Errors: access_denied, no_memory, internal: some device
/// cannot be asked, and the others do not carry it.
ring::Task<base::Result<std::optional<ublk::DeviceInfo>>> find_ublk_device(UblkControl& control,
                                                                           std::uint64_t cookie);

} // namespace iscsi::block

// What control's half of /dev/nbdN asks of the kernel: to connect a new device, to give one that was found
// again another socket, to resize, to disconnect. The kernel keeps with the device a backend identifier made
// from the cookie, by which it is known again. Owns our end of a new socket until that is taken. Source:
// Linux 6.1 and 6.12, drivers/block/nbd.c.
#pragma once

#include "block/kernel_device.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace iscsi::block {

class NbdNetlink;

class NbdBinding {
public:
    explicit NbdBinding(const KernelDeviceRequest& request);
    NbdBinding(const NbdBinding&) = delete;
    NbdBinding& operator=(const NbdBinding&) = delete;
    ~NbdBinding();

    // These block: on a helper thread, one at a time.
    /// Makes the device under the lowest number from `lowest_index` on that none has yet, its properties for
    /// udev before it. Errors: not_supported, access_denied, busy (no number is free), internal.
    base::Result<void> connect(std::uint32_t lowest_index);
    /// Gives the device, whose socket is dead or will be in a moment, another. Errors: not_found (somebody
    /// has disconnected it), busy (it is still served by somebody after ten seconds), as above.
    base::Result<void> reconnect();
    /// What is in progress fails, and the device goes. It must be ours.
    base::Result<void> disconnect();

    // These do not; the caller sees to it that none of the above is in progress.
    /// The cookies of all connected devices that a daemon of this kind has made.
    static std::vector<std::uint64_t> cookies_of_all();
    /// Looks for the device among those that there are. Errors: not_found; whatever else: it may be there.
    base::Result<void> find();
    /// The device is connected, and not by somebody else since. Errors: internal, it may be.
    base::Result<bool> is_ours() const;
    /// What a device helper is asked to give the device another size.
    std::string resize_request(std::uint64_t size_bytes) const;
    /// What a device helper is asked to put right what one before it may have left.
    std::string settle_request() const;
    /// Our end of the socket that connect() or reconnect() gave the kernel.
    int take_socket();
    /// "nbd3"; empty before connect() or find().
    const std::string& name() const { return name_; }

private:
    base::Result<void> connect_one(std::uint32_t index);
    base::Result<void> offer_socket(NbdNetlink& netlink);
    void forget_lost();
    UdevProperties properties() const;
    void set_index(std::uint32_t index);

    const KernelDeviceRequest& request_;
    std::string backend_;
    std::optional<std::uint32_t> index_;
    std::string name_;
    int our_end_ = -1;
};

} // namespace iscsi::block

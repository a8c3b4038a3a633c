// The ways this machine can show a block device (ublk, nbd, NBD exports on Unix sockets), which of them a
// self-test showed to work, and the making of devices with the one that was chosen. Control's loop, which
// must be wide (ublk's control commands).
#pragma once

#include "block/kernel_device.hpp"
#include "block/nbd_export.hpp"
#include "block/ublk_control.hpp"
#include "ring/loop.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace iscsi::block {

/// "ublk", "nbd", "socket".
std::string_view text(Backend backend);

class Backends {
public:
    struct Config {
        std::string wanted = "auto"; ///< iscsid.block: auto, ublk, nbd or socket
        NbdExport::Place exports;
        std::uint32_t zero_copy_bytes_min = 0; ///< see KernelDeviceRequest
        /// Loads a module of the kernel; blocks. Failing is no error: the driver may be built in.
        std::function<void(const std::string& module)> load_module;
    };

    Backends(ring::Loop& loop, Config config);

    /// Finds out what works and chooses: the one asked for, or the first of ublk, nbd and socket that passes
    /// its self-test. `in_use`: there are devices of the daemon before, so it works. Says in words what was
    /// found, a line each.
    ring::Task<std::vector<std::string>> choose(std::optional<Backend> in_use);

    /// What create() makes; none when the one that was asked for does not work here.
    std::optional<Backend> chosen() const { return chosen_; }
    const std::string& why_none() const { return why_none_; }

    /// A new device. Errors: not_supported, with the reason, when none was chosen.
    ring::Task<base::Result<std::unique_ptr<BlockDevice>>> create(DeviceIdentity identity,
                                                                  KernelDeviceRequest request);
    /// The device that a daemon before this one made with `request.cookie`. Errors: not_found; whatever else:
    /// it may be there.
    ring::Task<base::Result<std::unique_ptr<BlockDevice>>> take_back(Backend backend,
                                                                     KernelDeviceRequest request);

private:
    ring::Task<base::Result<std::string>> test(Backend backend);
    ring::Task<base::Result<std::string>> test_ublk();
    ring::Task<void> load(std::string module);
    base::Result<void> open_control();

    ring::Loop& loop_;
    Config config_;
    std::unique_ptr<UblkControl> ublk_;
    std::optional<Backend> chosen_;
    std::string why_none_ = "no backend was chosen yet";
};

} // namespace iscsi::block

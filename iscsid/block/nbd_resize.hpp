// A new size for a connected nbd device. Linux 6.9 and later hold up new requests, wait for those in
// progress, and hold the lock of the machine's generic netlink meanwhile: should their server die, nobody
// could give the device another socket. Requests get a limit for that time, so that the kernel gets out by
// itself, and none may be in progress that is older: it could reach the limit although its server is well.
// The limit is taken away together with the change of the size, in one call of the kernel's that a killed
// helper ends, too. What a helper leaves that is killed just before that call, settle_nbd_device() puts
// right. Older kernels change the size with requests in progress, and need nothing of this. In a device
// helper only: the files of /sys/block/nbdN/queue wait for I/O, too. Source: Linux 6.1 and 6.12,
// drivers/block/nbd.c (nbd_genl_reconfigure, nbd_set_size, nbd_xmit_timeout), block/blk-sysfs.c.
#pragma once

#include "base/result.hpp"

#include <chrono>
#include <cstdint>
#include <string>

namespace iscsi::block {

/// How often the kernel looks at requests that are not answered yet, and sends those again whose socket has
/// been replaced (queue/io_timeout). Each look at one that is merely slow is a line in its log.
inline constexpr std::chrono::milliseconds nbd_look_interval{5000};
/// While the size is changed: a request older than this makes the kernel give the socket up. Longer than a
/// handler takes that is told to wait by a target that is there.
inline constexpr std::chrono::seconds nbd_resize_request_time_max{70};

struct NbdDeviceMark {
    std::uint32_t index = 0;
    std::string backend;
    std::chrono::seconds dead_timeout; ///< the device's own
};

/// Blocks. Errors: busy (the target does not answer; nothing was changed), those of NbdNetlink.
base::Result<void> resize_nbd_device(const NbdDeviceMark& device, std::uint64_t size_bytes);

/// Gives a device the timeouts that it was made with, if those of a change of the size are left on it.
/// Blocks.
base::Result<void> settle_nbd_device(const NbdDeviceMark& device);

} // namespace iscsi::block

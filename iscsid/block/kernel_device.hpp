// What both kinds of kernel block device (ublk, nbd) are made from, and the mark by which a daemon finds its
// own again after a restart: a number that the kernel keeps with the device. Values only.
#pragma once

#include "block/block.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace iscsi::block {

/// Which driver shows a device.
enum class Backend : std::uint8_t { ublk, nbd, socket };

/// Names and values for udev's database, e.g. {"ID_SERIAL", "36001405…"}.
using UdevProperties = std::vector<std::pair<std::string, std::string>>;

struct KernelDeviceRequest {
    /// Random, never 0, unlike that of any other device; the caller has stored it before the device is made.
    std::uint64_t cookie = 0;
    Attributes attributes;
    unsigned depth = 32; ///< requests that the handler works on at a time, of one queue
    /// Wished for, 1..limits::queues_max; BlockDevice::queues() says how many there are: nbd has one. To take
    /// a device back: how many it may have.
    unsigned queues = 1;
    /// False: the kernel fails its I/O and takes it away when this process dies (the self-test's, which reads
    /// from it: nobody can die while it waits for a device that waits for its next server). Only ublk knows
    /// it.
    bool outlives_daemon = true;
    /// Reads and writes from this size on go between the kernel's memory and the socket without a copy here,
    /// where the kernel and the session allow it; 0 = never. Only ublk knows it.
    std::uint32_t zero_copy_bytes_min = 0;
    UdevProperties properties;
    /// How long I/O waits for a new daemon when this one has died, before it fails. Only nbd can bound it; a
    /// daemon that dies while the size of such a device changes is the exception, see nbd_resize.hpp.
    std::chrono::seconds abandoned_timeout{120};
    /// The /dev/disk/by-path name without its folder; links() begins with it.
    std::string by_path_name;
};

} // namespace iscsi::block

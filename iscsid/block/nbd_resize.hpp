// A new size for a connected nbd device. The kernel holds up new requests and waits for those in progress,
// and holds the lock of the machine's generic netlink meanwhile (Linux 6.9 and later): should their server
// die, nobody could give the device another socket. Called in a device helper only. Source: Linux 6.12,
// drivers/block/nbd.c (nbd_genl_reconfigure, nbd_set_size, nbd_xmit_timeout).
#pragma once

#include "base/result.hpp"

#include <chrono>
#include <cstdint>
#include <string>

namespace iscsi::block {

struct NbdResize {
    std::uint32_t index = 0;
    std::string backend;
    std::chrono::seconds dead_timeout; ///< the device's own, put back afterwards
    std::uint64_t size_bytes = 0;
};

/// Blocks. Errors: busy (requests in progress do not end; nothing was changed), those of NbdNetlink.
base::Result<void> resize_nbd_device(const NbdResize& wanted);

} // namespace iscsi::block

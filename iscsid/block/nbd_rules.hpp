// What the NBD protocol (doc/proto.md) says about one export and one request, as pure functions: the flags
// and block sizes that are advertised, which requests are refused and how, and the protocol's error number
// for an errno. Any thread.
#pragma once

#include "block/block.hpp"
#include "block/nbd_abi.hpp"

#include <cstdint>

namespace iscsi::block::nbd {

/// The transmission flags of an export. Force unit access is always offered: the handler guarantees it.
std::uint16_t transmission_flags(const Attributes& attributes, bool structured_replies);

struct BlockSizes {
    std::uint32_t minimum = 512;
    std::uint32_t preferred = 4096;
    std::uint32_t maximum = payload_bytes_max;
};

/// Minimum: the logical block. Preferred: at least 4 KiB and the physical block, the optimal size if that is
/// a power of two. Maximum: longest read or write, a multiple of the minimum.
BlockSizes block_sizes(const Attributes& attributes);

/// Why `request` is refused, before anything was done for it; none = do it.
Error refusal(const RequestHeader& request, const Attributes& attributes, bool structured_replies);

/// The error field for a positive errno; 0 gives none.
Error error_of(int error_number);

} // namespace iscsi::block::nbd

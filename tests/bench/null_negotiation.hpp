// The null target's side of text negotiation: for each key that it is offered, the answer, and what comes of
// it (RFC 7143 sections 6 and 13). It takes whatever an initiator likes best. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace iscsi::bench {

/// The longest data segment that the null target takes.
inline constexpr std::uint32_t null_target_segment_bytes_max = 256 * 1024;

struct Negotiated {
    bool accepted = true; ///< false: the initiator insists on an authentication that is not offered
    bool header_digest = false;
    bool data_digest = false;
    std::uint32_t max_xmit_data_segment_bytes = 8192; ///< what the initiator takes
    std::uint32_t max_burst_bytes = 262144;
    std::uint32_t first_burst_bytes = 65536;
};

/// The answer to `request` (key=value pairs, each ended by a zero byte), in the same form.
std::string negotiate(std::string_view request, Negotiated& negotiated);

} // namespace iscsi::bench

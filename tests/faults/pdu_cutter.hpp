// Cuts one direction of an iSCSI connection into PDUs and names the parts of each, for the fault proxy. Knows
// the figures of RFC 7143 section 11 by itself and uses none of the product's code. Owns copies of the bytes.
// One thread.
#pragma once

#include "base/bytes.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace iscsi::faults {

enum class Region { header, additional, header_digest, data, padding, data_digest };

/// Which digests follow from a login; none in it. Shared by both directions of a connection.
struct Digests {
    bool header = false, data = false;
};

/// One PDU as it stood on the wire.
struct Pdu {
    std::vector<std::byte> bytes;
    std::size_t additional_bytes = 0, data_bytes = 0;
    Digests digests;

    std::uint8_t opcode() const { return std::to_integer<std::uint8_t>(bytes[0]) & 0x3fU; }
    std::uint8_t byte(std::size_t at) const { return std::to_integer<std::uint8_t>(bytes[at]); }
    /// The bytes of a region; empty when this PDU has none of it.
    base::MutableBytes region(Region region);
};

class PduCutter {
public:
    explicit PduCutter(const Digests& digests) : digests_(digests) {}

    void add(base::Bytes received) { rest_.insert(rest_.end(), received.begin(), received.end()); }
    /// The next PDU, once it is whole.
    std::optional<Pdu> next();
    /// Bytes of a PDU that is not whole yet.
    base::Bytes rest() const { return base::Bytes(rest_).subspan(at_); }

private:
    const Digests& digests_;
    std::vector<std::byte> rest_;
    std::size_t at_ = 0; ///< where the next PDU begins in it
};

/// Reads a login as it passes, for the digests that both sides agree on in it.
class LoginReader {
public:
    /// A PDU from the target. The digests hold from the one behind it on, in both directions.
    void from_target(const Pdu& pdu, Digests& digests);

private:
    std::string text_;
};

} // namespace iscsi::faults

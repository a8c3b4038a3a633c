// CRC32C, the digest of RFC 7143 section 13.1. Any thread.
#pragma once

#include "base/bytes.hpp"

#include <cstdint>

namespace iscsi::base {

/// Running CRC32C. value() gives the digest as it is stored on the wire when the number is written
/// little-endian (RFC 7143 section 13.1; test vectors in RFC 3720 B.4: 32 zero bytes give 0x8a9136aa).
class Crc32c {
public:
    void add(Bytes bytes);
    /// As add(), and copies the bytes to `to`, where there is room for all of them; the two do not overlap.
    void copy(std::byte* to, Bytes from);
    std::uint32_t value() const { return ~state_; }
    void reset() { state_ = 0xffffffffU; }

private:
    std::uint32_t state_ = 0xffffffffU;
};

std::uint32_t crc32c(Bytes bytes);

} // namespace iscsi::base

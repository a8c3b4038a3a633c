// PDUs as the simulated target sees them: 48 bytes, read and set by the fields that the scripted target knows
// from RFC 7143's figures (scripted/figures.hpp), so nothing of the initiator's own is used; unlike there
// nothing is allocated. Values; any thread.
#pragma once

#include "scripted/figures.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace iscsi::sim {

using scripted::Opcode;
namespace field = scripted::field;

using Header = std::array<std::byte, scripted::header_bytes>;

template <const scripted::Field& f>
constexpr std::uint64_t get(const Header& header) {
    if constexpr (f.bits < 8) {
        return std::to_integer<unsigned>(header[f.byte]) >> (8U - f.bit - f.bits) & ((1U << f.bits) - 1);
    } else {
        std::uint64_t value = 0;
        for (unsigned i = 0; i < f.bits / 8U; ++i) {
            value = value << 8 | std::to_integer<std::uint64_t>(header[f.byte + i]);
        }
        return value;
    }
}

template <const scripted::Field& f>
constexpr std::uint32_t get32(const Header& header) {
    return static_cast<std::uint32_t>(get<f>(header));
}

template <const scripted::Field& f>
constexpr void set(Header& header, std::uint64_t value = 1) {
    if constexpr (f.bits < 8) {
        const unsigned shift = 8U - f.bit - f.bits;
        const unsigned mask = ((1U << f.bits) - 1) << shift;
        header[f.byte] =
            (header[f.byte] & ~static_cast<std::byte>(mask)) | static_cast<std::byte>(value << shift & mask);
    } else {
        for (unsigned i = f.bits / 8U; i-- > 0; value >>= 8) {
            header[f.byte + i] = static_cast<std::byte>(value & 0xff);
        }
    }
}

inline Header make_header(Opcode opcode) {
    Header header{};
    set<field::opcode>(header, static_cast<std::uint8_t>(opcode));
    return header;
}

/// A big-endian number in a CDB.
inline std::uint64_t number_at(const std::byte* bytes, unsigned count) {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < count; ++i) {
        value = value << 8 | std::to_integer<std::uint64_t>(bytes[i]);
    }
    return value;
}

/// RFC 1982: `a` comes before `b`.
constexpr bool before(std::uint32_t a, std::uint32_t b) {
    return static_cast<std::int32_t>(a - b) < 0;
}

} // namespace iscsi::sim

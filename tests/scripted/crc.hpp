// CRC32C as RFC 7143 section 13.1 describes it, made bit by bit into a table when this is compiled. Written
// for the scripted target alone, so that digests are compared with a second opinion. Pure; any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace iscsi::scripted {

namespace detail {

/// x^32 + ... of RFC 7143 section 13.1 (0x11edc6f41), its bits mirrored as the shift register sees them.
constexpr std::array<std::uint32_t, 256> make_crc_table() {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < table.size(); ++i) {
        std::uint32_t rest = i;
        for (int bit = 0; bit < 8; ++bit) {
            rest = (rest & 1U) != 0 ? rest >> 1 ^ 0x82f63b78U : rest >> 1;
        }
        table[i] = rest;
    }
    return table;
}

inline constexpr std::array<std::uint32_t, 256> crc_table = make_crc_table();

} // namespace detail

/// The four bytes of a digest as they stand on the wire.
inline std::array<std::byte, 4> digest_of(std::span<const std::byte> bytes) {
    std::uint32_t crc = 0xffffffffU;
    for (std::byte byte : bytes) {
        crc = crc >> 8 ^ detail::crc_table[(crc ^ std::to_integer<std::uint32_t>(byte)) & 0xffU];
    }
    crc = ~crc;
    std::array<std::byte, 4> wire{};
    for (std::byte& byte : wire) {
        byte = static_cast<std::byte>(crc & 0xffU);
        crc >>= 8;
    }
    return wire;
}

} // namespace iscsi::scripted

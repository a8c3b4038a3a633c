// What stands in a block. Every write of a schedule fills its blocks with a pattern of its own in which each
// word tells the write, the block and its place in it, so that a byte in the wrong place is seen; a content
// is then known by its number alone. Pure; any thread.
#pragma once

#include "base/bytes.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace iscsi::sim {

inline constexpr std::uint32_t block_bytes = 512;
inline constexpr std::size_t block_words = block_bytes / sizeof(std::uint64_t);

/// What stands in memory that is not a request's at the time.
inline constexpr auto poison = std::byte{0xee};

/// 0: zeroes; n: the pattern of version n - 1 (see Shadow).
using Content = std::uint16_t;
inline constexpr Content zeroes = 0;
inline constexpr int no_content = -1;

constexpr std::uint64_t first_word(Content content, std::uint64_t block) {
    return content == zeroes ? 0 : 0x5a5a'0000'0000'0000ULL | block << 16 | content;
}

/// `to` has block_bytes.
inline void fill_block(std::byte* to, Content content, std::uint64_t block) {
    const std::uint64_t first = first_word(content, block);
    for (std::size_t i = 0; i < block_words; ++i) {
        const std::uint64_t word = first * (2 * i + 1);
        std::memcpy(to + i * sizeof word, &word, sizeof word);
    }
}

/// The content of `block` that these bytes are, or no_content.
inline int content_of(const std::byte* from, std::uint64_t block) {
    std::uint64_t first = 0;
    std::memcpy(&first, from, sizeof first);
    const auto content = static_cast<Content>(first & 0xffff);
    if (first != first_word(content, block)) {
        return no_content;
    }
    std::uint64_t wrong = 0;
    for (std::size_t i = 1; i < block_words; ++i) {
        std::uint64_t word = 0;
        std::memcpy(&word, from + i * sizeof word, sizeof word);
        wrong |= word ^ first * (2 * i + 1);
    }
    return wrong == 0 ? content : no_content;
}

} // namespace iscsi::sim

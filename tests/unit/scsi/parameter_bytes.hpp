// Parameter data for the tests of this room: bytes from hexadecimal text, and the ways in which a target can
// get them wrong. Every buffer is exactly as long as what it holds, so that the address sanitizer sees the
// first byte read behind it.
#pragma once

#include "base/bytes.hpp"

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <random>
#include <string_view>
#include <vector>

namespace iscsi::test {

using ByteVector = std::vector<std::byte>;

/// "12 00 ff" as bytes; blanks are ignored.
inline ByteVector hex(std::string_view text) {
    ByteVector bytes;
    int high = -1;
    for (char c : text) {
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) {
            continue;
        }
        if (high < 0) {
            high = digit;
            continue;
        }
        bytes.push_back(static_cast<std::byte>(high * 16 + digit));
        high = -1;
    }
    return bytes;
}

inline ByteVector chars(std::string_view text) {
    auto bytes = base::bytes_of(text);
    return {bytes.begin(), bytes.end()};
}

inline ByteVector join(std::initializer_list<ByteVector> parts) {
    ByteVector all;
    for (const ByteVector& part : parts) {
        all.insert(all.end(), part.begin(), part.end());
    }
    return all;
}

/// A heap copy without a byte to spare, given to `parse`.
template <class Parse>
void parse_exactly(base::Bytes bytes, Parse parse) {
    auto copy = std::make_unique<std::byte[]>(bytes.size());
    std::copy(bytes.begin(), bytes.end(), copy.get());
    parse(base::Bytes(copy.get(), bytes.size()));
}

/// `parse` gets every prefix of `whole`, then `whole` with each byte in turn set to 00h, 7Fh, 80h and FFh and
/// cut at random, then noise.
template <class Parse>
void parse_damaged(const ByteVector& whole, Parse parse) {
    for (std::size_t size = 0; size <= whole.size(); ++size) {
        parse_exactly(base::Bytes(whole).first(size), parse);
    }
    std::mt19937 random(1);
    for (std::size_t at = 0; at < whole.size(); ++at) {
        for (unsigned value : {0x00U, 0x7fU, 0x80U, 0xffU}) {
            ByteVector damaged = whole;
            damaged[at] = static_cast<std::byte>(value);
            parse_exactly(damaged, parse);
            parse_exactly(base::Bytes(damaged).first(random() % (whole.size() + 1)), parse);
        }
    }
    for (int round = 0; round < 500; ++round) {
        ByteVector noise(random() % 300);
        for (std::byte& b : noise) {
            b = static_cast<std::byte>(random());
        }
        // The first bytes often decide whether the rest is looked at.
        std::copy_n(whole.begin(), std::min<std::size_t>({whole.size(), noise.size(), 4}), noise.begin());
        parse_exactly(noise, parse);
    }
}

} // namespace iscsi::test

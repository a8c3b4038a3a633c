// Text in and out: strict numbers, lists, hex and base64 (the encodings of RFC 7143 section 6.1), and what
// makes a peer's text safe to print. Pure functions; any thread.
#pragma once

#include "base/bytes.hpp"
#include "base/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::base {

/// A whole decimal number without sign, blanks or trailing text; empty when it is none or is above `max`.
std::optional<std::uint64_t> parse_decimal(std::string_view text, std::uint64_t max = UINT64_MAX);

/// A number of RFC 7143 section 6.1: decimal, or hexadecimal behind 0x / 0X; leading zeros of a decimal are
/// refused.
std::optional<std::uint64_t> parse_rfc_number(std::string_view text, std::uint64_t max = UINT64_MAX);

/// A binary value of RFC 7143 section 6.1: 0x / 0X hexadecimal (an odd count of digits is legal) or 0b / 0B
/// base64 (RFC 4648). Refuses more than `max_bytes`, foreign characters, bad padding.
std::optional<std::vector<std::byte>> parse_rfc_binary(std::string_view text, std::size_t max_bytes);

/// "0x" and two lower-case digits a byte.
std::string hex_binary(Bytes bytes);

std::string_view trim(std::string_view text);
std::vector<std::string_view> split(std::string_view text, char separator);

/// `text` with every control character, and every byte that is not part of valid UTF-8, written as \xNN; for
/// logs and terminals; so are characters that reorder or hide text. Cut to `max_bytes`, then "..." behind it.
std::string printable(std::string_view text, std::size_t max_bytes = 512);

} // namespace iscsi::base

#include "base/text.hpp"

#include <array>

namespace iscsi::base {
namespace {

constexpr std::string_view blanks = " \t\r\n\v\f";

int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

int base64_digit(char c) {
    constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::size_t at = alphabet.find(c);
    return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

bool has_prefix(std::string_view text, char letter) {
    return text.size() >= 2 && text[0] == '0' && (text[1] | 0x20) == letter;
}

std::optional<std::uint64_t> parse_digits(std::string_view digits, unsigned radix, std::uint64_t max) {
    if (digits.empty()) {
        return std::nullopt;
    }
    std::uint64_t value = 0;
    for (char c : digits) {
        int digit = hex_digit(c);
        if (digit < 0 || static_cast<unsigned>(digit) >= radix) {
            return std::nullopt;
        }
        auto addend = static_cast<std::uint64_t>(digit);
        if (value > (max - addend) / radix || addend > max) {
            return std::nullopt;
        }
        value = value * radix + addend;
    }
    return value;
}

std::optional<std::vector<std::byte>> parse_hex(std::string_view digits, std::size_t max_bytes) {
    if (digits.empty() || (digits.size() + 1) / 2 > max_bytes) {
        return std::nullopt;
    }
    std::vector<std::byte> out;
    out.reserve((digits.size() + 1) / 2);
    // An odd count means that the first digit stands alone (RFC 7143 section 6.1).
    std::size_t at = 0;
    if (digits.size() % 2 == 1) {
        int low = hex_digit(digits[at++]);
        if (low < 0) {
            return std::nullopt;
        }
        out.push_back(static_cast<std::byte>(low));
    }
    for (; at < digits.size(); at += 2) {
        int high = hex_digit(digits[at]);
        int low = hex_digit(digits[at + 1]);
        if (high < 0 || low < 0) {
            return std::nullopt;
        }
        out.push_back(static_cast<std::byte>(high * 16 + low));
    }
    return out;
}

std::optional<std::vector<std::byte>> parse_base64(std::string_view text, std::size_t max_bytes) {
    std::size_t padding = 0;
    while (padding < 2 && !text.empty() && text.back() == '=') {
        text.remove_suffix(1);
        ++padding;
    }
    if (text.empty() || (text.size() + padding) % 4 != 0 || text.size() / 4 * 3 > max_bytes) {
        return std::nullopt;
    }
    std::vector<std::byte> out;
    std::uint32_t bits = 0;
    unsigned bit_count = 0;
    for (char c : text) {
        int digit = base64_digit(c);
        if (digit < 0) {
            return std::nullopt;
        }
        bits = (bits << 6) | static_cast<std::uint32_t>(digit);
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            out.push_back(static_cast<std::byte>((bits >> bit_count) & 0xff));
        }
    }
    if ((bits & ((1U << bit_count) - 1)) != 0 || out.size() > max_bytes) {
        return std::nullopt;
    }
    return out;
}

/// The length of the valid, printable UTF-8 character at the start of `text`; 0 when there is none.
std::size_t printable_length(std::string_view text) {
    auto lead = static_cast<unsigned char>(text[0]);
    if (lead < 0x80) {
        return lead >= 0x20 && lead != 0x7f ? 1 : 0;
    }
    std::size_t length = lead >= 0xf0 && lead < 0xf5 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 0;
    if (lead >= 0xf5 || length == 0 || text.size() < length) {
        return 0;
    }
    std::uint32_t code = lead & (0x7fU >> length);
    for (std::size_t i = 1; i < length; ++i) {
        auto next = static_cast<unsigned char>(text[i]);
        if ((next & 0xc0) != 0x80) {
            return 0;
        }
        code = (code << 6) | (next & 0x3fU);
    }
    constexpr std::array<std::uint32_t, 5> smallest{0, 0, 0x80, 0x800, 0x10000};
    bool overlong = code < smallest[length];
    bool c1_control = code >= 0x80 && code < 0xa0;
    bool surrogate = code >= 0xd800 && code < 0xe000;
    // Marks that reorder or hide text on a terminal.
    bool hidden = code == 0xad || code == 0x61c || code == 0x180e || (code >= 0x200b && code <= 0x200f) ||
                  (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) ||
                  code == 0xfeff || (code >= 0xfff9 && code <= 0xfffb) ||
                  (code >= 0xe0000 && code <= 0xe007f);
    return overlong || c1_control || surrogate || hidden || code > 0x10ffff ? 0 : length;
}

} // namespace

std::optional<std::uint64_t> parse_decimal(std::string_view text, std::uint64_t max) {
    return parse_digits(text, 10, max);
}

std::optional<std::uint64_t> parse_rfc_number(std::string_view text, std::uint64_t max) {
    if (has_prefix(text, 'x')) {
        return parse_digits(text.substr(2), 16, max);
    }
    if (text.size() > 1 && text[0] == '0') {
        return std::nullopt;
    }
    return parse_digits(text, 10, max);
}

std::optional<std::vector<std::byte>> parse_rfc_binary(std::string_view text, std::size_t max_bytes) {
    if (has_prefix(text, 'x')) {
        return parse_hex(text.substr(2), max_bytes);
    }
    if (has_prefix(text, 'b')) {
        return parse_base64(text.substr(2), max_bytes);
    }
    return std::nullopt;
}

std::string hex_binary(Bytes bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out = "0x";
    for (std::byte b : bytes) {
        out += digits[std::to_integer<unsigned>(b) >> 4];
        out += digits[std::to_integer<unsigned>(b) & 15];
    }
    return out;
}

std::string_view trim(std::string_view text) {
    std::size_t first = text.find_first_not_of(blanks);
    if (first == std::string_view::npos) {
        return {};
    }
    return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    for (;;) {
        std::size_t at = text.find(separator);
        parts.push_back(text.substr(0, at));
        if (at == std::string_view::npos) {
            return parts;
        }
        text.remove_prefix(at + 1);
    }
}

std::string printable(std::string_view text, std::size_t max_bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out;
    while (!text.empty()) {
        std::size_t length = printable_length(text);
        auto byte = static_cast<unsigned char>(text[0]);
        std::array<char, 4> escape{'\\', 'x', digits[byte >> 4], digits[byte & 15]};
        std::string_view piece =
            length != 0 ? text.substr(0, length) : std::string_view(escape.data(), escape.size());
        if (piece.size() > max_bytes - out.size()) {
            return out + "...";
        }
        out += piece;
        text.remove_prefix(length != 0 ? length : 1);
    }
    return out;
}

} // namespace iscsi::base

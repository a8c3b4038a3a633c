#include "block/udev_text.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace iscsi::block {
namespace {

/// udev itself takes more, but nothing of ours is longer.
constexpr std::size_t value_bytes_max = 1024;

bool is_key(std::string_view key) {
    auto is_part = [](char c) { return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; };
    return !key.empty() && std::ranges::all_of(key, is_part) && key != udev_cookie_key;
}

/// udev cuts at the end of a line, takes quotes off, and drops a value whose quotes do not match.
std::string one_line(std::string_view value) {
    std::string out(base::trim(value.substr(0, value_bytes_max)));
    const bool plain = base::printable(out, value_bytes_max) == out;
    for (char& c : out) {
        const auto byte = static_cast<unsigned char>(c);
        const bool foreign = byte >= 0x80 && !plain;
        if (byte < 0x20 || byte == 0x7f || foreign || c == '"' || c == '\'') {
            c = '_';
        }
    }
    return out;
}

} // namespace

std::string udev_cookie_text(std::uint64_t cookie) {
    return fmt::format("{:016x}", cookie);
}

base::Result<std::string> udev_file_text(std::uint64_t cookie, const UdevProperties& properties) {
    std::string out;
    for (const auto& [key, value] : properties) {
        if (!is_key(key)) {
            return base::fail(base::Errc::invalid, "not a udev property: " + base::printable(key));
        }
        if (std::string line = one_line(value); !line.empty()) {
            out += fmt::format("{}={}\n", key, line);
        }
    }
    out += fmt::format("{}={}\n", udev_cookie_key, udev_cookie_text(cookie));
    return out;
}

bool is_udev_file_of(std::string_view text, std::uint64_t cookie) {
    const std::string wanted = fmt::format("{}={}", udev_cookie_key, udev_cookie_text(cookie));
    return std::ranges::count(base::split(text, '\n'), wanted) > 0;
}

UdevEntry parse_udev_entry(std::string_view text) {
    UdevEntry out;
    const std::string cookie_prefix = fmt::format("E:{}=", udev_cookie_key);
    for (std::string_view line : base::split(text, '\n')) {
        if (line.starts_with(cookie_prefix)) {
            out.cookie = line.substr(cookie_prefix.size());
        } else if (line.starts_with("S:")) {
            out.links.push_back(fmt::format("/dev/{}", line.substr(2)));
        }
    }
    return out;
}

} // namespace iscsi::block

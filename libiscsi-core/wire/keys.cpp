#include "wire/keys.hpp"

#include "base/limits.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace iscsi::wire {
namespace {

/// How the names of public extensions began before RFC 7143 (section 13.26 keeps one of them).
constexpr std::string_view public_extension = "X#";

bool is_key_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '+' || c == '@' || c == '_';
}

} // namespace

bool is_key_name(std::string_view name) {
    if (name.empty() || name.size() > base::limits::key_name_bytes_max) {
        return false;
    }
    bool capital = name[0] >= 'A' && name[0] <= 'Z';
    std::string_view label = name.starts_with(public_extension) ? name.substr(2) : name;
    return (capital || name.starts_with("iSCSI")) && !label.empty() &&
           std::all_of(label.begin(), label.end(), is_key_character);
}

base::Result<std::optional<KeyValue>> KeyReader::next() {
    while (!rest_.empty() && rest_.front() == '\0') {
        rest_.remove_prefix(1);
    }
    if (rest_.empty()) {
        return std::nullopt;
    }
    std::size_t end = rest_.find('\0');
    if (end == std::string_view::npos) {
        return base::fail(base::Errc::protocol, "key text without its final NUL");
    }
    std::string_view pair = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos) {
        return base::fail(base::Errc::protocol,
                          fmt::format("key text without '=': {}", base::printable(pair, 80)));
    }
    KeyValue result{pair.substr(0, equals), pair.substr(equals + 1)};
    if (!is_key_name(result.key)) {
        return base::fail(base::Errc::protocol,
                          fmt::format("malformed key name: {}", base::printable(result.key, 80)));
    }
    if (result.value.size() > value_bytes_max) {
        return base::fail(base::Errc::protocol,
                          fmt::format("value of {} is {} bytes long", result.key, result.value.size()));
    }
    return result;
}

base::Result<void> KeyWriter::add(std::string_view key, std::string_view value) {
    if (!is_key_name(key) || value.size() > value_bytes_max || value.find('\0') != std::string_view::npos) {
        return base::fail(base::Errc::invalid,
                          fmt::format("key {} or its value cannot be sent", base::printable(key, 80)));
    }
    if (text_.size() + key.size() + value.size() + 2 > max_bytes_) {
        return base::fail(base::Errc::invalid, fmt::format("more than {} bytes of key text", max_bytes_));
    }
    text_ += key;
    text_ += '=';
    text_ += value;
    text_ += '\0';
    return {};
}

base::Result<void> KeyWriter::add(std::string_view key, std::uint64_t value) {
    return add(key, std::string_view(fmt::format("{}", value)));
}

base::Result<void> KeyWriter::add(std::string_view key, bool value) {
    return add(key, value ? std::string_view("Yes") : std::string_view("No"));
}

std::string KeyWriter::take() {
    return std::exchange(text_, {});
}

} // namespace iscsi::wire

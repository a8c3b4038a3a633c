#include "session_number.hpp"

#include "base/text.hpp"
#include "messages.hpp"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <optional>
#include <string_view>

namespace iscsi::adm {
namespace {

std::optional<std::uint32_t> parse_sid(std::string_view text) {
    // As open-iscsi, which keeps it in an int; what is no int is not cut to one, which would be another
    // session.
    auto sid = base::parse_decimal(text, INT32_MAX);
    return sid && *sid != 0 ? std::optional(static_cast<std::uint32_t>(*sid)) : std::nullopt;
}

/// As strtoul() does: behind blanks and a sign.
std::optional<std::uint32_t> parse_given_sid(std::string_view text) {
    text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
    text.remove_prefix(text.starts_with('+') ? 1 : 0);
    return parse_sid(text);
}

/// The number in a path at or below a directory "session<number>".
std::optional<std::uint32_t> sid_of_path(const std::filesystem::path& path) {
    std::optional<std::uint32_t> sid;
    constexpr std::string_view prefix = "session";
    for (const std::filesystem::path& part : path) {
        std::string name = part.string();
        if (name.starts_with(prefix)) {
            auto number = parse_sid(std::string_view(name).substr(prefix.size()));
            sid = number ? number : sid;
        }
    }
    return sid;
}

} // namespace

tl::expected<std::uint32_t, int> session_number(const std::string& text) {
    if (auto sid = parse_given_sid(text)) {
        return *sid;
    }
    std::error_code error;
    std::filesystem::path path = std::filesystem::canonical(text, error);
    if (error) {
        complain("{} is an invalid session ID or path", base::printable(text));
        return tl::unexpected(exit_failure);
    }
    if (!std::filesystem::is_directory(path, error)) {
        complain("{} is not a directory", base::printable(text));
        return tl::unexpected(exit_failure);
    }
    if (auto sid = sid_of_path(path)) {
        return *sid;
    }
    if (text.starts_with("/sys/")) {
        complain("Unable to find sid in path {}", base::printable(text));
    } else {
        complain("Could not get dev for {}. Possible sysfs incompatibility.", base::printable(text));
    }
    return tl::unexpected(refuse(fmt::format("invalid sid '{}'", base::printable(text))));
}

} // namespace iscsi::adm

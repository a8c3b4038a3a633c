#include "base/names.hpp"

#include "base/limits.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <cstddef>
#include <fmt/format.h>
#include <iterator>
#include <vector>

namespace iscsi::base {
namespace {

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_hex_digit(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

char small(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

template <class Predicate>
bool all(std::string_view text, Predicate predicate) {
    return std::all_of(text.begin(), text.end(), predicate);
}

tl::unexpected<Error> bad(std::string_view what, std::string_view text, std::string_view why) {
    return fail(Errc::invalid, fmt::format("{} \"{}\": {}", what, printable(text, 256), why));
}

bool starts_with_type(std::string_view name, std::string_view type) {
    return name.size() >= type.size() &&
           std::equal(type.begin(), type.end(), name.begin(),
                      [](char expected, char c) { return expected == c || expected == (c | 0x20); });
}

/// yyyy-mm. and something behind it (RFC 7143 section 4.2.7.4).
bool is_iqn_tail(std::string_view tail) {
    if (tail.size() < 9 || !all(tail.substr(0, 4), is_digit) || tail[4] != '-' || tail[7] != '.' ||
        !all(tail.substr(5, 2), is_digit)) {
        return false;
    }
    int month = (tail[5] - '0') * 10 + (tail[6] - '0');
    return month >= 1 && month <= 12 && (is_letter(tail[8]) || is_digit(tail[8]));
}

bool is_hex_tail(std::string_view tail, std::size_t digits) {
    return tail.size() == digits && all(tail, is_hex_digit);
}

/// Groups of hex digits in `text`, separated by single colons; -1 when it is none. An IPv4 address at the end
/// of the whole counts as two.
int count_groups(std::string_view text, bool at_end) {
    if (text.empty()) {
        return 0;
    }
    int groups = 0;
    std::vector<std::string_view> parts = split(text, ':');
    for (std::size_t i = 0; i < parts.size(); ++i) {
        bool last = at_end && i + 1 == parts.size();
        if (last && is_ipv4_address(parts[i])) {
            groups += 2;
        } else if (!parts[i].empty() && parts[i].size() <= 4 && all(parts[i], is_hex_digit)) {
            groups += 1;
        } else {
            return -1;
        }
    }
    return groups;
}

/// The groups of `text`, which count_groups() accepts, in four small digits each.
std::string full_groups(std::string_view text) {
    std::string full;
    for (std::string_view part : text.empty() ? std::vector<std::string_view>() : split(text, ':')) {
        if (part.find('.') != std::string_view::npos) {
            std::vector<std::string_view> octets = split(part, '.');
            for (std::size_t i = 0; i < octets.size(); ++i) {
                full += fmt::format("{:02x}{}", *parse_decimal(octets[i], 255), i % 2 == 1 ? ":" : "");
            }
            continue;
        }
        full.append(4 - part.size(), '0');
        std::ranges::transform(part, std::back_inserter(full), small);
        full += ':';
    }
    return full;
}

/// Eight groups, each with a colon behind it.
std::string full_ipv6_address(std::string_view text) {
    constexpr std::size_t full_size = std::size_t{8} * 5;
    const std::size_t gap = text.find("::");
    std::string full = full_groups(text.substr(0, gap));
    if (gap != std::string_view::npos) {
        const std::string tail = full_groups(text.substr(gap + 2));
        while (full.size() + tail.size() < full_size) {
            full += "0000:";
        }
        full += tail;
    }
    return full;
}

bool is_scope(std::string_view scope) {
    bool characters =
        all(scope, [](char c) { return is_letter(c) || is_digit(c) || c == '.' || c == '-' || c == '_'; });
    return !scope.empty() && scope.size() <= 15 && characters && scope.find("..") == std::string_view::npos;
}

bool is_dns_name(std::string_view host) {
    if (!host.empty() && host.back() == '.') {
        host.remove_suffix(1);
    }
    for (std::string_view label : split(host, '.')) {
        bool characters =
            all(label, [](char c) { return is_letter(c) || is_digit(c) || c == '-' || c == '_'; });
        if (label.empty() || label.size() > 63 || !characters || label.front() == '-' ||
            label.back() == '-') {
            return false;
        }
    }
    return true;
}

} // namespace

bool is_ipv4_address(std::string_view text) {
    std::vector<std::string_view> parts = split(text, '.');
    auto is_octet = [](std::string_view part) {
        return !part.empty() && part.size() <= 3 && parse_decimal(part, 255).has_value();
    };
    return parts.size() == 4 && std::all_of(parts.begin(), parts.end(), is_octet);
}

bool is_ipv6_address(std::string_view text) {
    std::size_t gap = text.find("::");
    if (gap == std::string_view::npos) {
        return count_groups(text, true) == 8;
    }
    std::string_view tail = text.substr(gap + 2);
    int before = count_groups(text.substr(0, gap), false);
    int after = count_groups(tail, true);
    return before >= 0 && after >= 0 && before + after <= 7;
}

Result<void> check_iscsi_name(std::string_view name) {
    constexpr std::string_view what = "iSCSI name";
    if (name.empty() || name.size() > limits::name_bytes_max) {
        return bad(what, name, "must have 1 to 223 bytes");
    }
    bool characters = all(name, [](char c) {
        return is_letter(c) || is_digit(c) || c == '-' || c == '.' || c == ':' || c == '_';
    });
    if (!characters || name.find("..") != std::string_view::npos) {
        return bad(what, name, "only letters, digits, '-', '.', ':' and '_' are allowed, and no \"..\"");
    }
    std::string_view tail = name.substr(std::min<std::size_t>(4, name.size()));
    if (starts_with_type(name, "iqn.")) {
        return is_iqn_tail(tail) ? Result<void>{}
                                 : bad(what, name, "iqn. is followed by yyyy-mm. and a domain");
    }
    if (starts_with_type(name, "eui.")) {
        return is_hex_tail(tail, 16) ? Result<void>{}
                                     : bad(what, name, "eui. is followed by 16 hexadecimal digits");
    }
    if (starts_with_type(name, "naa.")) {
        return is_hex_tail(tail, 16) || is_hex_tail(tail, 32)
                   ? Result<void>{}
                   : bad(what, name, "naa. is followed by 16 or 32 hexadecimal digits");
    }
    return bad(what, name, "does not begin with iqn., eui. or naa.");
}

Result<void> check_target_name(std::string_view name) {
    constexpr std::string_view what = "iSCSI name";
    constexpr std::string_view refused = "/=,\\\"'`$;&|<>*?!#()[]{}";
    if (name.empty() || name.size() > limits::name_bytes_max) {
        return bad(what, name, "must have 1 to 223 bytes");
    }
    // Such a name would be hidden, or another directory.
    if (name.front() == '.') {
        return bad(what, name, "must not begin with a dot");
    }
    bool characters =
        all(name, [&](char c) { return c != ' ' && refused.find(c) == std::string_view::npos; });
    // What a terminal must not be given is written in another way.
    if (!characters || printable(name, limits::name_bytes_max) != name) {
        return bad(what, name, fmt::format("blanks, control characters and {} are not allowed", refused));
    }
    return {};
}

Result<void> check_host(std::string_view host) {
    constexpr std::string_view what = "host";
    if (host.empty() || host.size() > limits::host_name_bytes_max) {
        return bad(what, host, "must have 1 to 255 bytes");
    }
    if (host.find(':') != std::string_view::npos) {
        std::size_t percent = host.find('%');
        bool scope = percent == std::string_view::npos || is_scope(host.substr(percent + 1));
        return scope && is_ipv6_address(host.substr(0, percent)) ? Result<void>{}
                                                                 : bad(what, host, "not an IPv6 address");
    }
    return is_dns_name(host) ? Result<void>{} : bad(what, host, "neither an address nor a DNS name");
}

std::string comparable_host(std::string_view host) {
    const std::size_t percent = std::min(host.find('%'), host.size());
    if (is_ipv6_address(host.substr(0, percent))) {
        return full_ipv6_address(host.substr(0, percent)) + std::string(host.substr(percent));
    }
    std::string name(host.substr(0, host.ends_with('.') ? host.size() - 1 : host.size()));
    std::ranges::transform(name, name.begin(), small);
    return name;
}

bool is_unspecified_address(std::string_view host) {
    return is_same_host(host, "::") || host == "0.0.0.0";
}

bool is_link_local_address(std::string_view host) {
    constexpr std::string_view third_digits = "89ab";
    const std::string comparable = comparable_host(host);
    return comparable.size() > 4 && comparable[4] == ':' && comparable.starts_with("fe") &&
           third_digits.find(comparable[2]) != std::string_view::npos;
}

bool is_same_host(std::string_view a, std::string_view b) {
    return a == b || comparable_host(a) == comparable_host(b);
}

} // namespace iscsi::base

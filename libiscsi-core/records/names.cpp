#include "records/names.hpp"

#include "base/limits.hpp"
#include "base/names.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <vector>

namespace iscsi::records {
namespace {

using base::Errc;
using base::fail;
using base::Result;

constexpr std::size_t portal_bytes_max = base::limits::host_name_bytes_max + 16;
constexpr std::size_t file_name_bytes_max = 255; // NAME_MAX of Linux

tl::unexpected<base::Error> bad_portal(std::string_view text, std::string_view why) {
    return fail(Errc::invalid, fmt::format("portal '{}': {}", base::printable(text, 64), why));
}

std::optional<std::int32_t> parse_tpgt(std::string_view text) {
    // What listings print for a tag that is not known comes back from scripts.
    if (text == "-1" || text == "4294967295") {
        return tpgt_unknown;
    }
    std::optional<std::uint64_t> tag = base::parse_decimal(text, 65535);
    return tag ? std::optional(static_cast<std::int32_t>(*tag)) : std::nullopt;
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
    std::optional<std::uint64_t> port = base::parse_decimal(text, 65535);
    return port && *port != 0 ? std::optional(static_cast<std::uint16_t>(*port)) : std::nullopt;
}

/// The pieces of a portal as they stand in the text; the views point into it.
struct Pieces {
    std::string_view address;
    std::optional<std::string_view> port;
    std::optional<std::string_view> tpgt;
};

Result<Pieces> cut_bracketed(std::string_view text) {
    std::size_t close = text.find(']');
    if (close == std::string_view::npos) {
        return bad_portal(text, "the closing bracket is missing");
    }
    Pieces pieces{text.substr(1, close - 1), {}, {}};
    std::string_view rest = text.substr(close + 1);
    std::size_t comma = rest.find(',');
    if (comma != std::string_view::npos) {
        pieces.tpgt = rest.substr(comma + 1);
        rest = rest.substr(0, comma);
    }
    if (!rest.empty()) {
        if (rest[0] != ':') {
            return bad_portal(text, "a colon and a port must follow the closing bracket");
        }
        pieces.port = rest.substr(1);
    }
    return pieces;
}

Pieces cut_plain(std::string_view text) {
    Pieces pieces;
    std::size_t comma = text.find(',');
    if (comma != std::string_view::npos) {
        pieces.tpgt = text.substr(comma + 1);
        text = text.substr(0, comma);
    }
    pieces.address = text;
    if (std::ranges::count(text, ':') == 1) {
        std::size_t colon = text.find(':');
        pieces.address = text.substr(0, colon);
        pieces.port = text.substr(colon + 1);
    }
    return pieces;
}

} // namespace

Result<Portal> parse_portal(std::string_view text, std::uint16_t default_port) {
    if (text.empty() || text.size() > portal_bytes_max) {
        return bad_portal(text, text.empty() ? "it is empty" : "it is too long");
    }
    Result<Pieces> pieces = text[0] == '[' ? cut_bracketed(text) : Result<Pieces>(cut_plain(text));
    if (!pieces) {
        return fail(pieces.error());
    }
    Portal portal{std::string(pieces->address), default_port, tpgt_unknown};
    Result<void> host = base::check_host(portal.address);
    if (!host) {
        return bad_portal(text, host.error().message());
    }
    if (pieces->port) {
        std::optional<std::uint16_t> port = parse_port(*pieces->port);
        if (!port) {
            return bad_portal(text, "the port is not a number from 1 to 65535");
        }
        portal.port = *port;
    }
    if (pieces->tpgt) {
        std::optional<std::int32_t> tpgt = parse_tpgt(*pieces->tpgt);
        if (!tpgt) {
            return bad_portal(text, "the portal group tag is not a number from 0 to 65535");
        }
        portal.tpgt = *tpgt;
    }
    return portal;
}

bool needs_brackets(std::string_view address) {
    return address.find(':') != std::string_view::npos || address.find('.') == std::string_view::npos;
}

std::string address_port(const Portal& portal) {
    return needs_brackets(portal.address) ? fmt::format("[{}]:{}", portal.address, portal.port)
                                          : fmt::format("{}:{}", portal.address, portal.port);
}

std::string portal_text(const Portal& portal) {
    return fmt::format("{},{}", address_port(portal), static_cast<std::uint32_t>(portal.tpgt));
}

std::string portal_file_name(const Portal& portal) {
    return fmt::format("{},{}", portal.address, portal.port);
}

std::string tagged_portal_file_name(const Portal& portal) {
    return fmt::format("{},{},{}", portal.address, portal.port, portal.tpgt);
}

Result<Portal> parse_portal_file_name(std::string_view name) {
    std::vector<std::string_view> parts = base::split(name, ',');
    if (parts.size() != 2 && parts.size() != 3) {
        return bad_portal(name, "it is not <address>,<port> or <address>,<port>,<tag>");
    }
    Portal portal{std::string(parts[0]), 0, tpgt_unknown};
    Result<void> host = base::check_host(portal.address);
    if (!host) {
        return bad_portal(name, host.error().message());
    }
    std::optional<std::uint16_t> port = parse_port(parts[1]);
    if (!port) {
        return bad_portal(name, "the port is not a number from 1 to 65535");
    }
    portal.port = *port;
    if (parts.size() == 3) {
        std::optional<std::int32_t> tpgt = parse_tpgt(parts[2]);
        if (!tpgt) {
            return bad_portal(name, "the portal group tag is not a number from 0 to 65535");
        }
        portal.tpgt = *tpgt;
    }
    return portal;
}

Result<void> check_file_name(std::string_view name) {
    bool bad_byte =
        std::ranges::any_of(name, [](unsigned char c) { return c == '/' || c < 0x20 || c == 0x7f; });
    if (name.empty() || name.size() > file_name_bytes_max || name == "." || name == ".." || bad_byte) {
        return fail(Errc::invalid,
                    fmt::format("'{}' cannot be the name of a file", base::printable(name, 64)));
    }
    return {};
}

Result<void> check_iface_name(std::string_view name) {
    // A name ends up in command lines, by way of scripts and of what a shell completes. Brackets have to
    // pass: kubelet names an interface after its portal.
    const bool acts_on_shell = name.find_first_of("$`\\\"';&|<>(){}*?!") != std::string_view::npos;
    if (name.size() > base::limits::iface_name_bytes_max || name.starts_with('.') || acts_on_shell ||
        !check_file_name(name) || base::trim(name) != name) {
        return fail(
            Errc::invalid,
            fmt::format("'{}' is not an interface name: 1 to {} bytes that can be the name of a file are "
                        "allowed, no dot in front, and no character that a shell acts on",
                        base::printable(name, 80), base::limits::iface_name_bytes_max));
    }
    return {};
}

} // namespace iscsi::records

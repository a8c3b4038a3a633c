// Names that operators type and files carry: portals and interface names. A portal here is a host (name,
// IPv4 or IPv6 literal, with a scope id where one is needed), a port and a portal group tag; the address is
// kept as it was given, IPv6 without brackets. RFC 7143 section 4.2.5 and 13.8, RFC 4007 section 11. Pure
// functions; any thread.
#pragma once

#include "base/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace iscsi::records {

inline constexpr std::uint16_t iscsi_port = 3260;
inline constexpr std::uint16_t isns_port = 3205;
inline constexpr std::int32_t tpgt_unknown = -1;

struct Portal {
    std::string address;              ///< without brackets
    std::uint16_t port = iscsi_port;  ///< 1..65535
    std::int32_t tpgt = tpgt_unknown; ///< 0..65535, or tpgt_unknown

    friend bool operator==(const Portal&, const Portal&) = default;
};

/// Reads address[:port][,tpgt]: IPv4, host name, [IPv6] with or without scope id, or a bare IPv6 address
/// (two colons or more; no port possible). A host name may stand in brackets, too: listings print it so.
/// `default_port` stands in when none is given. Errc::invalid says which part is wrong.
base::Result<Portal> parse_portal(std::string_view text, std::uint16_t default_port = iscsi_port);

/// True when listings put the address in brackets: it has a colon, or, as open-iscsi has it, no dot.
bool needs_brackets(std::string_view address);

/// "address:port", with the brackets that it needs.
std::string address_port(const Portal& portal);
/// "address:port,tpgt" as listings print it. An unknown tag prints as 4294967295, as `-m node` always did.
std::string portal_text(const Portal& portal);

/// "address,port": the name of a discovery record's directory and of a node file without group tag.
std::string portal_file_name(const Portal& portal);
/// "address,port,tpgt": the name of a node's portal directory. The tag is known.
std::string tagged_portal_file_name(const Portal& portal);
/// The reverse of the two above.
base::Result<Portal> parse_portal_file_name(std::string_view name);

/// One component of a path: 1..255 bytes, no '/', no control character, not "." or "..". Errc::invalid.
base::Result<void> check_file_name(std::string_view name);
/// An interface's name: 1..64 bytes and a valid file name that does not begin with a dot and has nothing in
/// it that a shell would act on within a word. Errc::invalid.
base::Result<void> check_iface_name(std::string_view name);

} // namespace iscsi::records

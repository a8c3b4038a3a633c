// What SendTargets returns, as records (RFC 7143 sections 4.3 and 13.8, appendix C). The text is hostile:
// names become paths and addresses are connected to, so bad entries are left out and reported. Pure
// functions; any thread.
#pragma once

#include "base/discovered.hpp"
#include "base/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace iscsi::login {

inline constexpr std::uint16_t default_port = 3260;

/// A host (IPv6 without brackets) and port; tpgt is -1 where none was given.
struct PortalAddress {
    std::string host;
    std::uint16_t port = default_port;
    std::int32_t tpgt = -1;
    bool operator==(const PortalAddress&) const = default;
};

/// host[:port][,tpgt] of a TargetAddress (RFC 7143 section 13.8). Errc::protocol.
base::Result<PortalAddress> parse_target_address(std::string_view text);

/// `text` is the whole SendTargets answer; `asked` the portal it came from, which stands in where a target
/// has no address, or 0.0.0.0 or [::]. A link-local address without a scope is one on the link that was
/// asked: that of `asked`, else `link`, the name of a network interface; it is left out when neither is known
/// (RFC 4007 section 6). Errc::protocol on text that is not key=value, Errc::protocol beyond
/// limits::discovered_targets_max.
base::Result<base::DiscoveredTargets> parse_targets(std::string_view text, const PortalAddress& asked,
                                                    std::string_view link = {});

} // namespace iscsi::login

// Names that others give us and that become words in a database path or on a terminal: iSCSI node names and
// host addresses. Strict where a path or a line could be broken, tolerant where the field is. Pure functions;
// any thread.
#pragma once

#include "base/result.hpp"

#include <string>
#include <string_view>

namespace iscsi::base {

/// An iSCSI node name (RFC 7143 section 4.2.7): 1 to 223 bytes; iqn.yyyy-mm.domain[:text], eui. and 16 hex
/// digits, or naa. and 16 or 32. Allowed are letters, digits, '-', '.', ':' and, because the field uses it,
/// '_'; never "..". Errc::invalid with the reason.
Result<void> check_iscsi_name(std::string_view name);

/// What a target may be called: 1 to 223 bytes of UTF-8 that fit into one component of a path, one word of a
/// line and one value of a record: no control characters or invisible ones, no blank, no leading '.', and
/// none of / = , \ " ' ` $ ; & | < > * ? ! # ( ) [ ] { }. Looser than check_iscsi_name(), because targets in
/// the field are called as they like, and stricter than what they may send. Errc::invalid with the reason.
Result<void> check_target_name(std::string_view name);

/// A host without port: a DNS name, an IPv4 address, or an IPv6 address without brackets and perhaps with
/// %scope. Safe as one component of a path. Errc::invalid with the reason.
Result<void> check_host(std::string_view host);

/// What two spellings of one host have in common, to compare them by: of an IPv6 address all eight groups
/// (RFC 5952 lets each be written in several ways) and its scope as it is, of anything else small letters
/// without a dot at the end (RFC 4343). Not to be shown. `host` is one that check_host() accepts.
std::string comparable_host(std::string_view host);
/// Whether both are spellings of one address or one name. Names are not resolved.
bool is_same_host(std::string_view a, std::string_view b);

/// 0.0.0.0 or ::, where nobody can be reached.
bool is_unspecified_address(std::string_view host);
/// An IPv6 address of fe80::/10 (RFC 4291 section 2.5.6), with or without scope.
bool is_link_local_address(std::string_view host);

/// The syntax of an IPv6 address (RFC 4291 section 2.2), without scope.
bool is_ipv6_address(std::string_view text);
/// Four decimal numbers below 256.
bool is_ipv4_address(std::string_view text);

} // namespace iscsi::base

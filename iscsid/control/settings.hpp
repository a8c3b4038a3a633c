// From records to what login, session and sockets are told. Pure functions of the record; any thread.
#pragma once

#include "base/result.hpp"
#include "records/record.hpp"
#include "records/store.hpp"
#include "shard/nexus.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace iscsi::control {

/// The request for one attempt to log in with a node record; the endpoint is the caller's to add. Errors:
/// Errc::invalid for a record that cannot be used (no initiator name, CHAP half configured).
base::Result<shard::OpenRequest> open_request(const records::Record& node,
                                              const records::InitiatorName& initiator, base::Isid isid);

/// How long a target may take for its answer to a logout; never 0.
base::Duration logout_timeout(const records::Record& node);

/// What a person should know about a node record's CHAP although it can be used: a secret that can be
/// guessed, an offer that not every target understands (RFC 7143 sections 9.2.1 and 12.1.3). Never a secret.
std::vector<std::string> chap_warnings(const records::Record& node_with_secrets);

/// True when two node records let their targets prove themselves with one secret: whoever is one of them can
/// pass for the other (RFC 7143 section 9.2.1).
bool share_target_secret(const records::Record& one, const records::Record& other);

/// Who we are through an interface (or with a node record, which has its keys). Errors: Errc::invalid, there
/// is no name.
base::Result<records::InitiatorName> initiator_of(const records::Record& iface,
                                                  const records::InitiatorName& initiator);

/// The login of a discovery session with a send_targets record through an interface.
base::Result<login::LoginConfig> discovery_login(const records::Record& discovery,
                                                 const records::Record& iface,
                                                 const records::InitiatorName& initiator);

/// Socket settings of a node or iface record's interface keys (plus window and congestion control of a node).
/// Errors: Errc::transport_not_found for another transport than tcp, Errc::not_supported for a binding by
/// address.
base::Result<shard::TcpOptions> tcp_options(const records::Record& record);

/// The initiator part of the session identifier: random format (RFC 7143 section 11.12.5, T = 10b), the same
/// for the same initiator, target, portal and interface after every restart, so that a target sees the old
/// session come back. `index` tells sessions of one record apart.
base::Isid make_isid(const records::InitiatorName& initiator, const records::NodeId& id, std::uint32_t index);

} // namespace iscsi::control

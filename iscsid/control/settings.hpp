// From records to what login, session and sockets are told. Pure functions of the record; any thread.
#pragma once

#include "base/result.hpp"
#include "records/record.hpp"
#include "records/store.hpp"
#include "shard/nexus.hpp"

#include <cstdint>

namespace iscsi::control {

/// The request for one attempt to log in with a node record; the endpoint is the caller's to add. Errors:
/// Errc::invalid for a record that cannot be used (no initiator name, CHAP half configured).
base::Result<shard::OpenRequest> open_request(const records::Record& node,
                                              const records::InitiatorName& initiator, base::Isid isid);

/// The login of a discovery session with a send_targets record through an interface.
base::Result<login::LoginConfig> discovery_login(const records::Record& discovery,
                                                 const records::Record& iface,
                                                 const records::InitiatorName& initiator);

/// Socket settings of a node or iface record's interface keys (plus window and congestion control of a node).
base::Result<shard::TcpOptions> tcp_options(const records::Record& record);

/// The initiator part of the session identifier: random format (RFC 7143 section 11.12.5, T = 10b), the same
/// for the same initiator, target, portal and interface after every restart, so that a target sees the old
/// session come back. `index` tells sessions of one record apart.
base::Isid make_isid(const records::InitiatorName& initiator, const records::NodeId& id, std::uint32_t index);

} // namespace iscsi::control

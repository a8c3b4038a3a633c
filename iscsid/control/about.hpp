// What a line of the log is about, made of a session, of a unit, of a device. Control's thread.
#pragma once

#include "control/log.hpp"
#include "control/managed_session.hpp"

namespace iscsi::control {

log::About about(const ManagedSession& session, ipc::Event event = ipc::Event::message);
/// A unit of it: with its device, when it is served.
log::About about(const ManagedSession& session, base::Lun lun, ipc::Event event = ipc::Event::message);
log::About about(const ManagedSession& session, const ServedLun& served,
                 ipc::Event event = ipc::Event::message);

/// A portal of a target that there may be no session with; of a discovery.
log::About about_node(const records::NodeId& id, ipc::Event event);
/// Where a discovery asks.
log::About about_portal(const records::Portal& portal, ipc::Event event);

} // namespace iscsi::control

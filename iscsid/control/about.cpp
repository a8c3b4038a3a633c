#include "control/about.hpp"

#include "records/names.hpp"

namespace iscsi::control {
namespace {

/// A queue's unit has none: its device is the leading session's.
std::string device_of(const ManagedSession& session, const ServedLun& served) {
    if (served.device != nullptr) {
        return served.device->path();
    }
    const auto leading = session.leader == nullptr ? nullptr : find_served(*session.leader, served.facts.lun);
    return leading == nullptr || leading->device == nullptr ? "" : leading->device->path();
}

} // namespace

log::About about_portal(const records::Portal& portal, ipc::Event event) {
    log::About about;
    about.event = event;
    about.portal = records::address_port(portal);
    return about;
}

log::About about_node(const records::NodeId& id, ipc::Event event) {
    log::About about = about_portal(id.portal, event);
    about.target = id.target;
    about.iface = id.iface;
    return about;
}

log::About about(const ManagedSession& session, ipc::Event event) {
    log::About about = about_node(session.id, event);
    about.sid = session.sid;
    return about;
}

log::About about(const ManagedSession& session, const ServedLun& served, ipc::Event event) {
    log::About of_unit = about(session, event);
    of_unit.lun = served.facts.lun;
    of_unit.device = device_of(session, served);
    return of_unit;
}

log::About about(const ManagedSession& session, base::Lun lun, ipc::Event event) {
    if (const auto served = find_served(session, lun)) {
        return about(session, *served, event);
    }
    log::About of_unit = about(session, event);
    of_unit.lun = lun;
    return of_unit;
}

} // namespace iscsi::control

#include "control/managed_session.hpp"

#include "control/log.hpp"
#include "records/fields.hpp"
#include "scsi/capacity.hpp"
#include "scsi/sense.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace iscsi::control {
namespace {

using records::Key;

ipc::NegotiatedSnapshot negotiated(const shard::OpenReply& opened) {
    ipc::NegotiatedSnapshot out;
    out.header_digest = opened.connection.header_digest ? "CRC32C" : "None";
    out.data_digest = opened.connection.data_digest ? "CRC32C" : "None";
    out.max_recv_data_segment_length = opened.connection.max_recv_data_segment_bytes;
    out.max_xmit_data_segment_length = opened.connection.max_xmit_data_segment_bytes;
    out.first_burst_length = opened.session.first_burst_bytes;
    out.max_burst_length = opened.session.max_burst_bytes;
    out.max_outstanding_r2t = opened.session.max_outstanding_r2t;
    out.immediate_data = opened.session.immediate_data;
    out.initial_r2t = opened.session.initial_r2t;
    return out;
}

void set_states(ipc::SessionSnapshot& out, ManagedSession::State state) {
    using State = ManagedSession::State;
    out.internal_state = ipc::InternalState::no_change;
    switch (state) {
    case State::logging_in:
        out.connection_state = ipc::ConnectionState::in_login;
        out.session_state = ipc::SessionState::free;
        break;
    case State::running:
        out.connection_state = ipc::ConnectionState::logged_in;
        out.session_state = ipc::SessionState::logged_in;
        break;
    case State::recovering:
        out.connection_state = ipc::ConnectionState::transport_wait;
        out.session_state = ipc::SessionState::failed;
        out.internal_state = ipc::InternalState::reopen;
        break;
    case State::ending:
        out.connection_state = ipc::ConnectionState::in_logout;
        out.session_state = ipc::SessionState::logged_in;
        break;
    }
}

} // namespace

ManagedSession::ManagedSession(Listener& session_listener, std::uint32_t session_id, records::Record record,
                               shard::Shard& its_shard)
    : listener(session_listener), sid(session_id), node(std::move(record)), id(records::node_id(node)),
      shard(its_shard) {}

void ManagedSession::on_nexus_dropped(const base::Error& error) {
    listener.on_session_dropped(*this, error);
}

void ManagedSession::on_nexus_event(const session::Event& event) {
    using Kind = session::Event::Kind;
    switch (event.kind) {
    case Kind::logout_requested:
    case Kind::renegotiation_requested:
    case Kind::connection_dropped:
    case Kind::session_dropped:
        // The target ends the connection by itself if nothing is done; recovery then does what is needed.
        log::warning("session {} {}: the target asks to end the connection (event {})", sid, title(),
                     event.code);
        break;
    case Kind::rejected:
        log::warning("session {} {}: the target rejected a PDU, reason {:02x}h", sid, title(), event.code);
        break;
    default:
        log::debug("session {}: event {} of the target", sid, event.code);
        break;
    }
}

void ManagedSession::on_lun_effects(base::Lun lun, const scsi::Disposition& disposition) {
    log::info("session {} LUN {}: {}", sid, scsi::lun_number(lun), scsi::describe(disposition.sense));
}

ring::Task<void> ManagedSession::until_unused() {
    while (users_ > 0) {
        unused_.reset();
        co_await unused_;
    }
}

std::string ManagedSession::title() const {
    return fmt::format("[iface: {}, target: {}, portal: {},{}]", id.iface, id.target, id.portal.address,
                       id.portal.port);
}

ipc::SessionSnapshot ManagedSession::snapshot(const base::SessionStatistics& statistics) const {
    ipc::SessionSnapshot out;
    out.sid = sid;
    out.host_number = sid;
    out.target = id.target;
    out.tpgt = opened.tpgt >= 0 ? opened.tpgt : id.portal.tpgt;
    out.persistent = {id.portal.address, id.portal.port};
    out.current = endpoint.text.empty() ? out.persistent : ipc::PortalAddress{endpoint.text, endpoint.port};
    out.iface.name = id.iface;
    out.iface.transport = node.text(Key::iface_transport_name);
    out.iface.initiator_name = initiator_name;
    out.iface.ip_address = opened.local_address;
    out.iface.hw_address = node.text(Key::iface_hwaddress);
    out.iface.net_device = node.text(Key::iface_net_ifacename);
    set_states(out, state);
    out.timeouts.recovery_s = node.number(Key::session_replacement_timeout);
    out.timeouts.target_reset_s = node.number(Key::session_tgt_reset_timeout);
    out.timeouts.lun_reset_s = node.number(Key::session_lu_reset_timeout);
    out.timeouts.abort_s = node.number(Key::session_abort_timeout);
    out.chap.username = node.text(Key::session_username);
    out.chap.password = node.text(Key::session_password);
    out.chap.username_in = node.text(Key::session_username_in);
    out.chap.password_in = node.text(Key::session_password_in);
    out.negotiated = negotiated(opened);
    out.statistics = statistics;
    for (const auto& served : luns) {
        out.luns.push_back(attached_lun(*served));
    }
    return out;
}

std::vector<std::string> lasting_devices(const ManagedSession& session) {
    std::vector<std::string> names;
    for (const auto& served : session.luns) {
        if (served->device->outlives_daemon()) {
            names.push_back(served->device->name());
        }
    }
    return names;
}

bool makes_lasting_device(const ManagedSession& session) {
    return std::ranges::any_of(session.attaching, [](const auto& served) { return served->cookie != 0; });
}

ipc::AttachedLun attached_lun(const ServedLun& served) {
    ipc::AttachedLun out;
    out.number = scsi::lun_number(served.facts.lun);
    out.state = "running";
    out.device = served.device->path();
    out.uri = served.device->uri();
    if (!served.device->links().empty()) {
        out.link = served.device->links().front();
    }
    out.size_bytes = served.facts.blocks.value() * served.facts.block_bytes;
    out.block_bytes = served.facts.block_bytes;
    out.vendor = served.facts.vendor;
    out.product = served.facts.product;
    out.serial = served.facts.serial;
    return out;
}

} // namespace iscsi::control

// What a session tells of itself: see ipc/snapshot.hpp.
#include "control/managed_session.hpp"
#include "records/fields.hpp"
#include "scsi/capacity.hpp"

#include <algorithm>

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

/// As settings.cpp has it: a secret is what turns CHAP on.
std::string authentication_of(const records::Record& node) {
    if (node.text(Key::session_password).empty()) {
        return "None";
    }
    return node.text(Key::session_password_in).empty() ? "CHAP" : "mutual CHAP";
}

std::optional<std::uint64_t> seconds_since(std::optional<base::Duration> then, base::Duration now) {
    if (!then) {
        return std::nullopt;
    }
    const auto passed = std::chrono::duration_cast<std::chrono::seconds>(now - *then).count();
    return static_cast<std::uint64_t>(std::max<std::int64_t>(0, passed));
}

ipc::QueueSnapshot queue_snapshot(const ManagedSession& companion, std::uint64_t number, base::Duration now) {
    using State = ManagedSession::State;
    ipc::SessionSnapshot session;
    set_states(session, companion.state);
    ipc::QueueSnapshot out;
    out.number = number;
    out.session_state = session.session_state;
    out.recoveries = companion.recoveries;
    out.failed_recoveries = companion.failed_recoveries;
    if (companion.state == State::recovering) {
        out.down_s = seconds_since(companion.down_since, now);
        out.last_error = companion.last_error;
    }
    return out;
}

} // namespace

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
    out.recoveries = recoveries;
    out.failed_recoveries = failed_recoveries;
    for (const auto& served : luns) {
        out.luns.push_back(attached_lun(*this, *served));
    }
    for (const auto& [lun, unit] : absent) {
        out.absent.push_back({scsi::lun_number(lun), unit.why});
    }
    out.authentication = authentication_of(node);
    const base::Duration now = ring::boot_time_now();
    out.age_s = seconds_since(logged_in_at, now);
    out.down_s = seconds_since(state == State::recovering ? down_since : std::nullopt, now);
    out.last_error = state == State::recovering ? last_error : std::string();
    for (const auto& companion : companions) {
        out.queues.push_back(queue_snapshot(*companion, out.queues.size() + 1, now));
    }
    return out;
}

ipc::AttachedLun attached_lun(const ManagedSession& session, const ServedLun& served) {
    ipc::AttachedLun out;
    out.number = scsi::lun_number(served.facts.lun);
    out.state = served.barred ? "offline" : "running";
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
    out.cache_losses = served.cache_losses;
    for (const auto& companion : session.companions) {
        const auto mirror = find_served(*companion, served.facts.lun);
        out.cache_losses += mirror == nullptr ? 0 : mirror->cache_losses;
    }
    return out;
}

} // namespace iscsi::control

#include "control/managed_session.hpp"

#include "control/log.hpp"
#include "control/rival.hpp"
#include "control/settings.hpp"
#include "records/fields.hpp"
#include "scsi/capacity.hpp"
#include "scsi/sense.hpp"
#include "wire/opcode.hpp"

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

/// As long as a negotiated one may be (RFC 7143 section 13.15).
base::Duration time2wait_of(const session::Event& event) {
    constexpr std::uint16_t time2wait_max_s = 3600;
    return std::chrono::seconds(std::min(event.time2wait_s, time2wait_max_s));
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
        log_event(event, fmt::format("{}; logging out and in again",
                                     wire::text(static_cast<wire::AsyncEvent>(event.code))));
        break;
    case Kind::connection_dropped:
    case Kind::session_dropped:
        time2wait = time2wait_of(event);
        log_event(event, fmt::format("{}, to be back after {} s and within {} s more",
                                     wire::text(static_cast<wire::AsyncEvent>(event.code)), event.time2wait_s,
                                     event.time2retain_s));
        break;
    case Kind::logout_response:
        if (auto code = static_cast<wire::LogoutResponseCode>(event.code);
            code == wire::LogoutResponseCode::recovery_not_supported ||
            code == wire::LogoutResponseCode::cleanup_failed) {
            time2wait = time2wait_of(event);
        }
        break;
    case Kind::scsi: {
        // As if a command had met a unit attention.
        constexpr std::uint8_t check_condition = 0x02;
        base::Bytes sense = base::Bytes(event.sense).first(event.sense_bytes);
        on_lun_effects(event.lun, scsi::classify(check_condition, sense));
        break;
    }
    case Kind::task_management:
        log_event(event,
                  fmt::format("a command of LUN {} was not answered in time: {}", scsi::lun_number(event.lun),
                              wire::text(static_cast<wire::TaskManagementFunction>(event.code))));
        break;
    case Kind::rejected:
        log_event(event, fmt::format("the target rejected a PDU, reason {:02x}h", event.code));
        break;
    default:
        log::debug("session {}: event {} of the target", sid, event.code);
        break;
    }
    if (event.missed == 0) {
        return;
    }
    if (const auto left_out = lines_of_missed_.admit(ring::monotonic_now())) {
        log::warning("session {} {}: the target said more than could be kept; its units are looked at", sid,
                     title());
    }
    listener.on_news_missed(*this);
}

void ManagedSession::log_event(const session::Event& event, std::string_view words) {
    // Each step from an abort to the end of the session counts; of the rest a target makes up as many as it
    // likes.
    const bool is_step = event.kind == session::Event::Kind::task_management;
    LineLimit& lines = lines_[std::pair(event.kind, is_step ? event.code : std::uint8_t{0})];
    const auto left_out = lines.admit(ring::monotonic_now());
    if (left_out && *left_out != 0) {
        log::warning("session {} {}: {} ({} more such events since this was last said)", sid, title(), words,
                     *left_out);
    } else if (left_out) {
        log::warning("session {} {}: {}", sid, title(), words);
    }
}

void ManagedSession::on_lun_effects(base::Lun lun, const scsi::Disposition& disposition) {
    listener.on_lun_news(*this, lun, disposition);
}

ring::Task<void> ManagedSession::until_unused() {
    while (users_ > 0) {
        unused_.reset();
        co_await unused_;
    }
}

ring::Task<void> ManagedSession::pause(ring::Loop& loop, base::TimePoint until) {
    if (state == State::ending) {
        co_return;
    }
    ring::Event end;
    pauses_.push_back(&end);
    ring::EventOrDeadline waiting(loop, end, until);
    co_await waiting;
    std::erase(pauses_, &end);
}

void ManagedSession::interrupt() {
    interrupted.set();
    hurry.set();
    news.set();
    while (!pauses_.empty()) {
        ring::Event& end = *pauses_.back();
        pauses_.pop_back();
        end.set();
    }
    if (rival != nullptr) {
        rival->interrupt();
    }
}

std::vector<std::shared_ptr<ServedLun>> ManagedSession::units() const {
    std::vector<std::shared_ptr<ServedLun>> all = luns;
    all.insert(all.end(), attaching.begin(), attaching.end());
    return all;
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

std::string session_suffix(const ManagedSession& session) {
    constexpr std::uint64_t qualifier_mask = 0xffff;
    const std::string& iface = session.id.iface;
    std::string suffix = iface == "default" ? std::string() : fmt::format("-iface-{}", iface);
    const std::uint64_t qualifier = session.isid.value() & qualifier_mask;
    if (qualifier != (make_isid({}, session.id, 0).value() & qualifier_mask)) {
        suffix += fmt::format("-isid-{:04x}", qualifier);
    }
    return suffix;
}

std::optional<std::uint16_t> reinstating_group(const ManagedSession& session,
                                               const shard::Endpoint& endpoint) {
    const auto& seen = session.reinstated_at;
    const bool here = seen && seen->address == endpoint.text && seen->port == endpoint.port;
    return here ? std::optional(seen->portal_group) : std::nullopt;
}

void note_reinstatement(ManagedSession& session) {
    if (session.opened.tpgt >= 0) {
        session.reinstated_at = {session.endpoint.text, session.endpoint.port,
                                 static_cast<std::uint16_t>(session.opened.tpgt)};
    }
}

std::shared_ptr<ServedLun> find_served(const ManagedSession& session, base::Lun lun) {
    for (const auto* units : {&session.luns, &session.attaching}) {
        auto found =
            std::ranges::find_if(*units, [&](const auto& served) { return served->facts.lun == lun; });
        if (found != units->end()) {
            return *found;
        }
    }
    return nullptr;
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

void report_trouble(const ManagedSession& session, ServedLun& served, const base::Error& error) {
    if (served.trouble.admit(ring::monotonic_now())) {
        log::warning("session {} LUN {}: {}", session.sid, scsi::describe_lun(served.facts.lun),
                     error.message());
    }
}

ipc::AttachedLun attached_lun(const ServedLun& served) {
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
    return out;
}

} // namespace iscsi::control

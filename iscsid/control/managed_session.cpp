#include "control/managed_session.hpp"

#include "control/about.hpp"
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

/// As long as a negotiated one may be (RFC 7143 section 13.15).
base::Duration time2wait_of(const session::Event& event) {
    constexpr std::uint16_t time2wait_max_s = 3600;
    return std::chrono::seconds(std::min(event.time2wait_s, time2wait_max_s));
}

} // namespace

ManagedSession::ManagedSession(Listener& session_listener, std::uint32_t session_id, records::Record record,
                               shard::Shard& its_shard)
    : listener(session_listener), sid(session_id), node(std::move(record)), id(records::node_id(node)),
      shard(its_shard) {
    ++shard.sessions;
}

ManagedSession::~ManagedSession() {
    --shard.sessions;
}

void ManagedSession::on_nexus_dropped(const base::Error& error) {
    listener.on_session_dropped(*this, error);
}

void ManagedSession::on_nexus_event(const session::Event& event) {
    using Kind = session::Event::Kind;
    using ipc::Event;
    switch (event.kind) {
    case Kind::logout_requested:
    case Kind::renegotiation_requested:
        log_event(event, Event::target_event,
                  fmt::format("{}; logging out and in again",
                              wire::text(static_cast<wire::AsyncEvent>(event.code))));
        break;
    case Kind::connection_dropped:
    case Kind::session_dropped:
        time2wait = time2wait_of(event);
        log_event(event, Event::target_event,
                  fmt::format("{}, to be back after {} s and within {} s more",
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
        log_event(event, Event::command_timeout,
                  fmt::format("a command of LUN {} was not answered in time: {}", scsi::lun_number(event.lun),
                              wire::text(static_cast<wire::TaskManagementFunction>(event.code))));
        break;
    case Kind::rejected:
        log_event(event, Event::target_event,
                  fmt::format("the target rejected a PDU, reason {:02x}h", event.code));
        break;
    default:
        log::debug("session {}: event {} of the target", sid, event.code);
        break;
    }
    if (event.missed == 0) {
        return;
    }
    if (const auto left_out = lines_of_missed_.admit(ring::monotonic_now())) {
        say(Event::target_event, "the target said more than could be kept; its units are looked at");
    }
    listener.on_news_missed(*this);
}

void ManagedSession::say(ipc::Event event, std::string_view words) const {
    log::write(ipc::row_of(event).level, about(*this, event),
               fmt::format("session {} {}: {}", sid, title(), words));
}

void ManagedSession::log_event(const session::Event& event, ipc::Event name, std::string_view words) {
    // Each step from an abort to the end of the session counts; of the rest a target makes up as many as it
    // likes.
    const bool is_step = event.kind == session::Event::Kind::task_management;
    LineLimit& lines = lines_[std::pair(event.kind, is_step ? event.code : std::uint8_t{0})];
    const auto left_out = lines.admit(ring::monotonic_now());
    if (left_out && *left_out != 0) {
        say(name, fmt::format("{} ({} more such events since this was last said)", words, *left_out));
    } else if (left_out) {
        say(name, words);
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
    std::string queue;
    for (std::size_t i = 0; leader != nullptr && i < leader->companions.size(); ++i) {
        queue = leader->companions[i].get() == this ? fmt::format(", queue: {}", i + 1) : queue;
    }
    return fmt::format("[iface: {}, target: {}, portal: {},{}{}]", id.iface, id.target, id.portal.address,
                       id.portal.port, queue);
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

std::vector<ManagedSession*> family(ManagedSession& session) {
    ManagedSession& leader = leader_of(session);
    std::vector<ManagedSession*> all{&leader};
    for (const auto& companion : leader.companions) {
        all.push_back(companion.get());
    }
    return all;
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

std::uint32_t queue_depth(const ManagedSession& session) {
    constexpr std::int64_t depth_max = 1024;
    return static_cast<std::uint32_t>(
        std::clamp<std::int64_t>(session.node.number(Key::session_queue_depth), 1, depth_max));
}

unsigned queues_ready(const ManagedSession& session, base::Lun lun) {
    unsigned ready = 1;
    for (const auto& companion : session.companions) {
        if (find_served(*companion, lun) == nullptr) {
            break;
        }
        ++ready;
    }
    return ready;
}

std::vector<std::string> lasting_devices(const ManagedSession& session) {
    std::vector<std::string> names;
    for (const auto& served : session.luns) {
        if (served->device != nullptr && served->device->outlives_daemon()) {
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
        log::warning(about(session, served), "{}", error.message());
    }
}

} // namespace iscsi::control

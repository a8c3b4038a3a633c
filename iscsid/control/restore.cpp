// A restart is a crash: what a daemon before this one left in /run and in the kernel is taken back. Its
// devices are served again at once, their requests wait; then each session logs in as after a drop.
#include "block/udev.hpp"
#include "control/about.hpp"
#include "control/daemon.hpp"
#include "control/resize.hpp"
#include "scsi/capacity.hpp"

#include <algorithm>
#include <utility>

namespace iscsi::control {
namespace {

using State = ManagedSession::State;

constexpr base::Duration adopt_pause_first = std::chrono::seconds(1);
constexpr base::Duration adopt_pause_most = std::chrono::minutes(1);

std::optional<std::uint16_t> portal_group(const ManagedSession& session) {
    std::optional<std::uint16_t> group;
    if (session.opened.tpgt >= 0) {
        group = static_cast<std::uint16_t>(session.opened.tpgt);
    }
    return group;
}

CompanionState companion_state(const ManagedSession& companion) {
    CompanionState state;
    state.isid = companion.isid;
    state.down_since = companion.down_since;
    state.portal_group = portal_group(companion);
    state.time2wait_s = companion.opened.session.time2wait_s;
    state.time2retain_s = companion.opened.session.time2retain_s;
    state.reinstated_at = companion.reinstated_at;
    return state;
}

} // namespace

UnitState unit_state(const ServedLun& served) {
    UnitState unit;
    unit.facts = served.facts;
    unit.backend = served.backend;
    unit.cookie = served.cookie;
    unit.shown_cache = served.shown_cache;
    return unit;
}

ring::Task<void> Daemon::begin() {
    watch_network();
    std::vector<std::string> warnings;
    std::vector<SessionState> states = state_.read_all(warnings);
    for (const std::string& warning : warnings) {
        log::error("{}", warning);
    }
    for (std::uint32_t sid : state_.sids()) {
        registry_.reserve(sid);
    }
    std::optional<block::Backend> in_use;
    for (SessionState& state : states) {
        if (!state.units.empty()) {
            in_use = state.units.front().backend;
        }
        co_await restore(std::move(state));
    }
    // While those log in: their users wait.
    std::vector<std::string> said = co_await backends_->choose(in_use);
    for (const std::string& line : said) {
        log::info("{}", line);
    }
    backend_is_chosen_ = true;
    DiscoveryHost& host = *this;
    discoveryd_ = std::make_unique<Discoveryd>(
        host, config_.paths, config_.config_file.empty() ? config_.paths.config_file() : config_.config_file);
    discovering_.spawn(discoveryd_->run());
}

bool Daemon::save(const ManagedSession& session) {
    if (session.leader != nullptr) {
        return save(*session.leader);
    }
    SessionState state;
    state.sid = session.sid;
    state.node = session.node;
    state.isid = session.isid;
    state.initiator_name = session.initiator_name;
    state.down_since = session.down_since;
    state.portal_group = portal_group(session);
    state.logged_in_at = session.logged_in_at;
    state.time2wait_s = session.opened.session.time2wait_s;
    state.time2retain_s = session.opened.session.time2retain_s;
    state.reinstated_at = session.reinstated_at;
    state.logging_in = !session.established;
    state.ending = session.ended_before || (session.established && session.state == State::ending);
    for (const auto& served : session.luns) {
        if (served->cookie != 0) {
            state.units.push_back(unit_state(*served));
        }
    }
    for (const auto& served : session.attaching) {
        if (served->cookie != 0) {
            state.units.push_back(unit_state(*served));
        }
    }
    for (const auto& companion : session.companions) {
        if (companion->established) {
            state.companions.push_back(companion_state(*companion));
        }
    }
    state.units.insert(state.units.end(), session.orphans.begin(), session.orphans.end());
    auto written = state_.write(state);
    if (!written) {
        log::error(about(session), "a restart of iscsid will not find it: {}", written.error().message());
    }
    return written.has_value();
}

void Daemon::forget(std::uint32_t sid) {
    if (auto forgotten = state_.forget(sid); !forgotten) {
        log::error(log::About{ipc::Event::message, sid}, "the next iscsid will bring it back: {}",
                   forgotten.error().message());
    }
}

ring::Task<void> Daemon::restore(SessionState state) {
    if (state.logging_in && state.units.empty()) {
        forget(state.sid); // whoever asked for it was told that the daemon went away
        co_return;
    }
    auto made =
        std::make_unique<ManagedSession>(*this, state.sid, std::move(state.node), least_loaded_shard());
    ManagedSession& session = registry_.add(std::move(made));
    session.isid = state.isid;
    session.initiator_name = std::move(state.initiator_name);
    session.state = State::recovering;
    session.restored = true;
    session.established = true;
    session.ended_before = state.ending;
    session.opened.tpgt = state.portal_group ? *state.portal_group : -1;
    session.opened.session.time2wait_s = state.time2wait_s;
    session.opened.session.time2retain_s = state.time2retain_s;
    session.reinstated_at = std::move(state.reinstated_at);
    session.down_since = state.down_since.value_or(ring::boot_time_now());
    session.logged_in_at = state.logged_in_at;
    log::event(about(session, ipc::Event::taken_over), "{} is taken over from the iscsid before",
               session.title());
    co_await make_nexus(session);
    co_await assume_stranded(session);
    co_await restore_companions(session, std::move(state.companions));
    recoveries_.spawn(bring_back(session, std::move(state.units)));
}

ring::Task<void> Daemon::bring_back(ManagedSession& session, std::vector<UnitState> units) {
    ManagedSession::Use use(session);
    ring::TaskGroup taking;
    for (UnitState& unit : units) {
        taking.spawn(take_back(session, std::move(unit)));
    }
    for (ManagedSession* member : family(session)) {
        if (!session.ended_before) {
            start_recovery(*member); // one device that takes its time holds up no other
        }
    }
    co_await taking.join();
    co_await adopt_orphans(session);
    if (session.ended_before && session.state != State::ending) {
        // The daemon before died in a logout that nobody could refuse any more: nobody uses the devices.
        recoveries_.spawn(destroy_session(session));
    }
}

/// Where the kernel can hold I/O back, what is in progress ends before the daemon does, and nothing has to be
/// sent twice.
ring::Task<void> Daemon::hand_over(ManagedSession& session) {
    if (session.state != State::running) {
        co_return;
    }
    ManagedSession::Use use(session);
    bool all_held = true;
    for (std::size_t i = 0; i < session.luns.size(); ++i) {
        bool held = co_await session.luns.at(i)->device->quiesce();
        all_held = all_held && held;
    }
    if (!all_held) {
        co_return;
    }
    const base::TimePoint give_up_at = loop_->now() + std::chrono::seconds(2);
    for (ManagedSession* member : family(session)) {
        bool is_idle = co_await become_idle(*member, give_up_at);
        if (!is_idle) {
            co_return;
        }
    }
    log::info(about(session), "its devices are quiesced");
}

ring::Task<bool> Daemon::become_idle(ManagedSession& session, base::TimePoint give_up_at) {
    // Kept: one whose device does not start is taken off its shard meanwhile.
    const std::vector<std::shared_ptr<ServedLun>> units = session.luns;
    auto is_idle_unit = [](const auto& served) { return served->lun == nullptr || served->lun->idle(); };
    auto idle = [&units, is_idle_unit] { return std::ranges::all_of(units, is_idle_unit); };
    while (loop_->now() < give_up_at) {
        ring::Call call(*loop_, session.shard.loop(), idle);
        bool is_idle = co_await call;
        if (is_idle) {
            co_return true;
        }
        ring::Sleep pause(*loop_, loop_->now() + std::chrono::milliseconds(10));
        co_await pause;
    }
    co_return false;
}

/// Devices that could not be taken back are tried again, one after the other.
ring::Task<void> Daemon::adopt_orphans(ManagedSession& session) {
    ManagedSession::Use use(session);
    base::Duration pause = adopt_pause_first;
    while (!session.orphans.empty() && session.state != State::ending) {
        co_await session.pause(*loop_, loop_->now() + pause);
        if (session.state == State::ending) {
            break;
        }
        UnitState unit = session.orphans.front();
        session.orphans.erase(session.orphans.begin());
        co_await take_back(session, std::move(unit));
        pause = std::min(pause * 2, adopt_pause_most);
    }
}

ring::Task<void> Daemon::take_back(ManagedSession& session, UnitState unit) {
    auto served = std::make_shared<ServedLun>();
    served->facts = std::move(unit.facts);
    served->backend = unit.backend;
    served->cookie = unit.cookie;
    served->shown_cache = unit.shown_cache;
    served->may_hold_writes = scsi::has_volatile_cache(served->facts);
    session.attaching.push_back(served);
    auto taken = co_await find_device(session, *served);
    if (taken) {
        // Whatever the unit is now, the device needs somebody who answers. A connection that was lost says
        // nothing about it: the path is down then, and is not opened again without a comparison.
        auto same = co_await compare_again(session, *served);
        if (!same && !is_cut_off(same.error())) {
            log::error(about(session), "{}", same.error().message());
            co_await bar(session, *served);
        }
        co_await make_mirrors(session, *served);
        taken = co_await serve(session, *served);
    }
    if (!taken) {
        log::event(about(session, *served, ipc::Event::device_not_kept), "its device is not taken back: {}",
                   taken.error().message());
        // Not removed: it may be mounted.
        co_await take_off_shard(session, *served);
        if (taken.error().code != base::Errc::not_found) {
            session.orphans.push_back(unit_state(*served));
        } else {
            block::forget_udev_properties_of(served->cookie);
        }
        std::erase(session.attaching, served);
        co_return;
    }
    log::event(about(session, *served, ipc::Event::device_kept), "{} is served again",
               served->device->path());
    std::erase(session.attaching, served);
    session.luns.push_back(served);
    compare_size(*served); // the daemon before may have died before it told the kernel
    start_resizing(session);
}

ring::Task<base::Result<void>> Daemon::find_device(ManagedSession& session, ServedLun& served) {
    auto request = device_request(session, served);
    if (!request) {
        co_return base::fail(std::move(request.error()));
    }
    request->queues = static_cast<unsigned>(session.companions.size()) + 1;
    auto device = co_await backends_->take_back(served.backend, std::move(*request));
    if (!device) {
        co_return base::fail(std::move(device.error()));
    }
    served.device = std::move(*device);
    co_return base::Result<void>();
}

} // namespace iscsi::control

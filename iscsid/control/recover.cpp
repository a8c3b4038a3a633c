// After a drop: log in again with the same ISID, compare the units, let I/O go on; or fail it when that takes
// longer than the replacement timeout.
#include "base/limits.hpp"
#include "control/about.hpp"
#include "control/daemon.hpp"
#include "control/log_in.hpp"
#include "control/rival.hpp"
#include "records/fields.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <utility>

namespace iscsi::control {
namespace {

using records::Key;
using State = ManagedSession::State;

/// A daemon that finds a session already overdue tries that long before I/O fails.
constexpr base::Duration first_tries = std::chrono::seconds(5);

/// How long the target wants to be left alone after a drop. What it named last goes before what was
/// negotiated (RFC 7143 section 11.9.1); for a daemon that has just started that time was long ago.
base::Duration time2wait(const ManagedSession& session) {
    if (session.openings == 0) {
        return {};
    }
    base::Duration negotiated = std::chrono::seconds(session.opened.session.time2wait_s);
    return session.time2wait.value_or(negotiated);
}

ipc::Event drop_event(const base::Error& error) {
    switch (error.code) {
    case base::Errc::digest:
        return ipc::Event::digest_error;
    case base::Errc::protocol:
        return ipc::Event::protocol_error;
    default:
        return ipc::Event::connection_lost;
    }
}

} // namespace

void Daemon::on_session_dropped(ManagedSession& session, const base::Error& error) {
    session.dropped = true;
    session.lost_by = error.code;
    if (session.state == State::ending) {
        return;
    }
    if (!session.down_since) {
        session.down_since = ring::boot_time_now();
    }
    session.last_error = error.message();
    log::event(about(session, drop_event(error)), "connection to {} lost: {}", session.title(),
               error.message());
    // In the other states somebody is at work on the session and looks at `dropped`.
    if (session.state == State::running) {
        start_recovery(session);
    } else if (session.state == State::logging_in) {
        // The kernel may be reading from a device that is being shown; the login must not wait for it.
        recoveries_.spawn(fail_login(session));
    }
}

void Daemon::start_recovery(ManagedSession& session) {
    session.state = State::recovering;
    session.overdue = false;
    save(session);
    recoveries_.spawn(recover(session));
}

/// A connection was lost. That another host took the session over shows only in that the target ended it,
/// which a link can do as well; a session that ended for a reason of its own was taken by nobody.
base::Duration Daemon::pause_of_flapping(ManagedSession& session) {
    const base::Duration pause =
        session.flapping.on_drop(loop_->now(), session.lost_by == base::Errc::transport);
    const auto pause_s = std::chrono::ceil<std::chrono::seconds>(pause).count();
    if (session.flapping.is_suspicious() && session.lost_by == base::Errc::disconnected) {
        log::event(about(session, ipc::Event::unstable),
                   "ended by the target again right after its login; does another initiator use "
                   "the name {}, or is it the link? The next login waits {} s",
                   session.initiator_name, pause_s);
    } else if (session.flapping.is_suspicious()) {
        log::event(about(session, ipc::Event::unstable),
                   "lost again right after its login; the next one waits {} s", pause_s);
    }
    return pause;
}

/// Ends early with the session and, when `least` has passed, with a change of the network.
ring::Task<void> Daemon::pause_before_try(ManagedSession& session, base::Duration pause,
                                          base::Duration least) {
    const base::TimePoint not_before = loop_->now() + least;
    base::TimePoint until =
        loop_->now() + std::max(least, spread(pause, static_cast<std::uint32_t>(dice_())));
    while (session.state == State::recovering && loop_->now() < until) {
        session.next_try_at = until;
        ring::EventOrDeadline waiting(*loop_, session.hurry, until);
        bool hurried = co_await waiting;
        session.hurry.reset();
        if (hurried) {
            until = not_before;
        }
    }
    session.next_try_at.reset();
}

void Daemon::on_network_change() {
    for (std::uint32_t sid : registry_.sids()) {
        // One that goes on may end, or end others.
        ManagedSession* session = registry_.find(sid);
        if (session == nullptr) {
            continue;
        }
        for (ManagedSession* member : family(*session)) {
            if (member->state == State::recovering) {
                recoveries_.spawn(hurry(*member));
            }
        }
    }
}

/// Whether it pauses before its next try, or waits for the answer to one.
ring::Task<void> Daemon::hurry(ManagedSession& session) {
    ManagedSession::Use use(session);
    session.hurry.set();
    if (session.rival != nullptr) {
        session.rival->hurry();
    }
    if (session.nexus == nullptr) { // of a session that is just being restored
        co_return;
    }
    auto work = [nexus = session.nexus.get()] { nexus->hurry(); };
    ring::Call call(*loop_, session.shard.loop(), work);
    co_await call;
}

base::Duration Daemon::reconnect_pause_of(const ManagedSession& session) const {
    if (session.state != State::recovering) {
        return {}; // of a first login; the others need not be counted
    }
    const base::Duration now = ring::boot_time_now();
    return reconnect_pause(now - session.down_since.value_or(now), registry_.count(State::recovering));
}

void Daemon::on_recovered(ManagedSession& session, std::int64_t tries) {
    session.state = State::running;
    session.down_since.reset();
    ++session.recoveries;
    save(session);
    begin_reacting(session);
    log::event(about(session, ipc::Event::recovered), "{} is back after {} tries", session.title(), tries);
}

ring::Task<void> Daemon::recover(ManagedSession& session) {
    ManagedSession::Use use(session);
    ring::Event recovered;
    ring::TaskGroup timeout;
    timeout.spawn(fail_after_timeout(session, recovered));
    auto tries_max = session.node.number(Key::session_reopen_max);
    base::Duration pause = std::max(time2wait(session), pause_of_flapping(session));
    base::Duration least_pause = pause;
    std::string told;
    session.time2wait.reset();
    for (std::int64_t tries = 1; session.state == State::recovering; ++tries) {
        session.tries = tries;
        co_await pause_before_try(session, pause, least_pause);
        if (session.state != State::recovering) {
            break;
        }
        const unsigned openings = session.openings;
        auto again = co_await try_again(session);
        if (session.state != State::recovering) {
            break; // nobody wants to know any more
        }
        // A drop that came before the resume was told before its answer.
        if (again && !session.dropped) {
            on_recovered(session, tries);
            break;
        }
        std::string failure_text = again ? std::string() : again.error().message();
        if (!again) {
            session.last_error = failure_text;
        }
        // The same thing once a second would fill the journal.
        if (!again && (failure_text != told || std::has_single_bit(static_cast<std::uint64_t>(tries)))) {
            log::event(about(session, ipc::Event::recovering), "{}: {} (try {})", session.title(),
                       failure_text, tries);
            told = std::move(failure_text);
        }
        if (tries_max > 0 && tries >= tries_max) {
            log::event(about(session, ipc::Event::given_up), "given up after {} tries", tries);
            session.failed_recoveries += session.overdue ? 0 : 1; // counted then
            co_await fail_path(session);
            break;
        }
        const base::Errc failure = again ? base::Errc::disconnected : again.error().code;
        pause = pause_after(failure, tries == 1 ? base::Duration{} : pause, reconnect_pause_of(session));
        // A target that refuses is not asked more often because the network changes.
        least_pause = failure == base::Errc::authentication
                          ? pause
                          : pause_after(failure, {}, base::limits::reconnect_pause_min);
        if (session.dropped && session.openings != openings) {
            least_pause = std::max(least_pause, pause_of_flapping(session));
        }
    }
    recovered.set();
    co_await timeout.join();
    start_resizing(session);
    if (session.restored && session.state == State::running) {
        co_await find_again(session);
    }
}

/// Units of a restored session that had no device, or one that was lost with the daemon before.
ring::Task<void> Daemon::find_again(ManagedSession& session) {
    if (session.node.text(Key::session_scan) == "manual") {
        session.restored = false;
    }
    if (session.rescanning || session.leaving || !session.restored) {
        co_return;
    }
    std::string note;
    session.rescanning = true;
    co_await until_companions_are_fenced(session);
    auto scanned = co_await scan_and_attach(session, note);
    session.rescanning = false;
    session.restored = !scanned; // the login after the next drop scans again
    if (!scanned) {
        log::warning(about(session), "{}", scanned.error().message());
    }
}

ring::Task<void> Daemon::fail_login(ManagedSession& session) {
    ManagedSession::Use use(session);
    co_await fail_path(session);
}

ring::Task<base::Result<void>> Daemon::try_again(ManagedSession& session) {
    co_await look_for_stranded(session);
    for (const auto& served : session.units()) {
        served->cache.give_up_asking(); // of a try before this one
    }
    auto checked = co_await come_back(session);
    bool ask_again = false;
    if (checked && session.state != State::ending) {
        ask_again = co_await judge_caches(session);
    }
    if (ask_again) {
        log::info(about(session),
                  "logging in once more: does the target say to each new session that it was reset?");
        auto work = [nexus = session.nexus.get()] { return nexus->abandon(); };
        ring::Call call(*loop_, session.shard.loop(), work);
        co_await call;
        checked = co_await come_back(session);
    }
    if (checked && ask_again && session.state != State::ending) {
        co_await judge_caches(session);
    }
    if (checked && session.state != State::ending) {
        co_await resume(session);
    }
    co_return checked;
}

/// A new session in which all units are those that are served; without one nothing is left open, but for
/// whoever ends the session, who logs out.
ring::Task<base::Result<void>> Daemon::come_back(ManagedSession& session) {
    auto opened = co_await open_session(session);
    if (!opened) {
        co_return opened;
    }
    session.flapping.on_back(loop_->now());
    const bool is_reinstated = session.stranded && session.stranded->is_reinstated;
    for (const auto& served : session.units()) {
        served->cache.on_login();
    }
    auto checked = co_await fence(session);
    if (checked) {
        checked = co_await check_identity(session);
    }
    if (session.state == State::ending) {
        co_return checked;
    }
    if (checked) {
        if (is_reinstated && !session.dropped) {
            note_reinstatement(session); // and not of two connections that only happened to end
        }
        co_return checked;
    }
    auto work = [nexus = session.nexus.get()] { return nexus->log_out(); };
    ring::Call call(*loop_, session.shard.loop(), work);
    auto logged_out = co_await call;
    co_return checked;
}

ring::Task<void> Daemon::resume(ManagedSession& session) {
    session.resumed_in = session.openings;
    session.target_was_away = false;
    for (const auto& served : session.units()) {
        served->cache.settle();
    }
    auto work = [nexus = session.nexus.get()] { nexus->resume(); };
    ring::Call call(*loop_, session.shard.loop(), work);
    co_await call;
}

ring::Task<void> Daemon::fail_path(ManagedSession& session) {
    auto work = [nexus = session.nexus.get()] { nexus->fail(); };
    ring::Call call(*loop_, session.shard.loop(), work);
    co_await call;
}

ring::Task<void> Daemon::fail_after_timeout(ManagedSession& session, ring::Event& recovered) {
    auto timeout = session.node.number(Key::session_replacement_timeout);
    base::Deadline deadline;
    if (timeout >= 0) {
        // Counted from the drop, even when it was a daemon before this one that saw it.
        auto down_for = ring::boot_time_now() - session.down_since.value_or(ring::boot_time_now());
        deadline = loop_->now() + std::chrono::seconds(timeout) - down_for;
    }
    if (deadline && session.openings == 0) {
        // A daemon that starts has not tried yet.
        deadline = std::max(*deadline, loop_->now() + first_tries);
    }
    ring::EventOrDeadline waiting(*loop_, recovered, deadline);
    bool in_time = co_await waiting;
    if (!in_time && family(session).size() > 1) {
        // Whoever is told that a write has failed may write anew by another queue, whose session is open:
        // then the one that failed must not be executed any more.
        co_await look_for_stranded(session);
        const base::Deadline over_at =
            session.stranded ? base::Deadline(session.stranded->over_at) : base::Deadline(loop_->now());
        ring::EventOrDeadline outlasting(*loop_, recovered, over_at);
        in_time = co_await outlasting;
    }
    if (!in_time && session.state == State::recovering) {
        log::event(about(session, ipc::Event::replacement_timeout),
                   "not back within {} s: I/O{} fails from now on", timeout,
                   session.leader == nullptr ? "" : " of one queue");
        session.overdue = true;
        ++session.failed_recoveries;
        co_await fail_path(session);
        co_await recovered;
    }
}

} // namespace iscsi::control

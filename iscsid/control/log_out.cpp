// The end of a session: asked for (logout), or with the daemon (abandon).
#include "control/about.hpp"
#include "control/daemon.hpp"
#include "control/scan.hpp"
#include "control/settings.hpp"

#include <algorithm>
#include <utility>

namespace iscsi::control {

using State = ManagedSession::State;

namespace {

/// A device that is being made may wait for a target that does not answer.
constexpr base::Duration attach_time_max = std::chrono::seconds(10);

bool is_running(const ManagedSession* session) {
    return session->state == State::running;
}

bool has_nothing_to_wait_for(const ManagedSession* session) {
    return is_running(session) || session->overdue;
}

base::Result<void> connection_is_missing() {
    return base::fail(base::Errc::busy, "there is no connection, and its replacement_timeout has not passed");
}

} // namespace

ring::Task<ipc::Reply> Daemon::log_out(ipc::Logout request) {
    ManagedSession* found = registry_.find(request.sid);
    if (found == nullptr) {
        ipc::ErrorReply refused{{base::Errc::session_not_found, {}}};
        co_return ipc::Reply(std::move(refused));
    }
    ManagedSession& session = *found;
    if (session.state == State::logging_in || session.state == State::ending || session.leaving) {
        ipc::ErrorReply refused{{base::Errc::internal, "the session is logging in or out already"}};
        co_return ipc::Reply(std::move(refused));
    }
    session.leaving = true; // from now on a scan shows nothing new
    session.only_if_unused = request.only_if_unused;
    const base::TimePoint give_up_at = loop_->now() + attach_time_max;
    while (!session.attaching.empty()) {
        if (loop_->now() >= give_up_at) {
            session.leaving = false;
            ipc::ErrorReply busy{{base::Errc::busy, "units of the session are still being shown"}};
            co_return ipc::Reply(std::move(busy));
        }
        ring::Sleep pause(*loop_, loop_->now() + std::chrono::milliseconds(20));
        co_await pause;
        if (registry_.find(request.sid) == nullptr || session.state == State::ending) {
            ipc::ErrorReply gone{{base::Errc::cancelled, "iscsid is stopping"}};
            co_return ipc::Reply(std::move(gone));
        }
    }
    auto ended = co_await end_safely(session);
    if (!ended) {
        ManagedSession* still = registry_.find(request.sid);
        if (still == nullptr || !still->only_if_unused) { // who asked for that tells it in words of its own
            constexpr auto event = ipc::Event::logout_refused;
            log::event(still == nullptr ? log::About{event, request.sid} : about(*still, event),
                       "not logged out: {}", ended.error().message());
        }
        if (still != nullptr) {
            still->leaving = false;
        }
        ipc::ErrorReply refused{std::move(ended.error())};
        co_return ipc::Reply(std::move(refused));
    }
    co_return ipc::Reply(ipc::Done());
}

/// The session is gone, or untouched because somebody uses its devices.
ring::Task<base::Result<void>> Daemon::end_safely(ManagedSession& session) {
    const auto may_lose_io = [&session] {
        // Until then I/O may wait for the connection, and would be lost.
        return session.only_if_unused && !std::ranges::all_of(family(session), &has_nothing_to_wait_for);
    };
    if (may_lose_io()) {
        co_return connection_is_missing();
    }
    const bool was_running = is_running(&session);
    std::vector<block::DeviceClaim> claims;
    auto claimed = co_await claim_devices(session, claims);
    if (!claimed) {
        co_return claimed;
    }
    if (!claims.empty() && may_lose_io()) { // it took its time; without a device the path is sealed by now
        co_await block::release(claims);
        co_return connection_is_missing();
    }
    log::event(about(session, ipc::Event::logging_out), "logging out of {}", session.title());
    auto connected = co_await wait_for_queues(session, !claims.empty(), was_running);
    if (!connected) {
        co_await block::release(claims);
        co_return connected; // the session is gone, perhaps
    }
    if (std::ranges::all_of(family(session), &is_running)) {
        auto flushed = co_await flush_devices(session, claims);
        if (!flushed && spares_users(session)) {
            co_await block::release(claims);
            co_return flushed;
        }
    } else if (!claims.empty()) {
        // Asked for all the same: it does not wait for a target that may never come back.
        log::warning(about(session),
                     "there is no connection{}: what was written to its devices and is not on the "
                     "target yet is lost",
                     is_running(&session) ? " for one of the queues" : "");
    }
    session.state = State::ending;
    save(session);
    co_await retire(session);
    co_await until_unused(session);
    if (spares_users(session)) {
        // From now on every I/O fails, so nobody can begin anything; the claims have to end first, since an
        // nbd device goes only when nobody has it open.
        co_await seal(session);
    }
    co_await block::release(claims);
    co_await detach_in_time(session);
    co_await flush_caches(session);
    session.luns.clear();
    base::Result<void> removed;
    if (!session.orphans.empty()) {
        removed =
            base::fail(base::Errc::busy, "a device could not be removed; the next iscsid will try again");
    }
    co_await destroy_session(session);
    co_return removed;
}

/// A queue whose own session is on its way back, while the target answers the others: that has the time of a
/// logout. What it has acknowledged any of them can make durable; what it has not, and the kernel still has
/// to write to `devices`, waits for it. So it does when a session that `was_running` is lost meanwhile.
ring::Task<base::Result<void>> Daemon::wait_for_queues(ManagedSession& session, bool devices,
                                                       bool was_running) {
    ManagedSession::Use use(session);
    const auto is_waited_for = [&session] {
        const bool is_complete = std::ranges::all_of(family(session), &has_nothing_to_wait_for);
        return session.state == State::running && !is_complete;
    };
    const base::TimePoint give_up_at = loop_->now() + logout_timeout(session.node);
    while (is_waited_for() && loop_->now() < give_up_at) {
        co_await session.pause(*loop_, loop_->now() + std::chrono::milliseconds(20));
    }
    if (session.state == State::ending) {
        co_return base::fail(base::Errc::cancelled, "iscsid is stopping");
    }
    if (is_waited_for() && devices && spares_users(session)) {
        co_return base::fail(base::Errc::busy,
                             "one of the queues has no connection, and what was written to a "
                             "device may wait for that");
    }
    const bool is_lost_now = (was_running || session.only_if_unused) && !has_nothing_to_wait_for(&session);
    if (is_lost_now && devices && spares_users(session)) {
        co_return connection_is_missing();
    }
    co_return base::Result<void>();
}

/// Whoever works on the session stops doing so, and requests do not wait for a connection any more.
ring::Task<void> Daemon::retire(ManagedSession& session) {
    // While one is waited for a login may give up another one that it has just made.
    for (std::size_t i = 0; i < family(session).size(); ++i) {
        ManagedSession& member = *family(session).at(i);
        if (member.leader != nullptr) {
            member.state = State::ending; // with its leader
        }
        if (member.nexus == nullptr) { // it is just being made
            continue;
        }
        ManagedSession::Use use(member);
        member.interrupt();
        auto work = [nexus = member.nexus.get()] { nexus->retire(); };
        ring::Call call(*loop_, member.shard.loop(), work);
        co_await call;
    }
}

/// Nobody can read from the session's devices any more, or write to them.
ring::Task<void> Daemon::seal(ManagedSession& session) {
    for (ManagedSession* member : family(session)) {
        auto work = [nexus = member->nexus.get()] { nexus->seal(); };
        ring::Call call(*loop_, member->shard.loop(), work);
        co_await call;
    }
}

/// A device goes when what is in progress on it has ended. That has the time of a logout: behind it stands a
/// target that says nothing.
ring::Task<void> Daemon::detach_in_time(ManagedSession& session) {
    ring::Event detached;
    ring::TaskGroup limit;
    limit.spawn(abandon_unless(session, detached));
    co_await detach_all(session);
    detached.set();
    co_await limit.join();
}

ring::Task<void> Daemon::abandon_unless(ManagedSession& session, ring::Event& detached) {
    std::vector<ManagedSession*> answering = family(session);
    while (!answering.empty()) {
        ring::EventOrDeadline waiting(*loop_, detached, loop_->now() + logout_timeout(session.node));
        bool in_time = co_await waiting;
        if (in_time) {
            co_return;
        }
        const std::vector<ManagedSession*> asked = std::exchange(answering, {});
        for (ManagedSession* member : asked) {
            // Many devices take their time whatever the target does.
            auto is_answered = [nexus = member->nexus.get()] { return nexus->idle(); };
            ring::Call call(*loop_, member->shard.loop(), is_answered);
            bool answered = co_await call;
            if (detached.is_set()) {
                co_return;
            }
            if (answered) {
                answering.push_back(member);
                continue;
            }
            log::warning(about(session),
                         "the target does not answer what is in progress on its devices: it fails");
            co_await abandon(*member);
        }
    }
}

/// The connection ends without a word, and what is at the target is lost.
ring::Task<void> Daemon::abandon(ManagedSession& session) {
    auto work = [nexus = session.nexus.get()] { return nexus->abandon(); };
    ring::Call call(*loop_, session.shard.loop(), work);
    co_await call;
}

/// Clients have gone without a last flush perhaps: what the target acknowledged is made durable before the
/// nexus ends.
ring::Task<void> Daemon::flush_caches(ManagedSession& session) {
    for (auto& served : session.luns) {
        if (!served->facts.write_cache || served->facts.read_only) {
            continue;
        }
        base::Result<void> flushed;
        for (ManagedSession* member : family(session)) {
            Scanner scanner(*loop_, member->shard.loop(), *member->nexus);
            flushed = co_await scanner.synchronize_cache(served->facts.lun);
            if (flushed) {
                break; // what came by the others, too
            }
        }
        if (!flushed) {
            log::error(about(session), "the last flush failed: {}", flushed.error().message());
        }
    }
}

/// Its units are gone, or are closed here; a live session is logged out of.
ring::Task<void> Daemon::destroy_session(ManagedSession& session) {
    session.state = State::ending;
    co_await retire(session);
    co_await until_unused(session);
    co_await detach_in_time(session);
    session.luns.clear();
    const bool is_finished = session.orphans.empty();
    if (!session.keep_state && !is_finished) {
        session.ended_before = true; // the next daemon finishes what this one could not
        save(session);               // with the companions, each of which has a queue of what is left
    }
    co_await end_companions(session);
    co_await end_nexus(session);
    // Notices of the nexus were posted before that answer, so they have been delivered.
    // A first login that failed has an event of its own, and the next daemon takes over what ends with this.
    const bool is_logout = session.established && !session.keep_state;
    log::info(about(session, is_logout ? ipc::Event::logout : ipc::Event::message), "ended");
    if (!session.keep_state && is_finished) {
        forget(session.sid);
    }
    registry_.remove(session.sid);
}

ring::Task<void> Daemon::end_nexus(ManagedSession& session) {
    std::unique_ptr<shard::Nexus> nexus = std::move(session.nexus);
    auto log_out_work = [&nexus] { return nexus->log_out(); };
    ring::Call log_out_call(*loop_, session.shard.loop(), log_out_work);
    auto logged_out = co_await log_out_call;
    if (!logged_out) {
        log::warning(about(session), "{}", logged_out.error().message());
    }
    auto destroy_work = [&nexus] {
        const base::Deadline stranded_at = nexus->stranded_at();
        nexus.reset();
        return stranded_at;
    };
    ring::Call destroy_call(*loop_, session.shard.loop(), destroy_work);
    auto stranded_at = co_await destroy_call;
    leave_behind(session, stranded_at);
}

/// Without a word to the target: requests in hand fail, block devices go away.
ring::Task<void> Daemon::abandon_session(ManagedSession& session) {
    // A login or a logout in progress ends the session itself.
    bool somebody_ends_it = session.state == State::logging_in || session.state == State::ending;
    session.state = State::ending;
    if (session.nexus != nullptr) {
        co_await retire(session);
    }
    if (somebody_ends_it) {
        co_return; // and may be gone already
    }
    co_await until_unused(session);
    for (ManagedSession* member : family(session)) {
        co_await abandon(*member);
    }
    co_await destroy_session(session);
}

} // namespace iscsi::control

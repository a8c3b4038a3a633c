// The end of a session: asked for (logout), or with the daemon (abandon).
#include "control/daemon.hpp"
#include "control/log.hpp"
#include "control/scan.hpp"
#include "control/settings.hpp"

#include <utility>

namespace iscsi::control {

using State = ManagedSession::State;

namespace {

/// A device that is being made may wait for a target that does not answer.
constexpr base::Duration attach_time_max = std::chrono::seconds(10);

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
            log::warning("session {}: not logged out: {}", request.sid, ended.error().message());
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
    if (session.only_if_unused && session.state != State::running && !session.overdue) {
        // Until then I/O may wait for the connection, and would be lost.
        co_return base::fail(base::Errc::busy,
                             "there is no connection, and its replacement_timeout has not passed");
    }
    std::vector<block::DeviceClaim> claims;
    auto claimed = co_await claim_devices(session, claims);
    if (!claimed) {
        co_return claimed;
    }
    log::info("session {}: logging out of {}", session.sid, session.title());
    if (session.state == State::running) {
        auto flushed = co_await flush_devices(session, claims);
        if (!flushed && spares_users(session)) {
            co_await block::release(claims);
            co_return flushed;
        }
    } else if (!claims.empty()) {
        // Asked for all the same: it does not wait for a target that may never come back.
        log::warning("session {}: there is no connection: what was written to its devices and is not on the "
                     "target yet is lost",
                     session.sid);
    }
    session.state = State::ending;
    save(session);
    co_await retire(session);
    co_await session.until_unused();
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

/// Whoever works on the session stops doing so, and requests do not wait for a connection any more.
ring::Task<void> Daemon::retire(ManagedSession& session) {
    session.interrupt();
    auto work = [nexus = session.nexus.get()] { nexus->retire(); };
    ring::Call call(*loop_, session.shard.loop(), work);
    co_await call;
}

/// Nobody can read from the session's devices any more, or write to them.
ring::Task<void> Daemon::seal(ManagedSession& session) {
    auto work = [nexus = session.nexus.get()] { nexus->seal(); };
    ring::Call call(*loop_, session.shard.loop(), work);
    co_await call;
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
    auto is_answered = [nexus = session.nexus.get()] { return nexus->idle(); };
    for (bool answered = true; answered;) {
        ring::EventOrDeadline waiting(*loop_, detached, loop_->now() + logout_timeout(session.node));
        bool in_time = co_await waiting;
        if (in_time) {
            co_return;
        }
        // Many devices take their time whatever the target does.
        ring::Call call(*loop_, session.shard.loop(), is_answered);
        answered = co_await call;
        if (detached.is_set()) {
            co_return;
        }
    }
    log::warning("session {}: the target does not answer what is in progress on its devices: it fails",
                 session.sid);
    co_await abandon(session);
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
    Scanner scanner(*loop_, session.shard.loop(), *session.nexus);
    for (auto& served : session.luns) {
        if (!served->facts.write_cache || served->facts.read_only) {
            continue;
        }
        auto flushed = co_await scanner.synchronize_cache(served->facts.lun);
        if (!flushed) {
            log::error("session {}: the last flush failed: {}", session.sid, flushed.error().message());
        }
    }
}

/// Its units are gone, or are closed here; a live session is logged out of.
ring::Task<void> Daemon::destroy_session(ManagedSession& session) {
    session.state = State::ending;
    co_await retire(session);
    co_await session.until_unused();
    co_await detach_in_time(session);
    session.luns.clear();
    std::unique_ptr<shard::Nexus> nexus = std::move(session.nexus);
    auto log_out_work = [&nexus] { return nexus->log_out(); };
    ring::Call log_out_call(*loop_, session.shard.loop(), log_out_work);
    auto logged_out = co_await log_out_call;
    if (!logged_out) {
        log::warning("session {}: {}", session.sid, logged_out.error().message());
    }
    auto destroy_work = [&nexus] {
        const base::Deadline stranded_at = nexus->stranded_at();
        nexus.reset();
        return stranded_at;
    };
    ring::Call destroy_call(*loop_, session.shard.loop(), destroy_work);
    auto stranded_at = co_await destroy_call;
    leave_behind(session, stranded_at);
    // Notices of the nexus were posted before that answer, so they have been delivered.
    log::info("session {}: ended", session.sid);
    if (!session.keep_state && !session.orphans.empty()) {
        session.ended_before = true; // the next daemon finishes what this one could not
        save(session);
    } else if (!session.keep_state) {
        forget(session.sid);
    }
    registry_.remove(session.sid);
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
    co_await session.until_unused();
    co_await abandon(session);
    co_await destroy_session(session);
}

} // namespace iscsi::control

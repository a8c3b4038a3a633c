// After a drop: log in again with the same ISID, compare the units, let I/O go on; or fail it when that takes
// longer than the replacement timeout.
#include "control/daemon.hpp"
#include "control/log.hpp"
#include "records/fields.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace iscsi::control {
namespace {

using records::Key;
using State = ManagedSession::State;

constexpr base::Duration pause_first = std::chrono::milliseconds(250);
constexpr base::Duration pause_most = std::chrono::seconds(8);
/// A daemon that finds a session already overdue tries that long before I/O fails.
constexpr base::Duration first_tries = std::chrono::seconds(5);

} // namespace

void Daemon::on_session_dropped(ManagedSession& session, const base::Error& error) {
    session.dropped = true;
    if (session.state == State::ending) {
        return;
    }
    if (!session.down_since) {
        session.down_since = ring::boot_time_now();
    }
    log::error("session {}: connection to {} lost: {}", session.sid, session.title(), error.message());
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

ring::Task<void> Daemon::recover(ManagedSession& session) {
    ManagedSession::Use use(session);
    ring::Event recovered;
    ring::TaskGroup timeout;
    timeout.spawn(fail_after_timeout(session, recovered));
    auto tries_max = session.node.number(Key::session_reopen_max);
    base::Duration pause{};
    if (!session.restored) {
        pause = std::chrono::seconds(session.opened.session.time2wait_s);
    }
    for (std::int64_t tries = 1; session.state == State::recovering; ++tries) {
        ring::EventOrDeadline waiting(*loop_, session.interrupted, loop_->now() + pause);
        bool interrupted = co_await waiting;
        if (interrupted) {
            break;
        }
        auto again = co_await try_again(session);
        // A drop that came before the resume was told before its answer.
        if (again && !session.dropped) {
            if (session.state == State::recovering) {
                session.state = State::running;
                session.down_since.reset();
                save(session);
            }
            log::info("session {}: {} is back after {} tries", session.sid, session.title(), tries);
            break;
        }
        if (!again) {
            log::warning("session {}: {}: {}", session.sid, session.title(), again.error().message());
        }
        if (tries_max > 0 && tries >= tries_max) {
            log::error("session {}: given up after {} tries", session.sid, tries);
            co_await fail_path(session);
            break;
        }
        pause = tries == 1 ? pause_first : std::min(pause * 2, pause_most);
    }
    recovered.set();
    co_await timeout.join();
    co_await resize_devices(session);
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
    auto scanned = co_await scan_and_attach(session, note);
    session.rescanning = false;
    session.restored = !scanned; // the login after the next drop scans again
    if (!scanned) {
        log::warning("session {}: {}", session.sid, scanned.error().message());
    }
}

ring::Task<void> Daemon::fail_login(ManagedSession& session) {
    ManagedSession::Use use(session);
    co_await fail_path(session);
}

ring::Task<base::Result<void>> Daemon::try_again(ManagedSession& session) {
    auto opened = co_await open_session(session);
    if (!opened) {
        co_return opened;
    }
    auto checked = co_await check_identity(session);
    if (session.state == State::ending) {
        co_return checked; // whoever ends the session logs out
    }
    if (checked) {
        co_await resume(session);
        co_return checked;
    }
    auto work = [nexus = session.nexus.get()] { return nexus->log_out(); };
    ring::Call call(*loop_, session.shard.loop(), work);
    auto logged_out = co_await call;
    co_return checked;
}

ring::Task<void> Daemon::fail_after_timeout(ManagedSession& session, ring::Event& recovered) {
    auto timeout = session.node.number(Key::session_replacement_timeout);
    base::Deadline deadline;
    if (timeout >= 0) {
        // Counted from the drop, even when it was a daemon before this one that saw it.
        auto down_for = ring::boot_time_now() - session.down_since.value_or(ring::boot_time_now());
        deadline = loop_->now() + std::chrono::seconds(timeout) - down_for;
    }
    if (deadline && session.restored) {
        // A daemon that starts has not tried yet.
        deadline = std::max(*deadline, loop_->now() + first_tries);
    }
    ring::EventOrDeadline waiting(*loop_, recovered, deadline);
    bool in_time = co_await waiting;
    if (!in_time && session.state == State::recovering) {
        log::error("session {}: not back within {} s: I/O fails from now on", session.sid, timeout);
        session.overdue = true;
        co_await fail_path(session);
        co_await recovered;
    }
}

} // namespace iscsi::control

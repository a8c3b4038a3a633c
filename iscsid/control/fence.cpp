// Writes that a lost connection has left behind. The target, or the network before it, may have some whose
// answer never came; executed late, after their replay and what followed it, they would put old data over
// new. A target that reinstates sessions (RFC 7143 section 6.3.5) ends them before it answers the next login
// of the same name. Not every target does, some do it a little later, and no login says so. So until it was
// seen once to do it at once, two logins are made instead of one (rival.hpp): what the second does to the
// first, it has done to the one before. Where the target does not reinstate, or the new session is one of
// another portal group and therefore another nexus, or was opened elsewhere because who was there takes
// connections and says nothing, nothing is sent before the target must have given up the old session by
// itself.
//
// A target that has ended a session may still have its writes in the queue of a slow disk, and nothing that a
// session can be told shows when they are through: tgtd lets them finish after it has closed the connection
// they came by, and so may others. They are still in the unit's task set, though, which all sessions share.
// So, before a unit's users may send again, a command is sent to tgtd that has to wait for all that is there
// (Scanner::drain); it costs a round trip when there is nothing, and as long as it takes until nobody has a
// command in progress there when others keep the unit busy. LOGICAL UNIT RESET would do as well, but
// takes the commands, and the reservation, of every other host from the unit; CLEAR TASK SET takes their
// commands, too, and ABORT TASK SET only reaches what this session has sent. Other targets are not asked: LIO
// (Linux 6.12, and what is built of it under other names) never ends an ORDERED command behind commands that
// a lost session has left, nor the session that it came by. They get the two seconds that open-iscsi's
// records have always given them, but for two that need none: LIO answers the next login when the old
// session's commands are through, and istgt does all that a unit is asked for in one thread, in its order.
#include "base/limits.hpp"
#include "control/about.hpp"
#include "control/daemon.hpp"
#include "control/rival.hpp"
#include "control/scan.hpp"
#include "scsi/target_port_groups.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace iscsi::control {
namespace {

bool is_of_the_network(const base::Error& error) {
    using base::Errc;
    return error.code == Errc::transport || error.code == Errc::transport_timeout ||
           error.code == Errc::disconnected || error.code == Errc::pdu_timeout ||
           error.code == Errc::cancelled;
}

/// What was lost may be at an address that left the login unanswered, and not where it was opened now. A
/// daemon that took the session over, or a session after one of the same name, does not know where it was.
bool was_left_standing(const ManagedSession& session, const shard::OpenReply& opened) {
    if (session.endpoint.text.empty()) {
        return session.addresses.has_last_beside(opened.endpoint);
    }
    return opened.endpoint != session.endpoint && session.addresses.is_last(session.endpoint);
}

} // namespace

Stranded stranded(base::TimePoint lost_at, const wire::SessionParameters& lost, std::int32_t portal_group) {
    base::Duration time2wait = std::chrono::seconds(lost.time2wait_s);
    base::Duration time2retain = std::chrono::seconds(lost.time2retain_s);
    time2retain = std::max<base::Duration>(time2retain, base::limits::time2retain_min);
    return {lost_at + time2wait + time2retain, portal_group};
}

bool is_same_nexus(const Stranded& stranded, std::int32_t opened_in) {
    return stranded.portal_group < 0 || opened_in < 0 || stranded.portal_group == opened_in;
}

/// What the daemon before this one had sent is not known.
ring::Task<void> Daemon::assume_stranded(ManagedSession& session) {
    auto work = [nexus = session.nexus.get()] { nexus->assume_stranded(); };
    ring::Call call(*loop_, session.shard.loop(), work);
    co_await call;
}

ring::Task<void> Daemon::look_for_stranded(ManagedSession& session) {
    auto work = [nexus = session.nexus.get()] { return nexus->stranded_at(); };
    ring::Call call(*loop_, session.shard.loop(), work);
    auto at = co_await call;
    if (at && !session.stranded) {
        session.stranded = stranded(*at, session.opened.session, session.opened.tpgt);
    }
}

/// The session was opened again. `ended_after` is how long after the begin of such a login the target ends
/// the session before it; empty when it does not.
void Daemon::on_successor(ManagedSession& session, const shard::OpenReply& opened,
                          std::optional<base::Duration> ended_after) {
    if (!session.stranded) {
        return;
    }
    if (!is_same_nexus(*session.stranded, opened.tpgt)) {
        log::event(about(session, ipc::Event::moved), "the target has moved to portal group {}", opened.tpgt);
        return;
    }
    if (was_left_standing(session, opened)) {
        log::warning(about(session), "where it may have been somebody takes connections and says nothing");
        // Whoever stands still there may not have heard of its end from who answers here.
        ended_after.reset();
    } else if (!ended_after) {
        log::warning(about(session), "the target does not end the old session of the same name");
    }
    if (!ended_after) {
        // It may have stood still all the time, and find what was sent to it only now.
        session.stranded->over_at =
            std::max(session.stranded->over_at, loop_->now() + base::limits::time2retain_min);
        return;
    }
    session.stranded->is_reinstated = *ended_after <= base::limits::reinstatement_slack;
    // One that ends them later than it should may not do so in their order.
    session.stranded->over_at = loop_->now() + *ended_after;
}

/// A session that the next one of its name ends tells what became of the one that was lost.
ring::Task<tl::expected<shard::OpenReply, shard::OpenFailure>>
Daemon::open_beside_rival(ManagedSession& session, const shard::OpenRequest& request) {
    Rival rival(*loop_);
    session.rival = &rival;
    auto beside = co_await rival.open(request);
    if (!beside) {
        session.rival = nullptr;
        co_return beside;
    }
    const base::TimePoint begun_at = ring::monotonic_now();
    auto work = [&session, &request] { return session.nexus->open(request); };
    ring::Call call(*loop_, session.shard.loop(), work);
    auto opened = co_await call;
    std::optional<base::Duration> ended_after;
    if (opened) {
        ended_after = co_await rival.ended_after(begun_at);
    }
    session.rival = nullptr;
    if (!opened) {
        session.stranded->is_alone = !is_of_the_network(opened.error().error);
    } else if (session.state != ManagedSession::State::ending) {
        on_successor(session, *opened, ended_after);
    }
    co_await rival.end();
    co_return opened;
}

/// The session has ended, and what it lost may yet be executed: the next of its name minds it.
void Daemon::leave_behind(const ManagedSession& session, base::Deadline stranded_at) {
    std::optional<Stranded> left = session.stranded;
    if (!left && stranded_at) {
        left = stranded(*stranded_at, session.opened.session, session.opened.tpgt);
    }
    if (left && left->over_at > loop_->now()) {
        left_behind_.insert_or_assign({session.id.target, session.isid.value()}, *left);
    }
}

std::optional<Stranded> Daemon::take_left_behind(const ManagedSession& session) {
    std::erase_if(left_behind_, [this](const auto& entry) { return entry.second.over_at <= loop_->now(); });
    auto found = left_behind_.extract({session.id.target, session.isid.value()});
    return found.empty() ? std::nullopt : std::optional(found.mapped());
}

/// What sessions of other names with the target have left behind, and nobody of their name has come to end.
ring::Task<void> Daemon::outlast_left_behind(ManagedSession& session) {
    bool told = false;
    while (session.state != ManagedSession::State::ending) {
        base::Deadline until;
        for (const auto& [name, left] : left_behind_) {
            if (name.first == session.id.target && left.over_at > loop_->now()) {
                until = until ? std::max(*until, left.over_at) : left.over_at;
            }
        }
        if (!until) {
            break;
        }
        if (!std::exchange(told, true)) {
            log::warning(about(session),
                         "the target may still execute what another session has left behind; nothing is sent "
                         "for up to {} s",
                         std::chrono::ceil<std::chrono::seconds>(*until - loop_->now()).count());
        }
        // The next of that name may come meanwhile.
        co_await session.pause(*loop_, std::min(*until, loop_->now() + std::chrono::seconds(1)));
    }
}

ring::Task<base::Result<void>> Daemon::fence(ManagedSession& session) {
    if (!session.stranded) {
        co_return base::Result<void>();
    }
    const base::Duration left = session.stranded->over_at - loop_->now();
    if (left > std::chrono::seconds(1)) {
        log::warning(about(session), "the target may still execute what was lost; nothing is sent for {} s",
                     std::chrono::ceil<std::chrono::seconds>(left).count());
    }
    if (left > base::Duration{}) {
        ring::EventOrDeadline waiting(*loop_, session.interrupted, session.stranded->over_at);
        bool interrupted = co_await waiting;
        if (interrupted) {
            co_return base::fail(base::Errc::cancelled, "the session is being ended");
        }
    }
    if (session.dropped) {
        co_return base::fail(base::Errc::disconnected, "the connection was lost again");
    }
    auto work = [nexus = session.nexus.get()] { nexus->on_fenced(); };
    ring::Call call(*loop_, session.shard.loop(), work);
    co_await call;
    session.stranded.reset();
    ++session.fences;
    co_return base::Result<void>();
}

bool has_leftovers(const ManagedSession& session, const ServedLun& served, const scsi::LunFacts& now) {
    // A port in standby takes no write either.
    return served.drained_in != session.fences && scsi::target_program(now) == scsi::TargetProgram::tgtd &&
           !scsi::only_answers_inquiries(now.access.state);
}

ring::Task<void> Daemon::drain_soon(ManagedSession& session, ServedLun& served, const scsi::LunFacts& now) {
    if (served.drained_in == session.fences) {
        co_return;
    }
    if (scsi::target_program(now) == scsi::TargetProgram::not_known) {
        const unsigned fences = session.fences;
        const base::Duration boot_now = ring::boot_time_now();
        const base::Duration down_for = boot_now - session.down_since.value_or(boot_now);
        co_await session.pause(*loop_, loop_->now() + base::limits::late_write_wait - down_for);
        served.drained_in = fences;
    } else if (!has_leftovers(session, served, now)) {
        served.drained_in = session.fences;
    } else {
        // Noted only: there is no look before the session runs, or before the Lun is made.
        session.agenda.note(served.facts.lun, scsi::Effect::identity_doubt, loop_->now());
        auto work = [&served] {
            if (served.lun != nullptr) {
                served.lun->doubt();
            }
        };
        ring::Call call(*loop_, session.shard.loop(), work);
        co_await call;
    }
}

ring::Task<base::Result<void>> Daemon::drain(ManagedSession& session, ServedLun& served,
                                             const scsi::LunFacts& now) {
    const unsigned fences = session.fences;
    const base::TimePoint begun_at = loop_->now();
    Scanner scanner = scanner_of(session);
    auto drained = co_await scanner.drain(now);
    if (!drained) {
        co_return drained;
    }
    served.drained_in = fences;
    const base::Duration taken = loop_->now() - begun_at;
    if (taken > std::chrono::seconds(1)) {
        log::warning(about(session, now.lun),
                     "its target was at work on what had been lost, or on what others sent, "
                     "for another {} ms",
                     std::chrono::duration_cast<std::chrono::milliseconds>(taken).count());
    }
    co_return drained;
}

} // namespace iscsi::control

// One LUN over several cores: sessions beside the one that was asked for, each on a shard of its own, which
// serve one more queue of each of its devices. There is no lock between them and nothing that they number
// together. What one of them hears of a unit the others look after, too: a target tells every nexus of its
// own, but maybe later.
#include "base/limits.hpp"
#include "control/about.hpp"
#include "control/daemon.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace iscsi::control {
namespace {

using State = ManagedSession::State;

} // namespace

shard::Shard& Daemon::least_loaded_shard() {
    auto least =
        std::ranges::min_element(shards_, {}, [](const auto& candidate) { return candidate->sessions; });
    return **least;
}

/// On the least loaded shard that has none of the family.
ManagedSession& Daemon::make_companion(ManagedSession& leader, base::Isid isid) {
    const std::vector<ManagedSession*> others = family(leader);
    shard::Shard* least = nullptr;
    for (const auto& shard : shards_) {
        const bool is_taken =
            std::ranges::any_of(others, [&](const auto* other) { return &other->shard == shard.get(); });
        if (!is_taken && (least == nullptr || shard->sessions < least->sessions)) {
            least = shard.get();
        }
    }
    // A daemon before this one had more shards.
    shard::Shard& place = least == nullptr ? least_loaded_shard() : *least;
    auto made = std::make_unique<ManagedSession>(*this, leader.sid, leader.node, place);
    made->leader = &leader;
    made->isid = isid;
    made->initiator_name = leader.initiator_name;
    made->node_with_secrets = leader.node_with_secrets;
    leader.companions.push_back(std::move(made));
    return *leader.companions.back();
}

ring::Task<void> Daemon::open_companions(ManagedSession& leader) {
    std::size_t wished = std::min<std::size_t>(config_.queues, shards_.size());
    if (wished > 1 && backends_->chosen() == block::Backend::nbd) {
        log::warning(about(leader), "1 queue instead of {}: nbd devices have no more", wished);
        wished = 1;
    }
    while (leader.companions.size() + 1 < wished && leader.state != State::ending && !leader.dropped) {
        ManagedSession& companion = make_companion(leader, choose_isid(leader.id));
        companion.stranded = take_left_behind(companion);
        co_await make_nexus(companion);
        auto opened = co_await open_companion(companion);
        if (opened) {
            companion.state = State::running;
            companion.established = true;
            if (companion.dropped) {
                start_recovery(companion);
            }
            continue;
        }
        log::warning(about(leader), "{} queue(s) instead of {}: another session with the target fails: {}",
                     leader.companions.size(), wished, opened.error().message());
        companion.state = State::ending;
        co_await end_companion(companion);
        leader.companions.pop_back();
        break;
    }
    if (!leader.companions.empty()) {
        save(leader);
    }
}

ring::Task<base::Result<void>> Daemon::open_companion(ManagedSession& companion) {
    if (companion.leader->state == State::ending) {
        companion.state = State::ending; // it may have been made behind the interruption
    }
    auto opened = co_await open_session(companion);
    if (opened) {
        opened = co_await fence(companion);
    }
    if (opened && (companion.dropped || companion.state == State::ending)) {
        opened = base::fail(base::Errc::disconnected, "the connection was lost again");
    }
    if (opened) {
        co_await resume(companion);
    }
    co_return opened;
}

/// As many as there were: their queues wait for them.
ring::Task<void> Daemon::restore_companions(ManagedSession& leader, std::vector<CompanionState> states) {
    for (CompanionState& state : states) {
        ManagedSession& companion = make_companion(leader, state.isid);
        companion.state = State::recovering;
        companion.established = true;
        companion.opened.tpgt = state.portal_group ? *state.portal_group : -1;
        companion.opened.session.time2wait_s = state.time2wait_s;
        companion.opened.session.time2retain_s = state.time2retain_s;
        companion.reinstated_at = std::move(state.reinstated_at);
        companion.down_since = state.down_since.value_or(ring::boot_time_now());
        co_await make_nexus(companion);
        co_await assume_stranded(companion);
    }
}

/// What the sessions beside it had sent for a daemon before this one is executed no more: each is in, or
/// its time is over. An export's clients come back by whichever queue.
ring::Task<void> Daemon::until_companions_are_fenced(ManagedSession& leader) {
    constexpr base::Duration look_again = std::chrono::milliseconds(20);
    const auto is_fenced = [this](const auto& companion) {
        return companion->fences > 0 || (companion->stranded && companion->stranded->over_at <= loop_->now());
    };
    while (leader.state == State::running && !std::ranges::all_of(leader.companions, is_fenced)) {
        co_await leader.pause(*loop_, loop_->now() + look_again);
    }
}

ring::Task<void> Daemon::end_companion(ManagedSession& companion) {
    companion.interrupt();
    co_await companion.until_unused();
    if (companion.nexus != nullptr) {
        co_await end_nexus(companion);
    }
}

ring::Task<void> Daemon::end_companions(ManagedSession& leader) {
    ring::TaskGroup ending;
    for (const auto& companion : leader.companions) {
        ending.spawn(end_companion(*companion));
    }
    co_await ending.join();
    leader.companions.clear();
}

ring::Task<void> Daemon::until_unused(ManagedSession& session) {
    for (ManagedSession* member : family(session)) {
        co_await member->until_unused();
    }
}

void Daemon::doubt_others(ManagedSession& session, base::Lun lun) {
    for (ManagedSession* other : family(session)) {
        const std::shared_ptr<ServedLun> served = other == &session ? nullptr : find_served(*other, lun);
        if (served == nullptr || other->state == State::ending) {
            continue;
        }
        other->agenda.note(lun, scsi::Effect::identity_doubt, loop_->now());
        begin_reacting(*other);
        recoveries_.spawn(doubt(*other, served));
    }
}

ring::Task<void> Daemon::doubt(ManagedSession& session, std::shared_ptr<ServedLun> served) {
    ManagedSession::Use use(session);
    auto work = [&served] {
        if (served->lun != nullptr) {
            served->lun->doubt();
        }
    };
    ring::Call call(*loop_, session.shard.loop(), work);
    co_await call;
}

void Daemon::tell_others(ManagedSession& session, base::Lun lun) {
    for (ManagedSession* other : family(session)) {
        if (other != &session && other->state != State::ending && find_served(*other, lun) != nullptr) {
            look_later(*other, lun, false);
        }
    }
}

} // namespace iscsi::control

// What a Lun's requests wait for: a slot, room at the target, the path, a moment, an answer to who the unit
// is.
#include "shard/lun.hpp"

#include "base/check.hpp"
#include "base/limits.hpp"

#include <cerrno>
#include <utility>

namespace iscsi::shard {

namespace limits = base::limits;

/// It cannot go on: the queue gets it back, to start it anew, or else it waits here.
void Lun::park(Slot& slot) {
    slot.parked = false;
    if (!may_begin_anew(slot) || !give_back(slot)) {
        slot.parked = true;
    }
}

/// The queue holds the request from here on, and the slot may be another one's already. False: it does not.
bool Lun::give_back(Slot& slot) {
    if (!queue_->hold(*slot.request)) {
        return false;
    }
    slot.request = nullptr;
    give_up_slot(slot);
    start_waiting();
    return true;
}

/// Its data lie where a session with data digests cannot see them, as the one before this had none.
void Lun::begin_anew(Slot& slot) {
    const bool held = give_back(slot);
    base::check(held, "a queue with registered buffers holds requests");
    queue_->release_held();
}

/// What a request has done and met is forgotten when it begins anew. While the path is up that might go on
/// for ever; while it is down memory is better used by others, and a new session is a new try for all of them
/// but one that sessions end because of. A flush has no memory to give back, but must know what it is to make
/// durable: that is gone, perhaps, when the session comes back.
bool Lun::may_begin_anew(const Slot& slot) const {
    if (slot.blames != 0 || slot.request->verb == block::Verb::flush) {
        return false;
    }
    return nexus_.state() == PathState::down || (slot.done_bytes == 0 && !slot.tries.has_attentions());
}

void Lun::on_path_state(PathState state) {
    if (state == PathState::down) {
        return on_path_down();
    }
    resume_parked();
    if (state == PathState::up && doubted_) {
        limit_doubt();
    }
    if (state == PathState::failed) {
        end_delays();
        while (Slot* slot = for_room_.pop()) {
            proceed(*slot);
        }
        while (block::Request* request = waiting_.pop()) {
            end(*request, ENOLINK);
        }
    }
}

void Lun::on_path_down() {
    // The session may have ended because its target starts anew.
    doubt_cache();
    resets_seen_ = cache_->resets.load(std::memory_order_acquire);
    for (std::uint32_t i = 0; i < depth_; ++i) {
        slots_[i].starts = 0;
        if (slots_[i].parked) {
            park(slots_[i]); // It was kept while the path was up.
        }
    }
}

void Lun::resume_parked() {
    if (nexus_.state() == PathState::down) {
        return;
    }
    for (std::uint32_t i = 0; i < depth_; ++i) {
        if (std::exchange(slots_[i].parked, false)) {
            slots_[i].tries.go_on();
            proceed(slots_[i]);
        }
    }
    if (queue_ != nullptr) {
        queue_->release_held();
    }
}

void Lun::end_delays() {
    for (std::uint32_t i = 0; i < depth_; ++i) {
        if (std::exchange(slots_[i].delayed, false)) {
            proceed(slots_[i]);
        }
    }
}

void Lun::delay(Slot& slot, base::TimePoint until) {
    slot.delayed = true;
    slot.again_at = until;
    wake_at(until);
}

void Lun::wake_at(base::TimePoint when) {
    if (!delay_timer_.armed() || when < delay_timer_.when()) {
        delay_timer_.arm(when);
    }
}

void Lun::on_delay_over() {
    for (std::uint32_t i = 0; i < depth_; ++i) {
        Slot& slot = slots_[i];
        if (!slot.delayed) {
            continue;
        }
        if (slot.again_at > loop_.now()) {
            wake_at(slot.again_at);
            continue;
        }
        slot.delayed = false;
        proceed(slot);
    }
    if (!doubted_ || nexus_.state() != PathState::up) {
        return;
    }
    if (loop_.now() >= doubted_until_) {
        return give_up_doubt();
    }
    wake_at(doubted_until_);
}

/// Another unit may answer in its place. A target that swaps one says so once, with whatever command comes
/// first: that one was not executed, but would be when it is sent again.
void Lun::doubt() {
    doubted_at_ = ring::monotonic_now();
    if (!barred_ && !doubted_) {
        begin_doubt();
    }
}

void Lun::begin_doubt() {
    doubted_ = true;
    limit_doubt();
}

/// Nobody can look at a unit without a path: the time counts from when there is one.
void Lun::limit_doubt() {
    if (nexus_.state() == PathState::up) {
        doubted_until_ = loop_.now() + doubt_max_;
        wake_at(doubted_until_);
    }
}

void Lun::on_lun_effects(base::Lun lun, scsi::Effects effects) {
    if (lun == facts_.lun) {
        take_care(effects);
    }
}

void Lun::on_reset_by_us(std::optional<base::Lun> lun) {
    if (lun.value_or(facts_.lun) == facts_.lun) {
        cache_->resets.fetch_add(1, std::memory_order_acq_rel); // the unit tells every nexus of it
    }
}

/// Of the cache nothing was heard for certain: no flush fails for that.
void Lun::on_news_missed() {
    doubt_cache();
    doubt();
}

void Lun::end_doubt() {
    if (std::exchange(doubted_, false)) {
        resume_parked();
    }
}

void Lun::give_up_doubt() {
    scsi::Disposition given_up;
    given_up.effects = scsi::Effect::not_compared;
    news_.tell(given_up);
    bar();
}

void Lun::give_up_slot(Slot& slot) {
    slot.next_slot = std::exchange(free_, &slot);
    --busy_;
}

void Lun::start_waiting() {
    // finish() may come from begin(): a loop instead of a recursion as deep as the queue.
    if (starting_) {
        return;
    }
    starting_ = true;
    while (!for_room_.empty() && has_room()) {
        proceed(*for_room_.pop());
    }
    while (free_ != nullptr && !waiting_.empty() && has_room()) {
        begin(*waiting_.pop());
    }
    starting_ = false;
}

} // namespace iscsi::shard

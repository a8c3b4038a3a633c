// What becomes of requests when the unit's volatile cache is lost, or may be.
#include "shard/lun.hpp"

#include <cerrno>
#include <utility>

namespace iscsi::shard {

namespace {

/// Of all that passes upwards the errno of a target that has failed, not of a path to it: dm-multipath would
/// ask for the flush again by another path, and that one would end well.
constexpr int writes_are_gone = EREMOTEIO;

/// What is there, and nothing is left; one of several takes it.
template <class T>
T take(std::atomic<T>& what) {
    return what.load(std::memory_order_acquire) == T{} ? T{} : what.exchange(T{}, std::memory_order_acq_rel);
}

} // namespace

/// What the unit took without the FUA bit may have gone with its cache. A request that still has to make sure
/// of its data begins anew: a flush for what is not there any more would end well. So does a write whose
/// pieces may be on both sides of the loss: it is not acknowledged yet, and nobody else minds the first ones.
void Lun::doubt_cache() {
    for (std::uint32_t i = 0; i < depth_; ++i) {
        Slot& slot = slots_[i];
        if (slot.request == nullptr || !slot.unforced) {
            continue;
        }
        const bool in_pieces = slot.done_bytes != 0 || slot.piece_bytes < slot.request->length_bytes;
        slot.stale |= in_pieces || must_be_durable(*slot.request);
    }
}

/// The Lun of another queue has heard that the cache was lost. The unit tells every nexus so (SAM-5
/// section 5.14); should it not, what this one had in hand is treated as if it had: flushes fail, and what
/// was sent to the cache is sent again, since nobody knows which side of the loss it was on. Were none of
/// those that were acknowledged lost, there is nothing that a flush would have to fail for.
void Lun::heed_losses() {
    const std::uint32_t losses = cache_->losses.load(std::memory_order_acquire);
    const std::uint32_t empty_losses = cache_->empty_losses.load(std::memory_order_acquire);
    const bool is_lost = std::exchange(losses_seen_, losses) != losses;
    const bool is_emptied = std::exchange(empty_losses_seen_, empty_losses) != empty_losses;
    if (!is_lost && !is_emptied) {
        return;
    }
    for (std::uint32_t i = 0; i < depth_; ++i) {
        slots_[i].stale |= slots_[i].request != nullptr && slots_[i].unforced;
    }
    if (is_lost && fail_flushes()) {
        raise_to(cache_->losses_told, losses);
    }
}

/// Said while the session is up there is no greeting in it. What follows a reset, by us or by another host,
/// is told as 29/00 by targets that know no other code; a reset leaves the cache as it is (SAM-5
/// section 6.3.3). Where the cache is memory of the program, or of its kernel, it is not lost without its
/// connections.
bool Lun::tells_of_lost_cache(scsi::Effects effects) {
    if (!effects.has(scsi::Effect::power_on_reset)) {
        return false;
    }
    const bool has_connections_in_it = scsi::target_program(facts_) != scsi::TargetProgram::not_known;
    const std::uint32_t resets = cache_->resets.load(std::memory_order_acquire);
    const bool is_ours = std::exchange(resets_seen_, resets) != resets;
    const bool is_a_reset = (is_ours || has_connections_in_it) && !effects.has(scsi::Effect::power_was_lost);
    return nexus_.state() == PathState::up && effects.has(scsi::Effect::cache_maybe_lost) && !is_a_reset;
}

void Lun::lose_cache() {
    if (!cache_->unflushed.any()) {
        // But another queue may still have to take the answer to a write that was there; and one that has
        // taken it just now looks for this after it has counted the write, as we look for that once more.
        empty_losses_seen_ = cache_->empty_losses.fetch_add(1, std::memory_order_seq_cst) + 1;
        if (!cache_->unflushed.any()) {
            return;
        }
    }
    // First: a flush of another queue that ends from here on is told.
    losses_seen_ = cache_->losses.fetch_add(1, std::memory_order_seq_cst) + 1;
    losses_answered_ = losses_seen_;
    const VolatileWrites::Amount lost = cache_->unflushed.lose();
    ++counters_.cache_losses;
    counters_.lost.writes += lost.writes;
    counters_.lost.bytes += lost.bytes;
    if (fail_flushes()) {
        raise_to(cache_->losses_told, losses_seen_);
    }
    scsi::Disposition told;
    told.effects = scsi::Effect::writes_lost;
    news_.tell(told);
}

/// Those in hand began when the writes were there, some of them to make them durable. False: there is none.
bool Lun::fail_flushes() {
    bool any = false;
    for (std::uint32_t i = 0; i < depth_; ++i) {
        Slot& slot = slots_[i];
        slot.hopeless = slot.request != nullptr && slot.request->verb == block::Verb::flush;
        any |= slot.hopeless;
    }
    base::Fifo<&block::Request::next> flushes;
    base::Fifo<&block::Request::next> others;
    while (block::Request* request = waiting_.pop()) {
        (request->verb == block::Verb::flush ? flushes : others).push(*request);
    }
    waiting_ = others;
    while (block::Request* flush = flushes.pop()) {
        any = true;
        end(*flush, writes_are_gone);
    }
    return any;
}

/// Counts it as held by the cache. False: another queue has heard meanwhile that the cache was lost, and may
/// have looked at the count before or after; so nobody knows whether the write is among what was told as
/// lost.
bool Lun::acknowledge(const Slot& slot) {
    cache_->unflushed.on_acknowledged(slot.request->length_bytes, queue_number_);
    if (cache_->unflushed.queues() == 1) {
        return true;
    }
    return cache_->losses.load(std::memory_order_seq_cst) == losses_seen_ &&
           cache_->empty_losses.load(std::memory_order_seq_cst) == empty_losses_seen_;
}

/// It was acknowledged, or is about to be, and needs a flush to last. A discard promises nothing.
bool Lun::stays_in_cache(const Slot& slot) const {
    const block::Verb verb = slot.request->verb;
    const bool writes = verb == block::Verb::write || verb == block::Verb::write_zeroes;
    return writes && scsi::has_volatile_cache(facts_) && slot.unforced && slot.phase == Phase::transfer;
}

/// An errno, or 0. What was lost is no concern of a write that brings its own flush, and was written again if
/// need be.
int Lun::end_of_flush(const Slot& slot) {
    const bool is_flush = slot.request->verb == block::Verb::flush;
    if (is_flush && (slot.hopeless || tells_of_loss())) {
        return writes_are_gone;
    }
    return take(cache_->deferred_error);
}

/// One that was turned on again another queue may have heard of before this one.
bool Lun::others_know_a_cache() const {
    return cache_->unflushed.queues() > 1 && cache_->unflushed.any();
}

/// Of several queues whose flushes end at the same time one tells.
bool Lun::tells_of_loss() {
    const std::uint32_t losses = cache_->losses.load(std::memory_order_acquire);
    return raise_to(cache_->losses_told, losses) != 0;
}

bool Lun::has_news_of_loss() const {
    return cache_->losses.load(std::memory_order_acquire) != losses_answered_;
}

bool Lun::has_written_since_loss() const {
    return cache_->unflushed.any_since_lost(queue_number_);
}

} // namespace iscsi::shard

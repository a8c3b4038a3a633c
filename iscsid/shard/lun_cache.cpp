// What becomes of requests when the unit's volatile cache is lost, or may be.
#include "shard/lun.hpp"

#include <cerrno>
#include <utility>

namespace iscsi::shard {

namespace {

/// Of all that passes upwards the errno of a target that has failed, not of a path to it: dm-multipath would
/// ask for the flush again by another path, and that one would end well.
constexpr int writes_are_gone = EREMOTEIO;

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

/// Said while the session is up there is no greeting in it. What follows a reset, by us or by another host,
/// is told as 29/00 by targets that know no other code; a reset leaves the cache as it is (SAM-5
/// section 6.3.3). Where the cache is memory of the program, or of its kernel, it is not lost without its
/// connections.
bool Lun::tells_of_lost_cache(scsi::Effects effects) {
    if (!effects.has(scsi::Effect::power_on_reset)) {
        return false;
    }
    const bool has_connections_in_it = scsi::target_program(facts_) != scsi::TargetProgram::not_known;
    const bool is_ours = std::exchange(reset_by_us_, false);
    const bool is_a_reset = (is_ours || has_connections_in_it) && !effects.has(scsi::Effect::power_was_lost);
    return nexus_.state() == PathState::up && effects.has(scsi::Effect::cache_maybe_lost) && !is_a_reset;
}

void Lun::lose_cache() {
    if (!unflushed_.any()) {
        return;
    }
    const VolatileWrites::Amount lost = unflushed_.lose();
    ++counters_.cache_losses;
    counters_.lost.writes += lost.writes;
    counters_.lost.bytes += lost.bytes;
    loss_untold_ = !fail_flushes();
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
        ++counters_.failures;
        queue_->complete(*flush, writes_are_gone);
    }
    return any;
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
    if (slot.request->verb == block::Verb::flush && (slot.hopeless || std::exchange(loss_untold_, false))) {
        return writes_are_gone;
    }
    return std::exchange(deferred_error_, 0);
}

} // namespace iscsi::shard

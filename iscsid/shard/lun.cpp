#include "shard/lun.hpp"

#include "base/check.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace iscsi::shard {

namespace limits = base::limits;
namespace {

/// Effects that are dealt with here; of the others control is told.
constexpr scsi::Effects handled_here =
    scsi::Effect::attention | scsi::Effect::queue_full | scsi::Effect::feature_unsupported;

scsi::RetryTimes retry_times(const scsi::LunFacts& facts) {
    scsi::RetryTimes times;
    times.transition =
        std::max<base::Duration>(times.transition, std::chrono::seconds(facts.access.transition_s));
    return times;
}

} // namespace

Lun::Lun(ring::Loop& loop, Nexus& nexus, const scsi::LunFacts& facts, std::uint32_t depth)
    : loop_(loop), nexus_(nexus), slots_(std::make_unique<Slot[]>(depth)), depth_(depth), at_a_time_(depth),
      delay_timer_(ring::Timer::to<&Lun::on_delay_over>(loop.timers(), this)),
      doubt_max_(limits::scsi_doubt_max), shown_cache_(facts.write_cache), news_(nexus, facts.lun),
      facts_(facts), times_(retry_times(facts)), size_bytes_(facts.blocks.value() * facts.block_bytes),
      transfer_bytes_max_(scsi::max_transfer_bytes(facts, limits::scsi_transfer_bytes_max)),
      discard_(scsi::discard_method(facts)), cache_(std::make_shared<UnitCache>(1)) {
    for (std::uint32_t i = depth; i-- > 0;) {
        slots_[i].lun = facts.lun;
        slots_[i].owner = this;
        slots_[i].on_done = &Lun::on_command_done;
        slots_[i].next_slot = std::exchange(free_, &slots_[i]);
    }
    nexus_.add_user(*this);
}

Lun::~Lun() {
    base::check(idle(), "a Lun has no request in hand when it dies");
    nexus_.remove_user(*this);
}

void Lun::share_cache(std::shared_ptr<UnitCache> cache, unsigned queue) {
    cache_ = std::move(cache);
    queue_number_ = queue;
    losses_seen_ = cache_->losses.load(std::memory_order_acquire);
    empty_losses_seen_ = cache_->empty_losses.load(std::memory_order_acquire);
    losses_answered_ = 0; // of those before it was made, too, it has not been told
    resets_seen_ = cache_->resets.load(std::memory_order_acquire);
}

void Lun::update(const scsi::LunFacts& facts, base::TimePoint looked_at) {
    base::check(facts.block_bytes == facts_.block_bytes && facts.lun == facts_.lun, "it is the same unit");
    facts_ = facts;
    size_bytes_ = facts.blocks.value() * facts.block_bytes;
    transfer_bytes_max_ = scsi::max_transfer_bytes(facts, limits::scsi_transfer_bytes_max);
    discard_ = scsi::discard_method(facts);
    times_ = retry_times(facts);
    const bool was_barred = std::exchange(barred_, false);
    if (doubted_at_ <= looked_at) {
        end_doubt();
    } else if (was_barred) {
        begin_doubt();
    }
}

void Lun::bar() {
    barred_ = true;
    end_doubt();
}

bool Lun::inside(const block::Request& request) const {
    return request.offset_bytes <= size_bytes_ && request.length_bytes <= size_bytes_ - request.offset_bytes;
}

/// What keeps a request from being sent at all: an errno, or 0.
int Lun::refusal(const block::Request& request) const {
    if (nexus_.state() == PathState::failed) {
        return ENOLINK;
    }
    if (barred_) {
        return ENODEV;
    }
    if (request.verb == block::Verb::flush) {
        return 0;
    }
    if (facts_.read_only && request.verb != block::Verb::read) {
        return EPERM;
    }
    bool aligned = (request.offset_bytes | request.length_bytes) % facts_.block_bytes == 0;
    return aligned && inside(request) && request.length_bytes != 0 ? 0 : EINVAL;
}

void Lun::start(block::Request& request) {
    ++counters_.requests;
    if (!std::exchange(request.counted, true)) {
        if (request.came_at == base::TimePoint{}) {
            request.came_at = loop_.now();
        }
        if (statistics_ != nullptr) {
            statistics_->on_started();
        }
    }
    if (int error_number = refusal(request); error_number != 0) {
        return end(request, error_number);
    }
    if (request.verb == block::Verb::flush) {
        heed_losses(); // what was lost before it began is no reason to fail all that are in hand, and it
    }
    // Behind those that wait already: first come, first served.
    if (free_ == nullptr || !waiting_.empty() || !has_room()) {
        waiting_.push(request);
        return;
    }
    begin(request);
}

void Lun::begin(block::Request& request) {
    if (statistics_ != nullptr && loop_.now() > request.came_at) {
        statistics_->on_waited(loop_.now() - request.came_at);
    }
    Slot& slot = *free_;
    free_ = slot.next_slot;
    ++busy_;
    slot.request = &request;
    slot.phase = Phase::transfer;
    slot.unforced = false;
    slot.stale = false;
    slot.hopeless = false;
    slot.starts = 0;
    slot.blames = 0;
    slot.done_bytes = 0;
    begin_command(slot);
}

/// The next one of a request: errors and delays of those before it do not count.
void Lun::begin_command(Slot& slot) {
    slot.tries.begin();
    proceed(slot);
}

/// Its data has to be on the medium when it ends.
bool Lun::must_be_durable(const block::Request& request) const {
    bool writes = request.verb == block::Verb::write || request.verb == block::Verb::write_zeroes;
    return request.fua || (writes && facts_.write_cache && !shown_cache_);
}

void Lun::proceed(Slot& slot) {
    if (nexus_.state() == PathState::down) {
        park(slot);
        return;
    }
    // Again for each command: the unit may have shrunk or changed since the request came.
    if (int error_number = refusal(*slot.request); error_number != 0) {
        return finish(slot, error_number);
    }
    if (slot.hopeless) {
        return finish(slot, end_of_flush(slot));
    }
    if (doubted_) {
        park(slot);
        return;
    }
    if (std::exchange(slot.stale, false)) {
        if (++slot.starts > limits::scsi_attentions_max) {
            return finish(slot, EIO); // it might go on for ever
        }
        slot.phase = Phase::transfer;
        slot.unforced = false;
        slot.done_bytes = 0;
    }
    if (slot.request->buffer && nexus_.has_data_digest()) [[unlikely]] {
        return begin_anew(slot);
    }
    send(slot);
}

void Lun::send(Slot& slot) {
    if (!has_room()) {
        for_room_.push(slot);
        return;
    }
    if (prepare(slot)) {
        ++at_target_;
        slot.age = at_a_time_.age();
        nexus_.submit(slot);
    }
}

void Lun::on_command_done(void* self, PathCommand& command) {
    auto& lun = *static_cast<Lun*>(self);
    --lun.at_target_;
    lun.on_outcome(static_cast<Slot&>(command));
    lun.start_waiting();
}

void Lun::on_lost(Slot& slot) {
    if (nexus_.state() == PathState::failed) {
        return finish(slot, ENOLINK);
    }
    // Whatever it is that the target cannot do: the other users of the session must not suffer for ever.
    if (slot.blamed && ++slot.blames > limits::scsi_retries_max) {
        return finish(slot, EIO);
    }
    slot.tries.begin();
    ++counters_.replays;
    park(slot);
}

void Lun::on_outcome(Slot& slot) {
    if (slot.outcome == session::Outcome::lost) {
        return on_lost(slot);
    }
    scsi::Disposition disposition =
        slot.outcome == session::Outcome::target_failure
            ? scsi::classify_service_response(slot.response)
            : scsi::classify(slot.status, base::Bytes(slot.sense).first(slot.sense_bytes));
    if (!disposition.effects.none()) {
        note(slot, disposition);
    }
    if (disposition.action == scsi::Action::success) {
        return on_success(slot);
    }
    if (disposition.action != scsi::Action::fail) {
        return retry(slot, disposition);
    }
    if (disposition.effects.has(scsi::Effect::feature_unsupported)) {
        return fall_back(slot, disposition.error_number);
    }
    finish(slot, disposition.error_number);
}

/// What a status or sense says beyond its command.
void Lun::note(const Slot& slot, const scsi::Disposition& disposition) {
    const scsi::Effects effects = disposition.effects;
    if (effects.has(scsi::Effect::queue_full)) {
        at_a_time_.on_full(slot.age, at_target_ + 1, loop_.now());
    }
    if (effects.has(scsi::Effect::deferred_error)) {
        cache_->deferred_error.store(disposition.error_number, std::memory_order_release);
    }
    take_care(effects);
    if (!effects.without(handled_here).none()) {
        news_.tell(disposition);
    }
}

/// What concerns all requests, whichever command has met it.
void Lun::take_care(scsi::Effects effects) {
    if (effects.has(scsi::Effect::cache_maybe_lost)) {
        doubt_cache();
    }
    if (tells_of_lost_cache(effects)) {
        lose_cache();
    }
    if (effects.has(scsi::Effect::identity_doubt)) {
        doubt();
    }
}

bool Lun::data_complete(const Slot& slot) const {
    // More than was asked for: the unit counts its blocks otherwise, and this was another place of it.
    if (slot.overflow_bytes != 0 && slot.direction != session::Direction::none &&
        slot.request->verb != block::Verb::discard) {
        return false;
    }
    if (slot.direction == session::Direction::in) {
        return slot.received_bytes == slot.read_bytes();
    }
    return slot.direction == session::Direction::none || slot.underflow_bytes == 0;
}

void Lun::on_success(Slot& slot) {
    if (!data_complete(slot)) {
        // "Good" with less data than asked for: never filled with zeroes, never taken as written.
        scsi::Disposition short_transfer;
        short_transfer.action = scsi::Action::retry_now;
        short_transfer.error_number = EREMOTEIO;
        return retry(slot, short_transfer);
    }
    at_a_time_.on_success(loop_.now());
    heed_losses();
    losses_answered_ = losses_seen_;
    if (slot.stale) {
        return begin_command(slot);
    }
    const block::Request& request = *slot.request;
    if (slot.phase == Phase::flush || request.verb == block::Verb::flush) {
        cache_->unflushed.on_flushed(slot.covers);
        return finish(slot, end_of_flush(slot));
    }
    slot.done_bytes += slot.piece_bytes;
    if (slot.done_bytes < request.length_bytes) {
        return begin_command(slot);
    }
    // Sent before the unit was known to have a cache, perhaps: then without the FUA bit.
    if (slot.unforced && facts_.write_cache && must_be_durable(request)) {
        slot.phase = Phase::flush;
        return begin_command(slot);
    }
    finish(slot, 0);
}

void Lun::retry(Slot& slot, const scsi::Disposition& disposition) {
    ++counters_.retries;
    const base::Deadline again_at = slot.tries.next(disposition, loop_.now(), times_);
    if (!again_at) {
        return finish(slot, disposition.error_number);
    }
    if (*again_at > loop_.now()) {
        return delay(slot, *again_at);
    }
    proceed(slot);
}

void Lun::fall_back(Slot& slot, int error_number) {
    if (slot.request->verb == block::Verb::write_zeroes && slot.write_same) {
        // From now on zeroes are written as data.
        write_same_ = false;
        return begin_command(slot);
    }
    if (slot.request->verb == block::Verb::discard) {
        discard_ = scsi::DiscardMethod::none;
    }
    finish(slot, error_number);
}

void Lun::finish(Slot& slot, int error_number) {
    if (slot.hopeless) {
        // Whatever became of it: for a lost path alone others would ask again, by another one.
        error_number = end_of_flush(slot);
    }
    if (error_number == 0 && stays_in_cache(slot) && !acknowledge(slot)) {
        heed_losses(); // it is written again
        return begin_command(slot);
    }
    block::Request& request = *std::exchange(slot.request, nullptr);
    give_up_slot(slot);
    end(request, error_number);
    start_waiting();
}

/// The one place where the queue gets a request back that is done.
void Lun::end(block::Request& request, int error_number) {
    counters_.failures += error_number != 0 ? 1 : 0;
    if (statistics_ != nullptr) {
        statistics_->on_ended(request, error_number, loop_.now());
    }
    request.came_at = {};
    request.counted = false;
    queue_->complete(request, error_number);
}

} // namespace iscsi::shard

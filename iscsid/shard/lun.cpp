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
constexpr std::uint32_t handled_here = (scsi::Effect::attention | scsi::Effect::queue_full |
                                        scsi::Effect::feature_unsupported | scsi::Effect::needs_start)
                                           .bits();

} // namespace

void Lun::RequestQueue::push(block::Request& request) {
    request.next = nullptr;
    if (first == nullptr) {
        first = &request;
    } else {
        last->next = &request;
    }
    last = &request;
}

block::Request& Lun::RequestQueue::pop() {
    block::Request& request = *first;
    first = std::exchange(request.next, nullptr);
    return request;
}

Lun::Lun(ring::Loop& loop, Nexus& nexus, const scsi::LunFacts& facts, std::uint32_t depth)
    : loop_(loop), nexus_(nexus), slots_(std::make_unique<Slot[]>(depth)), depth_(depth),
      delay_timer_(ring::Timer::to<&Lun::on_delay_over>(loop.timers(), this)),
      shown_cache_(facts.write_cache), facts_(facts), size_bytes_(facts.blocks.value() * facts.block_bytes),
      transfer_bytes_max_(scsi::max_transfer_bytes(facts, limits::scsi_transfer_bytes_max)),
      discard_(scsi::discard_method(facts)) {
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

void Lun::update(const scsi::LunFacts& facts) {
    base::check(facts.block_bytes == facts_.block_bytes && facts.lun == facts_.lun, "it is the same unit");
    facts_ = facts;
    size_bytes_ = facts.blocks.value() * facts.block_bytes;
    transfer_bytes_max_ = scsi::max_transfer_bytes(facts, limits::scsi_transfer_bytes_max);
    discard_ = scsi::discard_method(facts);
    barred_ = false;
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
    if (int error_number = refusal(request); error_number != 0) {
        ++counters_.failures;
        queue_->complete(request, error_number);
        return;
    }
    // Behind those that wait already: first come, first served.
    if (free_ == nullptr || !waiting_.empty()) {
        waiting_.push(request);
        return;
    }
    begin(request);
}

void Lun::begin(block::Request& request) {
    Slot& slot = *free_;
    free_ = slot.next_slot;
    ++busy_;
    slot.request = &request;
    slot.phase = Phase::transfer;
    slot.unforced = false;
    slot.done_bytes = 0;
    begin_command(slot);
}

/// The next one of a request: errors and delays of those before it do not count.
void Lun::begin_command(Slot& slot) {
    slot.attentions = 0;
    slot.retries = 0;
    slot.give_up_at = loop_.now() + limits::scsi_busy_deadline;
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
    if (prepare(slot)) {
        nexus_.submit(slot);
    }
}

/// True when the queue has the request again, to be started anew; else it waits here.
bool Lun::park(Slot& slot) {
    if (!queue_->hold(*slot.request)) {
        slot.parked = true;
        return false;
    }
    slot.request = nullptr;
    give_up_slot(slot);
    start_waiting();
    return true;
}

void Lun::on_path_state(PathState state) {
    if (state == PathState::down) {
        return;
    }
    for (std::uint32_t i = 0; i < depth_; ++i) {
        bool delayed = state == PathState::failed && std::exchange(slots_[i].delayed, false);
        if (std::exchange(slots_[i].parked, false) || delayed) {
            counters_.replays += state == PathState::up ? 1 : 0;
            slots_[i].give_up_at = loop_.now() + limits::scsi_busy_deadline;
            proceed(slots_[i]);
        }
    }
    if (state == PathState::failed) {
        while (!waiting_.empty()) {
            ++counters_.failures;
            queue_->complete(waiting_.pop(), ENOLINK);
        }
    }
    if (queue_ != nullptr) {
        queue_->release_held();
    }
}

void Lun::on_command_done(void* self, PathCommand& command) {
    auto& lun = *static_cast<Lun*>(self);
    lun.on_outcome(static_cast<Slot&>(command));
}

void Lun::on_outcome(Slot& slot) {
    if (slot.outcome == session::Outcome::lost) {
        if (nexus_.state() == PathState::failed) {
            return finish(slot, ENOLINK);
        }
        counters_.replays += park(slot) ? 1 : 0;
        return;
    }
    scsi::Disposition disposition =
        slot.outcome == session::Outcome::target_failure
            ? scsi::classify_service_response(slot.response)
            : scsi::classify(slot.status, base::Bytes(slot.sense).first(slot.sense_bytes));
    if ((disposition.effects.bits() & ~handled_here) != 0) {
        nexus_.report_effects(slot.lun, disposition);
    }
    if (disposition.effects.has(scsi::Effect::deferred_error)) {
        deferred_error_ = disposition.error_number;
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

bool Lun::data_complete(const Slot& slot) const {
    if (slot.direction == session::Direction::in) {
        return slot.received_bytes == slot.data_in.size();
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
    if (slot.phase == Phase::flush) {
        return finish(slot, std::exchange(deferred_error_, 0));
    }
    slot.done_bytes += slot.piece_bytes;
    const block::Request& request = *slot.request;
    if (request.verb != block::Verb::flush && slot.done_bytes < request.length_bytes) {
        return begin_command(slot);
    }
    // Sent before the unit was known to have a cache, perhaps: then without the FUA bit.
    if (slot.unforced && facts_.write_cache && must_be_durable(request)) {
        slot.phase = Phase::flush;
        return begin_command(slot);
    }
    finish(slot, request.verb == block::Verb::flush ? std::exchange(deferred_error_, 0) : 0);
}

void Lun::retry(Slot& slot, const scsi::Disposition& disposition) {
    ++counters_.retries;
    bool attention = disposition.effects.has(scsi::Effect::attention);
    std::uint8_t& count = attention ? slot.attentions : slot.retries;
    unsigned most = attention ? limits::scsi_attentions_max : limits::scsi_retries_max;
    if (disposition.action == scsi::Action::retry_later) {
        if (loop_.now() + disposition.delay > slot.give_up_at) {
            return finish(slot, disposition.error_number);
        }
        return delay(slot, disposition.delay);
    }
    if (count >= most) {
        return finish(slot, disposition.error_number);
    }
    ++count;
    proceed(slot);
}

void Lun::delay(Slot& slot, base::Duration duration) {
    slot.delayed = true;
    slot.again_at = loop_.now() + duration;
    if (!delay_timer_.armed() || slot.again_at < delay_timer_.when()) {
        delay_timer_.arm(slot.again_at);
    }
}

void Lun::on_delay_over() {
    base::Deadline next;
    for (std::uint32_t i = 0; i < depth_; ++i) {
        Slot& slot = slots_[i];
        if (!slot.delayed) {
            continue;
        }
        if (slot.again_at <= loop_.now()) {
            slot.delayed = false;
            proceed(slot);
        } else {
            next = base::earliest(next, slot.again_at);
        }
    }
    if (next && (!delay_timer_.armed() || *next < delay_timer_.when())) {
        delay_timer_.arm(*next);
    }
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
    block::Request& request = *std::exchange(slot.request, nullptr);
    give_up_slot(slot);
    counters_.failures += error_number != 0 ? 1 : 0;
    queue_->complete(request, error_number);
    start_waiting();
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
    while (free_ != nullptr && !waiting_.empty()) {
        begin(waiting_.pop());
    }
    starting_ = false;
}

} // namespace iscsi::shard

#include "faults/load.hpp"

#include "base/check.hpp"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <tuple>
#include <utility>

namespace iscsi::faults {
namespace {

constexpr std::size_t page_bytes = 4096;
constexpr std::uint64_t hot_share = 64; ///< the hot part is this fraction of the device
constexpr std::uint64_t complaints_max = 20;
constexpr int tries_for_a_place = 8;
constexpr auto rest_after_error = std::chrono::milliseconds(5);

bool changes(Verb verb) {
    return verb == Verb::write || verb == Verb::zero || verb == Verb::trim;
}

} // namespace

void Load::Free::operator()(std::byte* memory) const {
    std::free(memory);
}

Load::Load(Source& source, const LoadOptions& options, std::function<void(const std::string&)> complain)
    : source_(source), options_(options), complain_(std::move(complain)), history_(options.sectors),
      chance_(options.seed), slots_(options.depth), users_(options.sectors) {
    const std::size_t each = options.request_sectors_max * options.sector_bytes;
    base::check(each % page_bytes == 0, "a request's buffer is a number of pages");
    memory_.reset(static_cast<std::byte*>(std::aligned_alloc(page_bytes, each * options.depth)));
    base::check(memory_ != nullptr, "memory for the load");
    for (std::size_t at = 0; at < slots_.size(); ++at) {
        slots_[at].request.slot = at;
        slots_[at].request.data = {memory_.get() + at * each, each};
    }
}

std::uint64_t Load::draw(std::uint64_t below) {
    return chance_() % below;
}

void Load::start(Job job) {
    job_ = job;
    cursor_ = 0;
    again_.clear();
    forget_gap();
}

void Load::submit() {
    if (job_ == Job::nothing || Clock::now() < rests_until_) {
        return;
    }
    for (Slot& slot : slots_) {
        if (slot.busy) {
            continue;
        }
        if (!source_.ready() || !prepare(slot)) {
            return;
        }
        slot.since = Clock::now();
        if (in_progress_ == 0) {
            last_answer_ = slot.since;
        }
        slot.busy = true;
        slot.sent = history_.now();
        ++in_progress_;
        Request request = slot.request;
        request.data = request.data.first(request.verb == Verb::flush ? 0 : request.length);
        source_.submit(request);
    }
}

bool Load::prepare(Slot& slot) {
    if (!(job_ == Job::mixed ? prepare_mixed(slot) : prepare_sweep(slot))) {
        return false;
    }
    slot.request.offset = slot.first * options_.sector_bytes;
    slot.request.length = slot.count * options_.sector_bytes;
    slot.request.fua = changes(slot.request.verb) && slot.request.verb != Verb::trim && source_.can_fua() &&
                       job_ == Job::mixed && draw(1000) < options_.writes_through;
    stamp(slot);
    return true;
}

Verb Load::draw_verb() {
    const std::uint64_t at = draw(1000);
    unsigned below = options_.writes;
    if (at < below) {
        return Verb::write;
    }
    const std::pair<Verb, unsigned> rest[] = {
        {Verb::flush, options_.flushes}, {Verb::zero, options_.zeroes}, {Verb::trim, options_.trims}};
    for (const auto& [verb, share] : rest) {
        below += share;
        if (at < below) {
            return source_.can(verb) ? verb : Verb::read;
        }
    }
    return Verb::read;
}

bool Load::prepare_mixed(Slot& slot) {
    slot.request.verb = std::exchange(flush_next_, false) ? Verb::flush : draw_verb();
    if (slot.request.verb == Verb::flush) {
        slot.first = slot.count = 0;
        return true;
    }
    for (int attempt = 0; attempt < tries_for_a_place; ++attempt) {
        const std::uint64_t hot = std::max<std::uint64_t>(options_.sectors / hot_share, 1);
        const std::uint64_t within = draw(2) == 0 ? hot : options_.sectors;
        slot.first = draw(within);
        // Short ones mostly, and now and then as long as may be.
        const std::uint64_t most = draw(4) == 0 ? options_.request_sectors_max : 16;
        slot.count = 1 + draw(std::min({most, options_.request_sectors_max, options_.sectors - slot.first}));
        if (claim(slot)) {
            return true;
        }
    }
    return false;
}

bool Load::prepare_sweep(Slot& slot) {
    slot.request.verb = job_ == Job::fill ? Verb::write : Verb::read;
    if (!again_.empty()) {
        std::tie(slot.first, slot.count) = again_.back();
        again_.pop_back();
    } else if (cursor_ < options_.sectors) {
        slot.first = cursor_;
        slot.count = std::min(options_.request_sectors_max, options_.sectors - cursor_);
        cursor_ += slot.count;
    } else {
        return false;
    }
    if (claim(slot)) {
        return true;
    }
    again_.emplace_back(slot.first, slot.count); // what was before it is still in progress
    return false;
}

bool Load::claim(const Slot& slot) {
    const auto from = users_.begin() + static_cast<std::ptrdiff_t>(slot.first);
    const auto to = from + static_cast<std::ptrdiff_t>(slot.count);
    const bool writes = changes(slot.request.verb);
    if (std::any_of(from, to, [writes](std::int32_t users) { return writes ? users != 0 : users < 0; })) {
        return false;
    }
    std::for_each(from, to, [writes](std::int32_t& users) { users += writes ? -1 : 1; });
    return true;
}

void Load::release(const Slot& slot) {
    const auto from = users_.begin() + static_cast<std::ptrdiff_t>(slot.first);
    const bool writes = changes(slot.request.verb);
    std::for_each(from, from + static_cast<std::ptrdiff_t>(slot.count),
                  [writes](std::int32_t& users) { users += writes ? 1 : -1; });
}

void Load::stamp(Slot& slot) {
    slot.sequence = changes(slot.request.verb) ? ++sequence_ : 0;
    for (std::uint64_t at = 0; slot.request.verb == Verb::write && at < slot.count; ++at) {
        write_stamp({options_.device, slot.first + at, slot.sequence, epoch_},
                    slot.request.data.subspan(at * options_.sector_bytes, options_.sector_bytes));
    }
}

void Load::take(const Answer& answer) {
    Slot& slot = slots_[answer.slot];
    base::check(slot.busy, "an answer to a request that is not in progress");
    const auto now = Clock::now();
    gap_ = std::max(gap_, std::chrono::duration_cast<std::chrono::milliseconds>(now - last_answer_));
    slowest_ = std::max(slowest_, std::chrono::duration_cast<std::chrono::milliseconds>(now - slot.since));
    last_answer_ = now;
    slot.busy = false;
    --in_progress_;
    if (answer.lost) {
        ++counts_.lost;
    } else if (answer.error != 0) {
        ++(slot.request.verb == Verb::flush ? counts_.flush_errors : counts_.errors);
        counts_.last_error = answer.error;
        rests_until_ = now + rest_after_error;
    } else {
        count(slot.request.verb);
    }
    settle(slot, answer);
    release(slot);
    if ((job_ == Job::fill || job_ == Job::verify) && (answer.lost || answer.error != 0)) {
        again_.emplace_back(slot.first, slot.count);
    }
}

void Load::settle(const Slot& slot, const Answer& answer) {
    const bool well = !answer.lost && answer.error == 0;
    const Request& request = slot.request;
    if (request.verb == Verb::flush) {
        if (well) {
            if (const auto wrong = history_.flushed(slot.sent)) {
                violation(*wrong);
            }
        } else if (!answer.lost) {
            history_.flush_failed();
        }
        return;
    }
    if (request.verb == Verb::read) {
        if (well) {
            judge_read(slot.first, base::Bytes(request.data).first(slot.count * options_.sector_bytes));
        }
        return;
    }
    for (std::uint64_t at = 0; at < slot.count; ++at) {
        const Version version{slot.sequence, request.verb != Verb::write};
        if (well && request.verb != Verb::trim) {
            history_.acknowledged(slot.first + at, version, request.fua);
        } else {
            history_.doubtful(slot.first + at, version);
        }
    }
}

void Load::count(Verb verb) {
    switch (verb) {
    case Verb::read:
        ++counts_.reads;
        break;
    case Verb::write:
        ++counts_.writes;
        break;
    case Verb::flush:
        ++counts_.flushes;
        break;
    case Verb::zero:
        ++counts_.zeroes;
        break;
    case Verb::trim:
        ++counts_.trims;
        break;
    }
}

void Load::judge_read(std::uint64_t first, base::Bytes data) {
    for (std::size_t at = 0; at < data.size(); at += options_.sector_bytes, ++first) {
        const Reading reading = read_stamp(data.subspan(at, options_.sector_bytes), options_.device, first);
        ++counts_.sectors_judged;
        if (const auto wrong = history_.read(first, reading)) {
            violation(*wrong);
        }
    }
}

void Load::judge(const std::function<bool(std::uint64_t, base::MutableBytes)>& read_at) {
    base::check(in_progress_ == 0, "nothing is in progress when the device is judged from outside");
    const base::MutableBytes buffer = slots_.front().request.data;
    for (std::uint64_t at = 0; at < options_.sectors; at += options_.request_sectors_max) {
        const std::uint64_t count = std::min(options_.request_sectors_max, options_.sectors - at);
        const base::MutableBytes part = buffer.first(count * options_.sector_bytes);
        if (read_at(at * options_.sector_bytes, part)) {
            judge_read(at, part);
        } else {
            violation(fmt::format("sectors {} to {} cannot be read", at, at + count - 1));
        }
    }
}

void Load::violation(const std::string& what) {
    if (++counts_.violations <= complaints_max) {
        complain_(what);
    }
}

std::chrono::milliseconds Load::oldest(Clock::time_point now) const {
    Clock::time_point since = now;
    for (const Slot& slot : slots_) {
        since = slot.busy ? std::min(since, slot.since) : since;
    }
    return std::chrono::duration_cast<std::chrono::milliseconds>(now - since);
}

std::chrono::milliseconds Load::longest_gap(Clock::time_point now) const {
    const bool waits = in_progress_ > 0 || (job_ == Job::mixed && !source_.ready());
    const auto going_on = std::chrono::duration_cast<std::chrono::milliseconds>(now - last_answer_);
    return waits ? std::max(gap_, going_on) : gap_;
}

void Load::forget_gap() {
    gap_ = std::chrono::milliseconds{0};
    last_answer_ = Clock::now();
}

} // namespace iscsi::faults

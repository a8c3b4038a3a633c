#include "ring/timers.hpp"

#include "base/check.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>

namespace iscsi::ring {

base::TimePoint wake_for(base::TimePoint deadline, base::TimePoint now) {
    constexpr std::int64_t part = 16;
    constexpr std::int64_t coarsest = std::int64_t{1} << 28;
    const std::int64_t left = base::Duration(deadline - now).count() / part;
    if (left <= 0) {
        return deadline;
    }
    const auto grid =
        static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(std::min(left, coarsest))));
    const std::int64_t at = deadline.time_since_epoch().count();
    return base::TimePoint(base::Duration((at + grid - 1) & -grid));
}

Timer::Timer(Timers& timers, void* owner, Handler handler)
    : timers_(timers), owner_(owner), handler_(handler) {
    ++timers_.known_;
    if (timers_.heap_.capacity() < timers_.known_) {
        timers_.heap_.reserve(timers_.known_ * 2);
    }
}

Timer::~Timer() {
    disarm();
    --timers_.known_;
}

void Timer::arm(base::TimePoint when) {
    if (armed()) {
        timers_.remove(*this);
    }
    when_ = when;
    timers_.add(*this);
}

void Timer::disarm() {
    if (armed()) {
        timers_.remove(*this);
    }
}

base::Deadline Timers::next() const {
    return heap_.empty() ? base::Deadline{} : heap_.front()->when_;
}

void Timers::run(base::TimePoint now) {
    // As many as there are now: a handler that arms itself for the past cannot keep the loop here.
    for (std::size_t left = heap_.size(); left > 0 && base::is_due(next(), now); --left) {
        Timer& timer = *heap_.front();
        remove(timer);
        timer.handler_(timer.owner_);
    }
}

void Timers::add(Timer& timer) {
    heap_.push_back(&timer);
    timer.at_ = heap_.size() - 1;
    sift_up(timer.at_);
}

void Timers::remove(Timer& timer) {
    std::size_t at = timer.at_;
    base::check(at < heap_.size() && heap_[at] == &timer, "a timer is where it says in the heap");
    Timer* last = heap_.back();
    heap_.pop_back();
    timer.at_ = Timer::idle;
    if (last != &timer) {
        place(at, last);
        sift_down(at);
        sift_up(last->at_);
    }
}

void Timers::place(std::size_t at, Timer* timer) {
    heap_[at] = timer;
    timer->at_ = at;
}

void Timers::sift_up(std::size_t at) {
    Timer* timer = heap_[at];
    while (at > 0) {
        std::size_t parent = (at - 1) / 2;
        if (heap_[parent]->when_ <= timer->when_) {
            break;
        }
        place(at, heap_[parent]);
        at = parent;
    }
    place(at, timer);
}

void Timers::sift_down(std::size_t at) {
    Timer* timer = heap_[at];
    for (;;) {
        std::size_t child = at * 2 + 1;
        if (child >= heap_.size()) {
            break;
        }
        if (child + 1 < heap_.size() && heap_[child + 1]->when_ < heap_[child]->when_) {
            ++child;
        }
        if (timer->when_ <= heap_[child]->when_) {
            break;
        }
        place(at, heap_[child]);
        at = child;
    }
    place(at, timer);
}

} // namespace iscsi::ring

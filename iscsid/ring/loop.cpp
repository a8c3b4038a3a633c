#include "ring/loop.hpp"

#include <algorithm>
#include <ctime>
#include <utility>

namespace iscsi::ring {

namespace {

base::Duration clock_now(clockid_t clock) {
    timespec ts{};
    ::clock_gettime(clock, &ts);
    return std::chrono::seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec);
}

} // namespace

base::TimePoint monotonic_now() {
    return base::TimePoint(clock_now(CLOCK_MONOTONIC));
}

base::Duration boot_time_now() {
    return clock_now(CLOCK_BOOTTIME);
}

base::Result<std::unique_ptr<Loop>> Loop::create(unsigned entries, Ring::SqeSize sqe_size) {
    auto ring = Ring::create(entries, sqe_size);
    if (!ring) {
        return base::fail(std::move(ring.error()));
    }
    std::unique_ptr<Loop> loop(new Loop(std::move(*ring)));
    if (loop->mailbox_.fd() < 0) {
        return base::fail(base::Errc::internal, "eventfd: out of descriptors");
    }
    loop->arm_mailbox();
    return loop;
}

Loop::Loop(Ring ring)
    : ring_(std::move(ring)), mail_op_(Op::to<&Loop::on_mail>(this)), now_(monotonic_now()) {}

Loop::~Loop() = default;

void Loop::mark(Pump& pump) {
    if (!pump.dirty_) {
        pump.dirty_ = true;
        pump.next_dirty_ = std::exchange(first_dirty_, &pump);
    }
}

void Loop::unmark(Pump& pump) {
    if (!pump.dirty_) {
        return;
    }
    for (Pump** list : {&first_dirty_, &pumping_}) {
        for (Pump** at = list; *at != nullptr; at = &(*at)->next_dirty_) {
            if (*at == &pump) {
                *at = pump.next_dirty_;
                pump.dirty_ = false;
                return;
            }
        }
    }
}

void Loop::run() {
    while (!stopping_.load(std::memory_order_acquire)) {
        turn();
    }
    stopping_.store(false, std::memory_order_release);
}

void Loop::turn(base::Deadline wait_until) {
    const base::Deadline due = base::earliest(wait_until, timers_.next());
    if (first_dirty_ != nullptr || base::is_due(due, now_)) {
        ring_.enter_without_wait();
    } else {
        ring_.enter(due);
    }
    now_ = monotonic_now();
    ring_.run_completions();
    timers_.run(now_);
    run_pumps();
}

void Loop::run_pumps() {
    // What a pump marks again waits for the next turn, which then does not sleep.
    pumping_ = std::exchange(first_dirty_, nullptr);
    while (pumping_ != nullptr) {
        Pump& pump = *std::exchange(pumping_, pumping_->next_dirty_);
        pump.dirty_ = false;
        pump.pump();
    }
}

void Loop::stop() {
    stopping_.store(true, std::memory_order_release);
    mailbox_.wake();
}

void Loop::arm_mailbox() {
    io_uring_prep_read(ring_.sqe(mail_op_), mailbox_.fd(), &mail_count_, sizeof mail_count_, 0);
}

void Loop::on_mail(Completion) {
    arm_mailbox();
    mailbox_.deliver_all();
}

} // namespace iscsi::ring

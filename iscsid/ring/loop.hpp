// One thread's world: a ring, its timers, its mailbox and the things to pump at the end of each turn. A turn
// is: enter, run what completed, fire what is due, pump what became dirty. Everything but post() and stop()
// belongs to the thread that made the loop.
#pragma once

#include "base/result.hpp"
#include "base/time.hpp"
#include "ring/mailbox.hpp"
#include "ring/ring.hpp"
#include "ring/timers.hpp"

#include <array>
#include <atomic>
#include <memory>
#include <span>
#include <sys/uio.h>
#include <thread>

namespace iscsi::ring {

/// CLOCK_MONOTONIC now.
base::TimePoint monotonic_now();

/// CLOCK_BOOTTIME now: the same for every process until the machine starts anew.
base::Duration boot_time_now();

/// Something that collects work during a turn and does it once at the end.
class Pump {
public:
    Pump() = default;
    Pump(const Pump&) = delete;
    Pump& operator=(const Pump&) = delete;
    virtual ~Pump() = default;

    virtual void pump() = 0;

private:
    friend class Loop;
    Pump* next_dirty_ = nullptr;
    bool dirty_ = false;
};

class Loop {
public:
    /// Must be called on the thread that will run the loop.
    static base::Result<std::unique_ptr<Loop>> create(unsigned entries = 1024,
                                                      Ring::SqeSize sqe_size = Ring::SqeSize::plain);

    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;
    ~Loop();

    Ring& ring() { return ring_; }
    Timers& timers() { return timers_; }
    io_uring_sqe* sqe(Op& op) { return ring_.sqe(op); }

    /// The time this turn began.
    base::TimePoint now() const { return now_; }

    /// Room for a list that is used up before anybody else on this thread runs: one for all, because each of
    /// a thousand idle streams would have its own in memory.
    std::span<iovec> room_for_spans() { return spans_; }
    static constexpr std::size_t spans_max = 512;

    /// `pump` is called once at the end of this turn. Idempotent.
    void mark(Pump& pump);
    /// Takes `pump` out again; for its destructor.
    void unmark(Pump& pump);

    /// Turns until stop().
    void run();
    /// One turn; waits for at most `wait_at_most`.
    void turn(base::Deadline wait_until = {});

    /// Any thread.
    void post(Message& message) { mailbox_.post(message); }
    /// Any thread: whether it is the one that made the loop.
    bool is_on_its_thread() const { return std::this_thread::get_id() == thread_; }
    /// Any thread: run() returns after its turn. The loop must outlive the call, so whoever stops a thread's
    /// loop joins the thread before the loop dies.
    void stop();

private:
    explicit Loop(Ring ring);
    void on_mail(Completion completion);
    void arm_mailbox();
    void run_pumps();

    Ring ring_;
    Timers timers_;
    Mailbox mailbox_;
    Op mail_op_;
    std::uint64_t mail_count_ = 0;
    std::array<iovec, spans_max> spans_{};
    Pump* first_dirty_ = nullptr;
    Pump* pumping_ = nullptr; ///< those of this turn that are still to come
    base::TimePoint now_;
    const std::thread::id thread_ = std::this_thread::get_id();
    std::atomic<bool> stopping_ = false;
};

} // namespace iscsi::ring

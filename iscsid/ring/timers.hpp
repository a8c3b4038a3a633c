// Deadlines of one loop in a binary heap. A Timer is owned by whoever waits; arming and disarming allocate
// nothing. Thread of the loop.
#pragma once

#include "base/time.hpp"

#include <cstddef>
#include <vector>

namespace iscsi::ring {

class Timers;

/// When to wake for a deadline that need not be met to the millisecond: at it or later, by a sixteenth of the
/// time that is left at most, and by 2^28 ns (0.27 s) at most. Deadlines of many that are far off fall
/// together so, and a thousand idle connections wake their loop some twenty times in the time in which each
/// pings once.
base::TimePoint wake_for(base::TimePoint deadline, base::TimePoint now);

class Timer {
public:
    using Handler = void (*)(void* owner);

    Timer(Timers& timers, void* owner, Handler handler);
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;
    ~Timer();

    /// A Timer that calls `(owner->*Method)()`.
    template <auto Method, class Owner>
    static Timer to(Timers& timers, Owner* owner) {
        return Timer(timers, owner, [](void* self) { (static_cast<Owner*>(self)->*Method)(); });
    }

    /// Fires once at `when` (or at the next turn, if that has passed); replaces an earlier deadline.
    void arm(base::TimePoint when);
    void disarm();
    bool armed() const { return at_ != idle; }
    base::TimePoint when() const { return when_; }

private:
    friend class Timers;
    static constexpr std::size_t idle = static_cast<std::size_t>(-1);
    Timers& timers_;
    void* owner_;
    Handler handler_;
    base::TimePoint when_{};
    std::size_t at_ = idle; ///< index in the heap
};

class Timers {
public:
    Timers() = default;
    Timers(const Timers&) = delete;
    Timers& operator=(const Timers&) = delete;

    base::Deadline next() const;
    /// Fires what is due at `now`; a handler that arms again for `now` waits for the next call.
    void run(base::TimePoint now);

private:
    friend class Timer;
    void add(Timer& timer);
    void remove(Timer& timer);
    void sift_up(std::size_t at);
    void sift_down(std::size_t at);
    void place(std::size_t at, Timer* timer);

    std::vector<Timer*> heap_;
    std::size_t known_ = 0; ///< timers that exist: the heap has room for all of them
};

} // namespace iscsi::ring

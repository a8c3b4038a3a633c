// How many events of a target are on their way to control, which may be busy elsewhere: a target can send
// them faster than control takes them. What exceeds the bound is not sent but counted, and the count goes
// with the next event that is delivered: there is one, for the bound was reached. No lock: add() on the
// shard's thread, take() on control's.
#pragma once

#include <atomic>
#include <cstdint>

namespace iscsi::shard {

class EventBacklog {
public:
    /// Events on their way, but for those that must arrive.
    static constexpr std::uint32_t most = 256;

    /// One more is sent when this is true; else it is counted as missed, and `missed` before it.
    bool add(bool must_arrive, std::uint32_t missed) {
        std::uint64_t before = state_.load(std::memory_order_relaxed);
        std::uint64_t after = 0;
        bool fits = false;
        do {
            fits = must_arrive || (before & under_way_mask) < most;
            after = before + (fits ? 1 : (std::uint64_t{missed} + 1) << missed_shift);
        } while (!state_.compare_exchange_weak(before, after, std::memory_order_acq_rel));
        return fits;
    }

    /// One was delivered; the number of those that were missed.
    std::uint32_t take() {
        std::uint64_t before = state_.load(std::memory_order_relaxed);
        std::uint64_t after = 0;
        do {
            after = (before & under_way_mask) - 1;
        } while (!state_.compare_exchange_weak(before, after, std::memory_order_acq_rel));
        return static_cast<std::uint32_t>(before >> missed_shift);
    }

private:
    static constexpr unsigned missed_shift = 32;
    static constexpr std::uint64_t under_way_mask = 0xffffffff;

    std::atomic<std::uint64_t> state_ = 0; ///< under way below, missed above
};

} // namespace iscsi::shard

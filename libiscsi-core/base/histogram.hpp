// How long things took, counted in fixed memory: eight buckets to each power of two of microseconds, as
// HdrHistogram has them, so that a bucket is never wider than an eighth of what it counts. A LatencyHistogram
// has one writer, and is read at any time by any thread without a lock; what is read is a LatencyCounts, a
// plain value. A reader may see a duration counted of which the sum does not know yet.
#pragma once

#include "base/time.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace iscsi::base {

/// The buckets, by number: the first eight hold 0 to 7 us each, the last whatever is longer than 125 s.
namespace latency {

inline constexpr unsigned steps_bits = 3; ///< of a power of two
inline constexpr unsigned steps = 1U << steps_bits;
inline constexpr unsigned longest_bits = 27; ///< 2^27 us are 134 s
inline constexpr std::size_t buckets = std::size_t{steps} * (longest_bits - steps_bits + 1);

constexpr std::uint64_t whole_us(Duration took) {
    const auto us = std::chrono::duration_cast<std::chrono::microseconds>(took).count();
    return static_cast<std::uint64_t>(std::max<std::int64_t>(0, us));
}

constexpr std::size_t bucket_of(std::uint64_t us) {
    if (us < steps) {
        return static_cast<std::size_t>(us);
    }
    const auto power = static_cast<unsigned>(std::bit_width(us)) - 1;
    const auto step = static_cast<std::size_t>(us >> (power - steps_bits)) % steps;
    return std::min(buckets - 1, std::size_t{steps} * (power - steps_bits + 1) + step);
}

/// The shortest duration that is counted in `bucket`, in microseconds; of `buckets`, where the last one would
/// end.
constexpr std::uint64_t lowest_us(std::size_t bucket) {
    if (bucket < steps) {
        return bucket;
    }
    return (steps + bucket % steps) << (bucket / steps - 1);
}

} // namespace latency

/// What was counted, at one moment or between two.
struct LatencyCounts {
    std::array<std::uint64_t, latency::buckets> buckets{};
    std::uint64_t sum_us = 0;

    std::uint64_t count() const;
    /// Microseconds that `share` (0 to 1) of them did not exceed: half a bucket off at most; 0 of nothing.
    std::uint64_t quantile_us(double share) const;
    /// Takes away what an earlier look at the same histogram had seen, or adds that of another one.
    LatencyCounts& operator-=(const LatencyCounts& earlier);
    LatencyCounts& operator+=(const LatencyCounts& other);

    friend bool operator==(const LatencyCounts&, const LatencyCounts&) = default;
};

/// A number that one thread counts and all may read.
class Counter {
public:
    void add(std::uint64_t more) {
        // One writer: no locked instruction.
        value_.store(value_.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
    }
    std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

private:
    std::atomic<std::uint64_t> value_{0};
};

class LatencyHistogram {
public:
    /// By its one writer.
    void add(Duration took) {
        const std::uint64_t us = latency::whole_us(took);
        buckets_[latency::bucket_of(us)].add(1);
        sum_us_.add(us);
    }
    LatencyCounts read() const;

private:
    std::array<Counter, latency::buckets> buckets_{};
    Counter sum_us_;
};

} // namespace iscsi::base

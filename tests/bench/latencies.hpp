// How long I/Os took: a fixed array of counts, whose buckets are a thirty-second part of an octave wide. What
// they cost (two looks at the clock an I/O) is why they are off unless somebody asks for them. One thread.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace iscsi::bench {

class Latencies {
public:
    explicit Latencies(bool on) : on_(on) {}

    bool on() const { return on_; }
    /// Now, for end(); 0 where nothing is to be counted.
    std::uint64_t begin() const { return on_ ? now_ns() : 0; }
    /// What began at `begun_ns` has ended.
    void end(std::uint64_t begun_ns) {
        if (on_) {
            add(now_ns() - begun_ns);
        }
    }
    void add(std::uint64_t ns) {
        ++counts_[bucket_of(ns)];
        ++total_;
    }
    void clear() {
        counts_.fill(0);
        total_ = 0;
    }

    /// The time within which `part` of them (0..1) ended, at most 1/32 too long; 0 when there are none.
    double quantile_us(double part) const;

private:
    static constexpr unsigned fine_bits = 5;
    static constexpr std::uint64_t fine = std::uint64_t{1} << fine_bits;

    static std::uint64_t now_ns();
    static std::size_t bucket_of(std::uint64_t ns) {
        if (ns < fine) {
            return ns;
        }
        const unsigned octave = static_cast<unsigned>(std::bit_width(ns)) - 1 - fine_bits;
        return octave * fine + (ns >> octave);
    }
    /// The longest time that falls into it, and a nanosecond.
    static std::uint64_t end_of(std::size_t bucket);

    bool on_;
    std::uint64_t total_ = 0;
    std::array<std::uint64_t, (64 - fine_bits + 1) * fine> counts_{};
};

} // namespace iscsi::bench

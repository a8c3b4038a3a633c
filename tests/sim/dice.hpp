// All chance of one schedule comes from one 64-bit seed through this (SplitMix64), so that a seed is a
// schedule. A value; one thread. Source: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number
// generators" (2014).
#pragma once

#include <cstdint>

namespace iscsi::sim {

class Dice {
public:
    explicit Dice(std::uint64_t seed) : state_(seed) {}

    std::uint64_t next() {
        state_ += 0x9e3779b97f4a7c15ULL;
        std::uint64_t z = state_;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31);
    }
    /// 0 .. `n` - 1; `n` is 1 to 2^32.
    std::uint32_t below(std::uint64_t n) { return static_cast<std::uint32_t>(((next() >> 32) * n) >> 32); }
    /// Both ends are in.
    std::uint32_t between(std::uint32_t low, std::uint32_t high) {
        return low + below(std::uint64_t{high} - low + 1);
    }
    /// True once in `n` times.
    bool one_in(std::uint32_t n) { return below(n) == 0; }
    template <class T, std::size_t n>
    const T& pick(const T (&choices)[n]) {
        return choices[below(n)];
    }

private:
    std::uint64_t state_;
};

} // namespace iscsi::sim

// What everything in one schedule shares: the dice, the findings (the first broken invariant), the tale (what
// happened, told only when somebody reads it) and a digest of all that happened, by which two runs of a seed
// are compared. One thread; lives as long as its schedule.
#pragma once

#include "base/time.hpp"
#include "sim/dice.hpp"
#include "sim/encounters.hpp"

#include <cstdint>
#include <fmt/format.h>
#include <string>
#include <utility>

namespace iscsi::sim {

class Stage {
public:
    Stage(std::uint64_t seed, bool verbose) : dice(seed), seed_(seed), verbose_(verbose) {}
    Stage(const Stage&) = delete;
    Stage& operator=(const Stage&) = delete;

    /// An invariant is broken; the first one counts and ends the schedule.
    template <class... Args>
    void fail(fmt::format_string<Args...> format, Args&&... args) {
        if (broken_) {
            return;
        }
        broken_ = true;
        finding_ = fmt::format(format, std::forward<Args>(args)...);
        say("BROKEN: {}", finding_);
    }
    bool broken() const { return broken_; }
    const std::string& finding() const { return finding_; }

    template <class... Args>
    void say(fmt::format_string<Args...> format, Args&&... args) {
        if (verbose_) [[unlikely]] {
            fmt::print("{:12.6f} {}\n", static_cast<double>(now.time_since_epoch().count()) / 1e9,
                       fmt::format(format, std::forward<Args>(args)...));
        }
    }

    void mix(std::uint64_t value) {
        digest_ = (digest_ ^ value ^ static_cast<std::uint64_t>(now.time_since_epoch().count())) *
                  0x9e3779b97f4a7c15ULL;
        digest_ ^= digest_ >> 29;
    }
    std::uint64_t digest() const { return digest_; }
    std::uint64_t seed() const { return seed_; }
    bool verbose() const { return verbose_; }

    Dice dice;
    Met met;
    base::TimePoint now{}; ///< the virtual clock; only the kernel moves it

private:
    std::uint64_t seed_;
    bool verbose_;
    bool broken_ = false;
    std::string finding_;
    std::uint64_t digest_ = 0;
};

} // namespace iscsi::sim

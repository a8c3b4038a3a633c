// Time as the core knows it: an argument. Nothing in libiscsi-core reads a clock; the daemon passes
// CLOCK_MONOTONIC, tests pass what they like. Values only; any thread.
#pragma once

#include <chrono>
#include <optional>

namespace iscsi::base {

using Duration = std::chrono::nanoseconds;

/// The epoch of TimePoint; has no now().
struct MonotonicEpoch {
    using duration = Duration;
    using rep = duration::rep;
    using period = duration::period;
    static constexpr bool is_steady = true;
};
using TimePoint = std::chrono::time_point<MonotonicEpoch, Duration>;

/// When something is due; empty means never.
using Deadline = std::optional<TimePoint>;

constexpr Deadline earliest(Deadline a, Deadline b) {
    if (!a) {
        return b;
    }
    if (!b) {
        return a;
    }
    return *a < *b ? a : b;
}

constexpr bool is_due(Deadline deadline, TimePoint now) {
    return deadline && *deadline <= now;
}

} // namespace iscsi::base

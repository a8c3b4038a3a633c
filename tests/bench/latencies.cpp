#include "bench/latencies.hpp"

#include <ctime>

namespace iscsi::bench {

std::uint64_t Latencies::now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

std::uint64_t Latencies::end_of(std::size_t bucket) {
    if (bucket < fine) {
        return bucket + 1;
    }
    const std::size_t octave = bucket / fine - 1;
    return (bucket - octave * fine + 1) << octave;
}

double Latencies::quantile_us(double part) const {
    const double wanted = part * static_cast<double>(total_);
    std::uint64_t seen = 0;
    for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
        seen += counts_[bucket];
        if (counts_[bucket] > 0 && static_cast<double>(seen) >= wanted) {
            return static_cast<double>(end_of(bucket)) / 1e3;
        }
    }
    return 0;
}

} // namespace iscsi::bench

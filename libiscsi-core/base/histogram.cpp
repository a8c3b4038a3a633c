#include "base/histogram.hpp"

#include <cmath>
#include <numeric>

namespace iscsi::base {

std::uint64_t LatencyCounts::count() const {
    return std::accumulate(buckets.begin(), buckets.end(), std::uint64_t{0});
}

std::uint64_t LatencyCounts::quantile_us(double share) const {
    const std::uint64_t all = count();
    if (all == 0) {
        return 0;
    }
    const double wanted = std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(all));
    const auto nth = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(wanted));
    std::uint64_t seen = 0;
    std::size_t bucket = 0;
    while ((seen += buckets[bucket]) < nth) {
        ++bucket;
    }
    // The middle of those that the bucket counts.
    return (latency::lowest_us(bucket) + latency::lowest_us(bucket + 1) - 1) / 2;
}

LatencyCounts& LatencyCounts::operator-=(const LatencyCounts& earlier) {
    for (std::size_t i = 0; i < buckets.size(); ++i) {
        buckets[i] -= earlier.buckets[i];
    }
    sum_us -= earlier.sum_us;
    return *this;
}

LatencyCounts& LatencyCounts::operator+=(const LatencyCounts& other) {
    for (std::size_t i = 0; i < buckets.size(); ++i) {
        buckets[i] += other.buckets[i];
    }
    sum_us += other.sum_us;
    return *this;
}

LatencyCounts LatencyHistogram::read() const {
    LatencyCounts counts;
    for (std::size_t i = 0; i < counts.buckets.size(); ++i) {
        counts.buckets[i] = buckets_[i].value();
    }
    counts.sum_us = sum_us_.value();
    return counts;
}

} // namespace iscsi::base

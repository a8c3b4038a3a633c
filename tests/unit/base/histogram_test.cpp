// Durations counted in buckets, and what can be said of them afterwards.
#include "base/histogram.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <thread>
#include <vector>

using namespace iscsi;
using base::LatencyCounts;
using base::LatencyHistogram;
namespace latency = base::latency;
using std::chrono::microseconds;

TEST_CASE("each bucket begins where the one before ends", "[histogram]") {
    for (std::size_t bucket = 0; bucket < latency::buckets; ++bucket) {
        const std::uint64_t lowest = latency::lowest_us(bucket);
        const std::uint64_t next = latency::lowest_us(bucket + 1);
        INFO("bucket " << bucket << " from " << lowest << " to " << next);
        CHECK(latency::bucket_of(lowest) == bucket);
        CHECK(latency::bucket_of(next - 1) == bucket);
        CHECK(next - lowest <= std::max<std::uint64_t>(1, lowest / 8));
    }
}

TEST_CASE("what is longer than the last bucket is counted there, what is negative in the first",
          "[histogram]") {
    LatencyHistogram histogram;
    histogram.add(std::chrono::hours(10));
    histogram.add(microseconds(-5));
    const LatencyCounts counts = histogram.read();
    CHECK(counts.buckets.back() == 1);
    CHECK(counts.buckets.front() == 1);
    CHECK(counts.sum_us == 36'000'000'000);
}

TEST_CASE("quantiles of a million random durations are within half a bucket of the true ones",
          "[histogram]") {
    std::mt19937_64 dice(7);
    std::lognormal_distribution<double> durations(5, 1.5);
    LatencyHistogram histogram;
    std::vector<std::uint64_t> all;
    for (int i = 0; i < 1'000'000; ++i) {
        all.push_back(static_cast<std::uint64_t>(durations(dice)));
        histogram.add(microseconds(all.back()));
    }
    std::sort(all.begin(), all.end());
    const LatencyCounts counts = histogram.read();
    CHECK(counts.count() == all.size());
    for (double share : {0.0001, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0}) {
        const auto nth = static_cast<std::size_t>(std::ceil(share * 1'000'000.0)) - 1;
        const auto truth = static_cast<double>(all[nth]);
        INFO("share " << share << ", true " << truth);
        CHECK(std::abs(static_cast<double>(counts.quantile_us(share)) - truth) <= truth / 16 + 1);
    }
}

TEST_CASE("of nothing every quantile is 0", "[histogram]") {
    CHECK(LatencyCounts().quantile_us(0.5) == 0);
}

TEST_CASE("between two looks is what the second has seen more", "[histogram]") {
    LatencyHistogram histogram;
    histogram.add(microseconds(10));
    const LatencyCounts before = histogram.read();
    histogram.add(microseconds(1000));
    LatencyCounts between = histogram.read();
    between -= before;
    CHECK(between.count() == 1);
    CHECK(between.sum_us == 1000);
    LatencyCounts both = before;
    both += between;
    CHECK(both == histogram.read());
}

TEST_CASE("one thread counts while another reads", "[histogram]") {
    LatencyHistogram histogram;
    constexpr std::uint64_t rounds = 200'000;
    std::thread writer([&histogram] {
        for (std::uint64_t i = 0; i < rounds; ++i) {
            histogram.add(microseconds(i % 1000));
        }
    });
    std::uint64_t last = 0;
    while (last < rounds) {
        const std::uint64_t now = histogram.read().count();
        REQUIRE(now >= last);
        last = now;
    }
    writer.join();
    CHECK(histogram.read().count() == rounds);
}

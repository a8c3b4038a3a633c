// The simulation as a whole: a seed is a schedule.
#include "sim/world.hpp"

#include <catch2/catch.hpp>

using namespace iscsi::sim;

TEST_CASE("the same seed is the same schedule, another seed another one") {
    std::uint64_t before = 0;
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        const Verdict first = run_schedule(seed, false);
        const Verdict second = run_schedule(seed, false);
        CHECK_FALSE(first.broken);
        CHECK(first.digest == second.digest);
        CHECK(first.happenings == second.happenings);
        CHECK(first.digest != before);
        before = first.digest;
    }
}

TEST_CASE("schedules meet everything that they are made for") {
    Met met;
    for (std::uint64_t seed = 1; seed <= 3000 && !met.has_all(); ++seed) {
        met.add(run_schedule(seed, false).met);
    }
    for (unsigned number = 0; number < Met::count; ++number) {
        INFO("fate, mishap or encounter " << number);
        CHECK(met.has(number));
    }
}

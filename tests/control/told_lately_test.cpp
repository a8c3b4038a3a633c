#include "control/told_lately.hpp"

#include <catch2/catch.hpp>

using namespace iscsi;
using control::LineLimit;
using control::ToldLately;
using enum scsi::Effect;
using namespace std::chrono_literals;

namespace {

const base::TimePoint start{1000s};

} // namespace

TEST_CASE("the log hears of each kind of news once a minute", "[SCSI-THIN-01][SCSI-THIN-02]") {
    ToldLately told;
    CHECK(told.news(thin_exhausted, start) == scsi::Effects(thin_exhausted));
    CHECK(told.news(thin_exhausted, start + 1s).none());
    CHECK(told.news(thin_exhausted | thin_threshold, start + 2s) == scsi::Effects(thin_threshold));
    CHECK(told.news(thin_exhausted, start + 59s).none());
    CHECK(told.news(thin_exhausted, start + 60s) == scsi::Effects(thin_exhausted));
    CHECK(told.news(thin_exhausted, start + 61s).none());
}

TEST_CASE("a line that would come at the speed of the wire comes once a minute, with a count") {
    LineLimit limit;
    unsigned lines = 0;
    unsigned told_of = 0;
    for (base::TimePoint now = start; now < start + 5min; now += 1ms) {
        if (const auto left_out = limit.admit(now)) {
            ++lines;
            told_of += 1 + *left_out;
        }
    }
    CHECK(lines == 5);
    CHECK(told_of == 4 * 60'000 + 1); // the rest comes with the next line
    CHECK(limit.admit(start + 1h) == 59'999U);
    CHECK(limit.admit(start + 2h) == 0U);
}

TEST_CASE("an event may have so many lines a minute, of each session and unit, and none is uncounted") {
    using control::EventLimiter;
    EventLimiter limiter;
    const EventLimiter::Key lost{ipc::Event::connection_lost, 1, 0};
    unsigned lines = 0;
    unsigned told_of = 0;
    for (base::TimePoint now = start; now < start + 3min; now += 100ms) {
        if (const auto left_out = limiter.admit(lost, now)) {
            ++lines;
            told_of += 1 + *left_out;
        }
    }
    CHECK(lines == 3 * EventLimiter::lines_a_minute);
    CHECK(told_of == 2 * 600 + EventLimiter::lines_a_minute); // the rest comes with the next line
    const base::TimePoint then = start + 3min - 1ms;
    CHECK_FALSE(limiter.admit(lost, then));
    CHECK(limiter.admit({ipc::Event::connection_lost, 2, 0}, then) == 0U);
    CHECK(limiter.admit({ipc::Event::connection_lost, 1, 5}, then) == 0U);
    CHECK(limiter.admit({ipc::Event::recovered, 1, 0}, then) == 0U);
    CHECK(limiter.admit({ipc::Event::connection_lost, 1, 0, 7}, then) == 0U);
    CHECK(limiter.admit(lost, start + 1h) == 600 - EventLimiter::lines_a_minute + 1);
}

TEST_CASE("what is seldom passes whole, and the limiter's memory has an end") {
    using control::EventLimiter;
    EventLimiter limiter;
    for (unsigned i = 0; i < 1000; ++i) {
        CHECK(limiter.admit({ipc::Event::login, 1, 0}, start + i * 2s) == 0U);
    }
    const base::TimePoint burst = start + 1h;
    std::size_t admitted = 0;
    for (std::uint32_t sid = 1; sid <= 2 * EventLimiter::keys_max; ++sid) {
        admitted += limiter.admit({ipc::Event::login, sid, 0}, burst) ? 1U : 0U;
    }
    CHECK(limiter.size() <= EventLimiter::keys_max + 1);
    CHECK(admitted >= EventLimiter::keys_max); // those behind share one
    CHECK(admitted <= EventLimiter::keys_max + EventLimiter::lines_a_minute);
    CHECK(limiter.admit({ipc::Event::login, 100'000, 0}, burst + 2min) == 0U);
    CHECK(limiter.size() <= 2);
}

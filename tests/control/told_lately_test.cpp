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

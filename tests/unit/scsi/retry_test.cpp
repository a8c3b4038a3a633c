#include "scsi/retry.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cerrno>

using namespace iscsi;
using namespace iscsi::scsi;
using namespace std::chrono_literals;

namespace {

namespace limits = base::limits;

const base::TimePoint start{base::Duration(12'345'678'901)};

Disposition sense_of(std::uint8_t key, std::uint8_t asc, std::uint8_t ascq) {
    std::array<std::byte, 18> sense{};
    sense[0] = std::byte{0x70};
    sense[2] = std::byte{key};
    sense[7] = std::byte{10};
    sense[12] = std::byte{asc};
    sense[13] = std::byte{ascq};
    return classify(0x02, sense);
}

/// How often a command is sent that is always answered so, and when the last time is.
struct Life {
    unsigned sent = 0;
    base::Duration until{};
    base::Duration longest{};
};

Life life_of(const Disposition& answer, const RetryTimes& times = {}) {
    Retry tries;
    tries.begin();
    Life life;
    base::TimePoint now = start;
    for (base::Deadline again = now; again; again = tries.next(answer, now, times)) {
        life.longest = std::max(life.longest, *again - now);
        now = *again;
        life.until = now - start;
        REQUIRE(++life.sent < 100'000);
    }
    return life;
}

} // namespace

TEST_CASE("a busy target is asked ever more seldom, for a minute", "[sam-5-5.3.1][SCSI-STATUS-01]") {
    for (std::uint8_t status : std::array<std::uint8_t, 3>{0x08, 0x28, 0x30}) {
        const Life life = life_of(classify(status, {}));
        CHECK(life.until <= limits::scsi_busy_deadline);
        CHECK(life.until > limits::scsi_busy_deadline - 2s);
        CHECK(life.longest <= limits::scsi_delay_max * 5 / 4);
        CHECK(life.longest >= limits::scsi_delay_max);
        CHECK(life.sent > 40);
        CHECK(life.sent < 80); // every 10 ms would be six thousand
    }
}

TEST_CASE("the first delay is the status' own, and each is at most a quarter longer than said",
          "[SCSI-STATUS-01]") {
    const Disposition full = classify(0x28, {});
    for (std::int64_t skew = 0; skew < 100; ++skew) {
        Retry tries;
        const base::TimePoint now = start + base::Duration(skew * 104'729);
        tries.begin();
        base::Duration expected = full.delay;
        for (int i = 0; i < 5; ++i) {
            const base::Deadline again = tries.next(full, now);
            REQUIRE(again);
            CHECK(*again - now >= expected);
            CHECK(*again - now < expected + expected / 4);
            expected *= 2;
        }
    }
}

TEST_CASE("hosts that were turned away together come back apart", "[SCSI-STATUS-01]") {
    const Disposition busy = classify(0x08, {});
    Retry one;
    Retry other;
    one.begin();
    other.begin();
    CHECK(*one.next(busy, start) - start != *other.next(busy, start + 7us) - (start + 7us));
}

TEST_CASE("a unit that becomes ready is asked once a second", "[SCSI-SENSE-03]") {
    const Life life = life_of(sense_of(0x2, 0x04, 0x01));
    CHECK(life.longest < 1250ms);
    CHECK(life.sent > 45);
    CHECK(life.sent <= 61);
}

TEST_CASE("errors are retried five times, unit attentions ten times, each on its own account",
          "[SCSI-SENSE-06][SCSI-UA-01]") {
    CHECK(life_of(sense_of(0xb, 0x47, 0x05)).sent == 1 + limits::scsi_retries_max);
    CHECK(life_of(sense_of(0x3, 0x0c, 0x00)).sent == 1 + limits::scsi_retries_max);
    CHECK(life_of(classify(0x40, {})).sent == 1 + limits::scsi_retries_max);
    CHECK(life_of(sense_of(0x6, 0x2f, 0x00)).sent == 1 + limits::scsi_attentions_max);
    Retry tries;
    tries.begin();
    for (unsigned i = 0; i < limits::scsi_attentions_max; ++i) {
        CHECK(tries.next(sense_of(0x6, 0x29, 0x02), start) == start);
    }
    CHECK(tries.has_attentions());
    for (unsigned i = 0; i < limits::scsi_retries_max; ++i) {
        CHECK(tries.next(sense_of(0xb, 0x00, 0x00), start) == start);
    }
    CHECK_FALSE(tries.next(sense_of(0xb, 0x00, 0x00), start));
    CHECK_FALSE(tries.next(sense_of(0x6, 0x29, 0x02), start));
}

TEST_CASE("a transition of access states is waited for as long as the target says it may take",
          "[spc-4-5.15.2.5][SCSI-ALUA-03]") {
    const Disposition changing = sense_of(0x2, 0x04, 0x0a);
    CHECK(life_of(changing).until <= 60s);
    RetryTimes times;
    times.transition = 255s;
    const Life life = life_of(changing, times);
    CHECK(life.until > 250s);
    CHECK(life.until <= 255s);
    // Other delays keep their own bound.
    CHECK(life_of(classify(0x08, {}), times).until <= 60s);
    CHECK(changing.error_number == ENOLINK);
}

TEST_CASE("a command that waited for its session may be put off anew, what it ran into still counts",
          "[SCSI-STATUS-01]") {
    Retry tries;
    tries.begin();
    for (unsigned i = 0; i < limits::scsi_attentions_max; ++i) {
        CHECK(tries.next(sense_of(0x6, 0x29, 0x02), start));
    }
    base::TimePoint now = start;
    while (const base::Deadline again = tries.next(classify(0x08, {}), now)) {
        now = *again;
    }
    CHECK(now > start + 58s);
    tries.go_on();
    CHECK(tries.next(classify(0x08, {}), start + 61s));
    CHECK_FALSE(tries.next(sense_of(0x6, 0x29, 0x02), start + 61s));
    tries.begin();
    CHECK_FALSE(tries.has_attentions());
}

TEST_CASE("what a command waited to be sent, and at the target, does not count as being put off",
          "[SCSI-STATUS-01]") {
    Retry tries;
    tries.begin();
    const base::TimePoint late = start + 2 * limits::scsi_busy_deadline;
    CHECK(tries.next(classify(0x08, {}), late));
    const base::TimePoint aborted = late + 2 * limits::scsi_busy_deadline;
    CHECK(tries.next(classify(0x40, {}), aborted) == aborted);
    CHECK(tries.next(classify(0x08, {}), aborted));
}

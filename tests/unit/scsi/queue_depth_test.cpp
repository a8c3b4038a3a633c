#include "scsi/queue_depth.hpp"

#include "base/limits.hpp"

#include <catch2/catch.hpp>
#include <deque>

using namespace iscsi;
using scsi::QueueDepth;
using namespace std::chrono_literals;

namespace {

constexpr base::Duration raise_pause = base::limits::scsi_depth_raise_pause;
const base::TimePoint start{1000s};

} // namespace

TEST_CASE("a full queue halves what is sent at a time, down to one", "[sam-5-5.3.1][SCSI-STATUS-04]") {
    QueueDepth depth(32);
    CHECK(depth.allowed() == 32);
    for (std::uint32_t expected : {16U, 8U, 4U, 2U, 1U, 1U}) {
        depth.on_full(depth.age(), depth.allowed(), start);
        CHECK(depth.allowed() == expected);
    }
}

TEST_CASE("what was at the target counts, not what could have been", "[SCSI-STATUS-04]") {
    QueueDepth depth(128);
    depth.on_full(depth.age(), 10, start);
    CHECK(depth.allowed() == 5);
    depth.on_full(depth.age(), 1, start);
    CHECK(depth.allowed() == 1);
}

TEST_CASE("a burst of full answers is one event", "[SCSI-STATUS-04]") {
    QueueDepth depth(64);
    const std::uint32_t age = depth.age();
    for (std::uint32_t at_target = 64; at_target > 0; --at_target) {
        depth.on_full(age, at_target, start);
    }
    CHECK(depth.allowed() == 32);
    // A command of after the fall is news again.
    depth.on_full(depth.age(), 32, start);
    CHECK(depth.allowed() == 16);
}

TEST_CASE("the depth comes back slowly, and only while the target does not complain", "[SCSI-STATUS-04]") {
    QueueDepth depth(64);
    depth.on_full(depth.age(), 2, start);
    REQUIRE(depth.allowed() == 1);
    depth.on_success(start + raise_pause - 1ns);
    CHECK(depth.allowed() == 1);
    depth.on_success(start + raise_pause);
    CHECK(depth.allowed() == 5);
    depth.on_success(start + raise_pause);
    CHECK(depth.allowed() == 5);
    depth.on_success(start + 2 * raise_pause);
    CHECK(depth.allowed() == 9);
    // Even one of the event before puts the next step off.
    depth.on_full(depth.age() - 1, 9, start + 3 * raise_pause - 1s);
    CHECK(depth.allowed() == 9);
    depth.on_success(start + 3 * raise_pause);
    CHECK(depth.allowed() == 9);
    base::TimePoint now = start + 4 * raise_pause;
    for (int i = 0; i < 100; ++i, now += raise_pause) {
        depth.on_success(now);
        CHECK(depth.allowed() <= 64);
    }
    CHECK(depth.allowed() == 64);
}

TEST_CASE("a depth of one neither falls nor grows", "[SCSI-STATUS-04]") {
    QueueDepth depth(1);
    depth.on_full(depth.age(), 1, start);
    CHECK(depth.allowed() == 1);
    depth.on_success(start + 2 * raise_pause);
    CHECK(depth.allowed() == 1);
}

TEST_CASE("against a target with room for twenty, few commands are turned away", "[SCSI-STATUS-04]") {
    constexpr std::uint32_t room = 20;
    QueueDepth depth(128);
    std::deque<std::uint32_t> at_target; ///< ages
    base::TimePoint now = start;
    unsigned refused = 0;
    unsigned served = 0;
    for (int step = 0; step < 600'000; ++step, now += 1ms) {
        while (at_target.size() < depth.allowed()) {
            if (at_target.size() >= room) {
                ++refused;
                depth.on_full(depth.age(), static_cast<std::uint32_t>(at_target.size()) + 1, now);
                continue;
            }
            at_target.push_back(depth.age());
        }
        at_target.pop_front();
        depth.on_success(now);
        ++served;
        REQUIRE(depth.allowed() >= 1);
    }
    CHECK(served == 600'000);
    CHECK(refused > 0);
    CHECK(refused < 200);
}

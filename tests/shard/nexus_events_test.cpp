// What a target says unasked, on its way to a control that is busy elsewhere: its loop does not turn.
#include "bench.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

using namespace iscsi;
using namespace iscsi::test;
using Kind = session::Event::Kind;

namespace {

constexpr std::uint8_t session_drop = 3;
constexpr std::uint8_t vendor_event = 248;

struct Busy {
    Busy() {
        auto opened = bench.run(nexus.open(bench.open_request()));
        REQUIRE(opened);
        bench.target.begin_session(*opened);
    }
    ~Busy() { control->turn(ring::monotonic_now()); }
    void send(std::uint8_t event, int times) {
        for (int i = 0; i < times; ++i) {
            wire::AsyncMessage message;
            message.async_event = event;
            testing::FakeTarget& judge = bench.target.judge();
            judge.send(judge.stamped(message));
            bench.turn();
        }
        sent += static_cast<unsigned>(times);
        bench.run_until([&] { return nexus.statistics().async_pdus == sent; });
    }
    /// The target ends the session, and control finds time.
    void end() {
        send(session_drop, 1);
        bench.run_until([&] { return !nexus.has_session(); });
        control->turn(ring::monotonic_now());
    }
    /// Events of lesser kinds that control has heard of, in either way.
    std::uint64_t vendor_events() const {
        std::uint64_t all = 0;
        for (const session::Event& event : bench.told) {
            all += event.missed + (event.kind == Kind::vendor ? 1 : 0);
        }
        return all;
    }

    std::unique_ptr<ring::Loop> control = std::move(*ring::Loop::create());
    Bench bench;
    unsigned sent = 0;
    shard::Nexus nexus{*bench.loop, *control, bench};
};

} // namespace

TEST_CASE_METHOD(Busy, "a flood of events does not push out the one that control must act on",
                 "[rfc7143-11.9.1][ASYNC-03]") {
    send(vendor_event, 1000);
    CHECK(bench.told.empty());
    end();
    REQUIRE(bench.told.size() < 300);
    CHECK(bench.told.back().kind == Kind::session_dropped);
    CHECK(bench.drops == 1);
    // Nor is one forgotten for which there was no room.
    CHECK(vendor_events() == 1000);
}

TEST_CASE_METHOD(Busy, "what was lost is told though nothing comes after it") {
    send(vendor_event, 1000);
    control->turn(ring::monotonic_now());
    CHECK(vendor_events() == 1000);
    bench.told.clear();
    send(vendor_event, 5);
    control->turn(ring::monotonic_now());
    CHECK(bench.told.size() == 5);
    CHECK(vendor_events() == 5);
    end();
}

TEST_CASE_METHOD(Busy,
                 "a target that asks again and again for what must be done does not fill control's memory",
                 "[ASYNC-01]") {
    bench.target.judge().intercept = [](const wire::Bhs&, base::Bytes) { return true; };
    constexpr std::uint8_t logout_request = 1;
    send(logout_request, 1000);
    send(vendor_event, 10);
    end();
    CHECK(bench.told.size() < 300);
    CHECK(bench.told.front().kind == Kind::logout_requested);
    CHECK(bench.told.back().kind == Kind::session_dropped);
}

// How long a command can live, whatever its target does: data that trickles, requests that repeat, bytes that
// never leave, and a socket that was full for a while. On a virtual clock.
#include "management_bench.hpp"
#include "scene.hpp"

namespace iscsi::testing {
namespace {

using Bench = ManagementBench;
using session::Outcome;

/// With a target that always has something to say, so that no silence ends the session.
PairConfig lively_config() {
    PairConfig config = recovery_config();
    config.session.nop_out_interval = 5s;
    config.session.nop_out_timeout = 5s;
    return config;
}

/// Time goes by for the session alone: nothing is sent or received.
void wait_alone(Pair& pair, base::Duration duration) {
    base::TimePoint end = pair.now + duration;
    for (int calls = 0; pair.result; ++calls) {
        REQUIRE(calls < 10'000); // What has been looked at is not due at once again.
        base::Deadline due = pair.session.deadline();
        if (!due || *due > end) {
            break;
        }
        pair.now = std::max(pair.now, *due);
        pair.result = pair.session.at(pair.now);
    }
    pair.now = end;
}

TEST_CASE("Data-In without data does not keep a command alive", "[TMF-02]") {
    Bench bench;
    bench.read(test_lun, 64);
    wire::DataIn pdu;
    pdu.itt = newest_itt(bench.pair.target);
    bench.pair.advance(20s);
    bench.pair.target.send(bench.pair.target.stamped(pdu, FakeTarget::Status::none));
    bench.pair.run();
    REQUIRE(bench.pair.result);
    bench.pair.advance(10s);
    CHECK(bench.functions() == Functions{abort_task});
    bench.pair.session.abandon();
}

TEST_CASE("a command that trickles is aborted after six times its time, and so is the one behind it",
          "[TMF-02]") {
    Bench bench;
    bench.answer = 0;
    Io& slow = bench.read(test_lun, 64);
    wire::DataIn pdu;
    pdu.itt = newest_itt(bench.pair.target);
    Io& behind = bench.read(test_lun, 64);
    std::uint32_t waited_s = 0;
    for (; bench.asked.empty() && waited_s < 600; waited_s += 20) {
        bench.pair.target.send(bench.pair.target.stamped(pdu, FakeTarget::Status::none), pattern(1, 1));
        bench.pair.run();
        REQUIRE(bench.pair.result);
        pdu.data_sn = pdu.data_sn + 1;
        pdu.buffer_offset = pdu.buffer_offset + 1;
        CHECK((waited_s >= 160 || bench.asked.empty()));
        bench.pair.advance(20s);
    }
    CHECK(waited_s == 180);
    REQUIRE_FALSE(bench.asked.empty());
    CHECK(bench.asked[0].referenced_task_tag == pdu.itt);
    CHECK(slow.command.outcome == Outcome::aborted);
    bench.pair.advance(0s);
    CHECK(behind.command.outcome == Outcome::aborted);
    CHECK(bench.done().size() == 2);
    CHECK(bench.pair.result);
}

TEST_CASE("how often a command was put off is forgotten with it", "[TMF-02]") {
    Bench bench;
    for (int round = 0; round < 8; ++round) {
        bench.read();
        bench.pair.advance(20s);
        wire::DataIn pdu;
        pdu.itt = newest_itt(bench.pair.target);
        bench.pair.target.send(bench.pair.target.stamped(pdu, FakeTarget::Status::none),
                               base::Bytes(bench.pair.target.disk).first(32));
        bench.pair.run();
        bench.pair.advance(30s);
        REQUIRE(bench.asked.empty());
        pdu.data_sn = 1;
        pdu.buffer_offset = 32;
        pdu.flags = wire::final_bit | wire::data_in_flag::status;
        bench.pair.target.send(bench.pair.target.stamped(pdu), pattern(32, 1));
        bench.pair.run();
        REQUIRE(bench.done().size() == 1);
        CHECK(bench.ios.back().command.outcome == Outcome::responded);
    }
}

TEST_CASE("an answered write whose bytes do not leave ends the session when its time is over",
          "[TMF-02][SEQ-07]") {
    Scene scene(lively_config());
    Pair& pair = scene.pair;
    Io io;
    io.write(0, pattern(4096, 4));
    io.command.timeout = GENERATE(0s, 10s); // The connection has the session's time, not this.
    pair.submit(io.command);
    REQUIRE(pair.put() > 0);
    pair.session.tx_done(wire::bhs_bytes); // And not a byte more, ever.
    pair.now += 5s;
    pair.target.execute();
    while (pair.receive()) {
    }
    CHECK(completions(pair.session).empty());
    auto lively_until = [&pair](base::TimePoint end) {
        while (pair.result && pair.now < end) {
            wait_alone(pair, 1s);
            pair.target.send(pair.target.stamped(wire::NopIn{}, FakeTarget::Status::shows));
            while (pair.result && pair.receive()) {
            }
        }
    };
    lively_until(base::TimePoint{} + 34s);
    REQUIRE(pair.result);
    REQUIRE(pair.session.deadline());
    SECTION("what has been said by then counts") {
        lively_until(base::TimePoint{} + 35s);
        REQUIRE_FALSE(pair.result);
        CHECK(pair.result.error().code == base::Errc::transport);
        CHECK_THAT(pair.result.error().detail, Catch::Matchers::Contains("does not take what it was sent"));
        pair.session.abandon();
        REQUIRE(completions(pair.session).size() == 1);
        CHECK(io.command.outcome == Outcome::responded);
        CHECK_FALSE(io.command.blamed);
    }
    SECTION("bytes that leave in time are in time") {
        pair.session.tx_done(4096);
        REQUIRE(completions(pair.session).size() == 1);
        lively_until(base::TimePoint{} + 100s);
        CHECK(pair.result);
    }
}

TEST_CASE("a command sent when the socket has room again has all of its time", "[TMF-02]") {
    Bench bench;
    Pair& pair = bench.pair;
    pair.wire.iovecs = 4;
    Io first;
    first.write(0, pattern(64, 1));
    first.command.timeout = 1000s;
    Io second;
    second.read(0, 64);
    pair.submit(first.command);
    pair.submit(second.command);
    std::size_t owed = pair.put();
    wait_alone(pair, 29s);
    REQUIRE(pair.target.commands_seen() == 1);
    pair.session.tx_done(owed); // Which says nothing about when.
    pair.run();
    REQUIRE(pair.target.commands_seen() == 2);
    pair.advance(28s);
    CHECK(bench.asked.empty());
    pair.advance(2s);
    REQUIRE(bench.functions() == Functions{abort_task});
    CHECK(bench.asked[0].referenced_task_tag == newest_itt(pair.target));
    pair.session.abandon();
}

TEST_CASE("a session that has nothing to send is not woken for the time", "[TMF-02]") {
    Bench bench;
    bench.read();
    CHECK(bench.pair.session.deadline() == bench.pair.now + 30s);
    bench.pair.session.abandon();
}

} // namespace
} // namespace iscsi::testing

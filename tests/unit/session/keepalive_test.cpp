// NOPs both ways, on a virtual clock (RFC 7143 sections 11.18 and 11.19).
#include "harness.hpp"

namespace iscsi::testing {
namespace {

using Catch::Matchers::Contains;

TEST_CASE("silence is broken by a NOP-Out, and its answer keeps the connection", "[rfc7143-11.18][NOP-02]") {
    Pair pair(ping_config());
    pair.target.keep_log = true;
    pair.advance(4999ms);
    CHECK(pair.target.log.empty());
    pair.advance(1ms);
    REQUIRE(pair.target.log.size() == 1);
    auto ping = base::load<wire::NopOut>(base::bytes_of_object(pair.target.log[0]));
    CHECK(ping.opcode_byte == 0x40);
    CHECK(ping.flags == 0x80);
    CHECK(ping.itt != base::reserved_tag);
    CHECK(ping.ttt == base::reserved_tag);
    CHECK(ping.cmd_sn == 0xfffffff0U);
    pair.advance(60s);
    REQUIRE(pair.result);
    CHECK(pair.target.log.size() == 13);
    CHECK(pair.target.log[0].itt != pair.target.log[1].itt);
    CHECK(pair.session.statistics().noptx_pdus == 13);
    CHECK(pair.session.statistics().noprx_pdus == 13);
    INFO(complaints(pair.target));
    CHECK(pair.target.violations.empty());
}

TEST_CASE("a NOP-Out without an answer ends the connection", "[rfc7143-11.18][NOP-03]") {
    Pair pair(ping_config());
    std::size_t pings = 0;
    pair.target.intercept = [&pings](const wire::Bhs&, base::Bytes) {
        ++pings;
        return true;
    };
    pair.advance(11'999ms);
    CHECK(pair.result);
    CHECK(pings == 1);
    pair.advance(1ms);
    REQUIRE_FALSE(pair.result);
    CHECK(pair.result.error().code == base::Errc::transport);
    CHECK_THAT(pair.result.error().detail, Contains("no answer to NOP-Out"));
    CHECK(pings == 1);
    CHECK(pair.session.statistics().timeout_err == 1);
    CHECK_FALSE(pair.session.deadline());
}

TEST_CASE("anything received counts as life", "[NOP-03]") {
    PairConfig config = ping_config();
    config.target.hold = true;
    Pair pair(config);
    bool mute = true;
    pair.target.intercept = [&mute](const wire::Bhs& header, base::Bytes) {
        return mute && header.opcode() == wire::Opcode::nop_out;
    };
    for (int i = 0; i < 20; ++i) { // The ping stays unanswered, but data flows.
        pair.advance(4s);
        Io io;
        io.read(0, 16);
        pair.submit(io.command);
        pair.run();
        pair.advance(2s);
        pair.target.execute();
        pair.run();
        REQUIRE(pair.result);
        REQUIRE(completions(pair.session).size() == 1);
    }
    CHECK(pair.session.statistics().noptx_pdus == 1);
}

TEST_CASE("without an interval nothing is due", "[NOP-03]") {
    Pair pair(wrapping_config());
    CHECK_FALSE(pair.session.deadline());
    CHECK(pair.session.at(base::TimePoint(1000h)));
    CHECK_FALSE(pair.send());
}

TEST_CASE("a clock called early does nothing", "[NOP-03]") {
    Pair pair(ping_config());
    CHECK(pair.session.at(base::TimePoint(1s)));
    CHECK_FALSE(pair.send());
    CHECK(pair.session.deadline() == base::TimePoint(5s));
}

TEST_CASE("a ping goes out through a closed window", "[NOP-03][SEQ-02]") {
    PairConfig config = ping_config();
    config.target.window = 0;
    config.session.numbers.max_cmd_sn = config.session.numbers.exp_cmd_sn - 1;
    Pair pair(config);
    Io io;
    io.read(0, 16);
    pair.submit(io.command);
    pair.advance(6s);
    REQUIRE(pair.result);
    CHECK(pair.session.statistics().noptx_pdus == 1);
    CHECK(pair.session.statistics().noprx_pdus == 1);
}

TEST_CASE("a NOP-In with a tag is answered with its tag and LUN", "[rfc7143-11.19][NOP-01]") {
    Pair pair(wrapping_config());
    pair.target.keep_log = true;
    wire::NopIn ping;
    ping.lun = 0x0203040506070809ULL;
    for (std::uint32_t ttt : {5U, 6U, 7U}) {
        ping.ttt = ttt;
        pair.target.send(pair.target.stamped(ping, FakeTarget::Status::shows));
    }
    pair.run();
    REQUIRE(pair.result);
    REQUIRE(pair.target.log.size() == 3);
    for (std::uint32_t i = 0; i < 3; ++i) {
        auto pong = base::load<wire::NopOut>(base::bytes_of_object(pair.target.log[i]));
        CHECK(pong.opcode_byte == 0x40);
        CHECK(pong.itt == base::reserved_tag);
        CHECK(pong.ttt == 5 + i);
        CHECK(pong.lun == ping.lun.get());
        CHECK(pong.cmd_sn == 0xfffffff0U);
        CHECK(pong.data_segment_length == 0U);
    }
    INFO(complaints(pair.target));
    CHECK(pair.target.violations.empty());
}

TEST_CASE("a NOP-In without tags is not answered, takes no StatSN, and still moves the window",
          "[rfc7143-11.19][NOP-02][SEQ-05]") {
    Pair pair(wrapping_config());
    pair.target.config.window = 100;
    pair.target.send(pair.target.stamped(wire::NopIn{}, FakeTarget::Status::shows));
    pair.run();
    REQUIRE(pair.result);
    CHECK(pair.session.statistics().noptx_pdus == 0);
    CHECK(pair.session.exp_stat_sn() == base::StatSn(0xfffffff0U));
    CHECK(pair.session.window().max() == base::CmdSn(0xfffffff0U) + 99);
}

TEST_CASE("a NOP-In for no NOP-Out of ours, or with data of its own, is refused", "[rfc7143-11.19][NOP-02]") {
    Pair pair(ping_config());
    wire::NopIn answer;
    SECTION("no ping is out") {
        answer.itt = session::ping_slot;
        pair.target.send(pair.target.stamped(answer));
        pair.run();
    }
    SECTION("data we did not send") {
        pair.target.tamper = [](wire::Bhs& header, std::vector<std::byte>& data) {
            data.resize(4);
            header.data_segment_length = 4;
        };
        pair.advance(5s);
    }
    REQUIRE_FALSE(pair.result);
    CHECK(pair.result.error().code == base::Errc::protocol);
}

TEST_CASE("a flood of NOP-Ins that nobody lets us answer ends the connection", "[NOP-01]") {
    Pair pair(wrapping_config());
    wire::NopIn ping;
    for (std::uint32_t ttt = 0; ttt < 17; ++ttt) {
        ping.ttt = ttt;
        pair.target.send(pair.target.stamped(ping, FakeTarget::Status::shows));
    }
    while (pair.receive()) {
    }
    REQUIRE_FALSE(pair.result);
    CHECK(pair.result.error().code == base::Errc::protocol);
}

TEST_CASE("statuses that no PDU of ours acknowledges are acknowledged by a NOP-Out",
          "[rfc7143-11.18][NOP-04]") {
    Pair pair(wrapping_config());
    pair.target.keep_log = true;
    wire::AsyncMessage vendor;
    vendor.async_event = 250;
    for (std::uint32_t i = 0; i < session::unacknowledged_max; ++i) {
        CHECK(pair.target.log.empty());
        pair.target.send(pair.target.stamped(vendor));
        pair.run();
    }
    REQUIRE(pair.target.log.size() == 1);
    CHECK(pair.target.log[0].itt == base::reserved_tag);
    CHECK(pair.target.acknowledged == pair.target.stat_sn);
    INFO(complaints(pair.target));
    CHECK(pair.target.violations.empty());
}

} // namespace
} // namespace iscsi::testing

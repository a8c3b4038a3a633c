#include "login/text_exchange.hpp"
#include "support/fake_login_target.hpp"

#include <catch2/catch.hpp>

using namespace std::chrono_literals;
using iscsi::base::Errc;
using iscsi::login::TextExchange;
using iscsi::login::TextExchangeConfig;
using iscsi::test::drain;
using iscsi::test::feed;
using iscsi::test::Feeding;
using iscsi::test::parse_one;
using iscsi::test::pdu_bytes;
namespace base = iscsi::base;
namespace wire = iscsi::wire;

namespace {

TextExchangeConfig config() {
    TextExchangeConfig result;
    result.numbers = {base::CmdSn(5), base::CmdSn(5), base::CmdSn(5), base::StatSn(0xffffffff)};
    result.cid = base::Cid(2);
    result.exchange_timeout = 30s;
    result.now = base::TimePoint(100s);
    return result;
}

wire::TextResponse answer(std::uint32_t ttt, std::uint32_t stat_sn = 0xffffffff) {
    wire::TextResponse response;
    response.flags = ttt == base::reserved_tag ? wire::final_bit : 0;
    response.itt = 1;
    response.ttt = ttt;
    response.lun = ttt == base::reserved_tag ? 0 : 0xabcdULL;
    response.stat_sn = stat_sn;
    return response;
}

template <class Pdu>
Errc give(TextExchange& engine, const Pdu& pdu, std::string_view text = {}, Feeding how = Feeding::whole,
          base::TimePoint now = base::TimePoint(101s)) {
    auto taken = feed(engine, pdu_bytes(pdu, text), how, now);
    return taken ? Errc::unknown : taken.error().code;
}

constexpr Errc fine = Errc::unknown;

} // namespace

TEST_CASE("a discovery asks, collects and logs out", "[rfc7143-11.10][DISC-01][DISC-02][DISC-03][DISC-06]") {
    auto how = GENERATE(Feeding::whole, Feeding::byte_by_byte, Feeding::random_splits);
    TextExchange engine(config());
    auto ask = parse_one<wire::TextRequest>(drain(engine));
    REQUIRE(ask.has_value());
    CHECK(ask->header.opcode_byte == 0x44);
    CHECK(ask->header.flags == 0x80);
    CHECK(ask->header.ttt == base::reserved_tag);
    CHECK(ask->header.cmd_sn == 5);
    CHECK(ask->header.exp_stat_sn == 0xffffffff);
    CHECK(ask->text == std::string("SendTargets=All\0", 16));

    wire::TextResponse part = answer(0x77);
    part.flags = wire::text_flag::continues;
    REQUIRE(give(engine, part, "TargetNa", how) == fine);
    CHECK_FALSE(engine.text_complete());
    auto more = parse_one<wire::TextRequest>(drain(engine));
    REQUIRE(more.has_value());
    CHECK(more->header.flags == 0x80);
    CHECK(more->header.ttt == 0x77);
    CHECK(more->header.lun == 0xabcd);
    CHECK(more->header.itt == ask->header.itt);
    CHECK(more->header.exp_stat_sn == 0);
    CHECK(more->text.empty());

    REQUIRE(give(engine, answer(base::reserved_tag, 0), std::string_view("me=x\0", 5), how) == fine);
    CHECK(engine.text_complete());
    CHECK_FALSE(engine.finished());
    CHECK(engine.text() == std::string("TargetName=x\0", 13));
    auto logout = parse_one<wire::LogoutRequest>(drain(engine));
    REQUIRE(logout.has_value());
    CHECK(logout->header.opcode_byte == 0x46);
    CHECK(logout->header.flags == 0x80);
    CHECK(logout->header.cid == 2);
    CHECK(logout->header.exp_stat_sn == 1);

    wire::LogoutResponse closed;
    closed.itt = logout->header.itt;
    REQUIRE(give(engine, closed, {}, how) == fine);
    CHECK(engine.finished());
    CHECK_FALSE(engine.deadline().has_value());
    CHECK(engine.rx_spans().direct.empty());
}

TEST_CASE("a ping in between is answered with its own data", "[rfc7143-11.19][DISC-06]") {
    TextExchange engine(config());
    drain(engine);
    wire::NopIn ping;
    ping.ttt = 9;
    ping.lun = 3;
    REQUIRE(give(engine, ping, "hello") == fine);
    auto pong = parse_one<wire::NopOut>(drain(engine));
    REQUIRE(pong.has_value());
    CHECK(pong->header.opcode_byte == 0x40);
    CHECK(pong->header.itt == base::reserved_tag);
    CHECK(pong->header.ttt == 9);
    CHECK(pong->header.lun == 3);
    CHECK(pong->text == "hello");
    ping.ttt = base::reserved_tag;
    CHECK(give(engine, ping) == fine);
    CHECK(drain(engine).empty());
    CHECK(give(engine, answer(base::reserved_tag)) == fine);
}

TEST_CASE("a flood of pings that reads no answers ends the connection", "[limits]") {
    TextExchange engine(config());
    wire::NopIn ping;
    ping.ttt = 9;
    Errc result = fine;
    int count = 0;
    while (result == fine && count++ < 1000) {
        result = give(engine, ping);
    }
    CHECK(result == Errc::protocol);
}

TEST_CASE("asynchronous messages are borne unless the target drops us", "[rfc7143-11.9]") {
    TextExchange engine(config());
    drain(engine);
    wire::AsyncMessage message;
    for (unsigned event : {0U, 1U, 4U, 255U}) {
        message.async_event = static_cast<std::uint8_t>(event);
        CHECK(give(engine, message) == fine);
    }
    message.async_event = static_cast<std::uint8_t>(GENERATE(2, 3));
    CHECK(give(engine, message) == Errc::disconnected);
}

TEST_CASE("what breaks the exchange ends it", "[rfc7143-11.11][DISC-03]") {
    TextExchange engine(config());
    drain(engine);
    wire::TextResponse response = answer(base::reserved_tag);
    SECTION("another task") {
        response.itt = 7;
    }
    SECTION("final, but with a transfer tag") {
        response.ttt = 1;
    }
    SECTION("not final, but without one") {
        response.flags = 0;
    }
    SECTION("final and continued") {
        response.flags = wire::final_bit | wire::text_flag::continues;
    }
    SECTION("a Reject") {
        response.opcode_byte = 0x3f;
    }
    SECTION("a Data-In") {
        response.opcode_byte = 0x25;
    }
    SECTION("a Logout Response before the request") {
        response.opcode_byte = 0x26;
        response.itt = 2;
    }
    SECTION("a Login Response") {
        response.opcode_byte = 0x23;
    }
    CHECK(give(engine, response) == Errc::protocol);
}

TEST_CASE("a segment longer than declared is refused", "[rfc7143-13.12]") {
    TextExchange engine(config());
    drain(engine);
    CHECK(give(engine, answer(base::reserved_tag), std::string(8193, 'x')) == Errc::protocol);
}

TEST_CASE("an answer without end is given up", "[limits][DISC-03]") {
    TextExchangeConfig wide = config();
    wide.connection.max_recv_data_segment_bytes = 1 << 20;
    std::string part(GENERATE(0U, 1U << 20), 'x');
    TextExchange engine(wide);
    Errc result = fine;
    int count = 0;
    for (; result == fine && count < 1000; ++count) {
        drain(engine);
        result = give(engine, answer(0x77), part);
    }
    CHECK(result == Errc::protocol);
    CHECK(engine.text().size() <= 16U << 20);
}

TEST_CASE("each exchange has its own deadline, which pings do not move", "[rfc7143-11.10]") {
    TextExchange engine(config());
    drain(engine);
    CHECK(engine.deadline() == base::TimePoint(130s));
    wire::NopIn ping;
    ping.ttt = 1;
    REQUIRE(give(engine, ping, {}, Feeding::whole, base::TimePoint(110s)) == fine);
    CHECK(engine.deadline() == base::TimePoint(130s));
    REQUIRE(give(engine, answer(0x77), "x", Feeding::whole, base::TimePoint(120s)) == fine);
    CHECK(engine.deadline() == base::TimePoint(150s));
    CHECK(engine.at(base::TimePoint(149s)).has_value());
    auto late = engine.at(base::TimePoint(150s));
    REQUIRE_FALSE(late.has_value());
    CHECK(late.error().code == Errc::pdu_timeout);
}

#include "base/limits.hpp"
#include "isns/exchange.hpp"
#include "isns_bytes.hpp"
#include "support/fake_login_target.hpp"

#include <catch2/catch.hpp>

using namespace std::chrono_literals;
using iscsi::base::Errc;
using iscsi::isns::Exchange;
using iscsi::isns::Message;
using iscsi::isns::Status;
using iscsi::test::bytes_from;
using iscsi::test::drain;
using iscsi::test::feed;
using iscsi::test::Feeding;
namespace base = iscsi::base;
namespace isns = iscsi::isns;

namespace {

constexpr base::TimePoint start{100s};
constexpr const char* fine = "0001 8002 0004 4c00 0001 0000 00000000";
constexpr const char* inquiry = "0001 000d 0000 4c00 0009 0000";
constexpr const char* change = "0001 0008 000c 4c00 0009 0000 00000023 00000004 00000008";

} // namespace

TEST_CASE("requests and answers take turns", "[rfc4171-5.1.5]") {
    auto how = GENERATE(Feeding::whole, Feeding::byte_by_byte, Feeding::random_splits);
    Exchange engine("iqn.us", 30s);
    CHECK(engine.finished());
    CHECK(engine.rx_spans().direct.empty());
    for (unsigned turn = 1; turn <= 3; ++turn) {
        engine.ask(isns::query_targets("iqn.us"), start);
        CHECK_FALSE(engine.finished());
        Message sent = *isns::decode_datagram(drain(engine));
        CHECK(sent.transaction == turn);
        CHECK(sent.payload == isns::query_targets("iqn.us").payload);
        auto answer = bytes_from(fine);
        answer[9] = static_cast<std::byte>(turn);
        REQUIRE(feed(engine, answer, how).has_value());
        CHECK(engine.finished());
        CHECK(isns::status_of(engine.answer()) == Status::successful);
        CHECK_FALSE(engine.deadline().has_value());
        CHECK(engine.rx_spans().direct.empty());
    }
    CHECK_FALSE(engine.take_changed());
}

TEST_CASE("what the server says in between is answered", "[rfc4171-2.9.1]") {
    Exchange engine("iqn.us", 30s);
    engine.ask(isns::query_targets("iqn.us"), start);
    drain(engine);
    REQUIRE(feed(engine, bytes_from(std::string(inquiry) + change + fine)).has_value());
    CHECK_FALSE(engine.finished()); // our answers are still to be sent
    CHECK(engine.deadline() == start + 30s);
    CHECK(drain(engine) ==
          bytes_from("0001 800d 0004 8c00 0009 0000 00000000"
                     "0001 8008 0014 8c00 0009 0000 00000000 00000020 00000008 'iqn.us' 0000"));
    CHECK(engine.finished());
    CHECK(engine.take_changed());
    CHECK_FALSE(engine.take_changed());
}

TEST_CASE("an answer has its time, whatever else is said meanwhile", "[deadline]") {
    Exchange engine("iqn.us", 30s);
    engine.ask(isns::query_targets("iqn.us"), start);
    drain(engine);
    REQUIRE(feed(engine, bytes_from(inquiry), Feeding::whole, start + 29s).has_value());
    CHECK(engine.deadline() == start + 30s);
    CHECK(engine.at(start + 29s).has_value());
    auto late = engine.at(start + 30s);
    REQUIRE_FALSE(late.has_value());
    CHECK(late.error().code == Errc::pdu_timeout);
}

TEST_CASE("an answer to something else ends the exchange", "[hostile]") {
    auto text = GENERATE("0001 8002 0004 4c00 0002 0000 00000000", "0001 8001 0004 4c00 0001 0000 00000000");
    Exchange engine("iqn.us", 30s);
    engine.ask(isns::query_targets("iqn.us"), start);
    drain(engine);
    auto taken = feed(engine, bytes_from(text));
    REQUIRE_FALSE(taken.has_value());
    CHECK(taken.error().code == Errc::protocol);
}

TEST_CASE("a server that talks and does not answer is not listened to for ever", "[limits]") {
    Exchange engine("iqn.us", 30s);
    engine.ask(isns::query_targets("iqn.us"), start);
    std::size_t heard = 0;
    while (heard <= 1000 && feed(engine, bytes_from(inquiry)).has_value()) {
        ++heard;
    }
    CHECK(heard == base::limits::isns_unasked_max);
}

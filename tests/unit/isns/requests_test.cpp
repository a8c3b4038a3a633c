#include "isns/requests.hpp"
#include "isns_bytes.hpp"

#include <catch2/catch.hpp>

using iscsi::base::DiscoveredPortal;
using iscsi::base::Errc;
using iscsi::isns::Message;
using iscsi::isns::Registration;
using iscsi::isns::Status;
using iscsi::test::bytes_from;
using iscsi::test::message_from;
namespace base = iscsi::base;
namespace isns = iscsi::isns;

namespace {

constexpr const char* us = "00000020 00000008 'iqn.us' 0000";

Registration registration() {
    Registration result;
    result.entity = "entity";
    result.nodes = {"iqn.us"};
    result.alias = "a";
    result.address = base::load<isns::Address>(bytes_from("00000000 00000000 0000ffff c0000201"));
    result.udp_port = 0x1234;
    result.inquiry_interval_s = 60;
    return result;
}

std::vector<std::byte> bytes_behind(const char* first, const char* rest) {
    return bytes_from(std::string(first) + rest);
}

/// A successful answer to a query for targets with these operating attributes.
Message targets_answer(const std::string& attributes) {
    Message message;
    message.function = 0x8002;
    message.payload = bytes_from("00000000 00000021 00000004 00000001 00000000 00000000" + attributes);
    return message;
}

const std::string disk_name = "00000030 00000008 'iqn.1' 000000";
const std::string disk_address = "00000031 00000010 00000000 00000000 0000ffff c0000201";
const std::string disk_port = "00000032 00000004 00000cbc";
const std::string disk_tag = "00000033 00000004 00000001";

} // namespace

TEST_CASE("an initiator is registered with its entity, portal and node", "[rfc4171-5.6.5.1]") {
    Message message = isns::register_initiator(registration());
    CHECK(message.function == 1);
    CHECK(message.flags == 0x9000); // client, replace
    CHECK(message.payload == bytes_behind(us, "00000001 00000008 'entity' 0000"
                                              "00000000 00000000"
                                              "00000001 00000008 'entity' 0000"
                                              "00000002 00000004 00000002"
                                              "00000010 00000010 00000000 00000000 0000ffff c0000201"
                                              "00000011 00000004 00011234"
                                              "00000013 00000004 0000003c"
                                              "00000014 00000004 00011234"
                                              "00000017 00000004 00011234"
                                              "00000020 00000008 'iqn.us' 0000"
                                              "00000021 00000004 00000002"
                                              "00000022 00000004 'a' 000000"));
    Registration quiet = registration();
    quiet.inquiry_interval_s = 0;
    quiet.alias.clear();
    CHECK(isns::register_initiator(quiet).payload.size() == message.payload.size() - 12 - 12 - 12);
}

TEST_CASE("the other requests name who asks and what about", "[rfc4171-5.6.5]") {
    CHECK(isns::register_node("iqn.us").payload == bytes_behind(us, "00000000 00000000"
                                                                    "00000020 00000008 'iqn.us' 0000"
                                                                    "00000021 00000004 00000002"));
    CHECK(isns::register_for_changes("iqn.us").payload == bytes_behind(us, "00000020 00000008 'iqn.us' 0000"
                                                                           "00000000 00000000"
                                                                           "00000023 00000004 0000005c"));
    CHECK(isns::query_targets("iqn.us").payload ==
          bytes_behind(us, "00000021 00000004 00000001 00000000 00000000"
                           "00000020 00000000 00000021 00000000 00000010 00000000 00000011 00000000"
                           "00000030 00000000 00000031 00000000 00000032 00000000 00000033 00000000"));
    CHECK(isns::query_entity("iqn.us", "entity").payload ==
          bytes_behind(us, "00000001 00000008 'entity' 0000 00000000 00000000 00000001 00000000"));
    CHECK(isns::deregister_entity("iqn.us", "entity").payload ==
          bytes_behind(us, "00000000 00000000 00000001 00000008 'entity' 0000"));
    CHECK(isns::deregister_node("iqn.us").payload ==
          bytes_behind(us, "00000000 00000000 00000020 00000008 'iqn.us' 0000"));
    CHECK(isns::deregister_node("iqn.us").function == 4);
    CHECK(isns::register_for_changes("iqn.us").function == 5);
}

TEST_CASE("what isnsd answers is read", "[rfc4171-5.7.5.2]") {
    // As Debian's isnsd 0.101 sent it.
    Message answer = message_from("0001 8002 00c0 4c00 0001 0000"
                                  "00000000 00000021 00000004 00000001 00000000 00000000"
                                  "00000020 0000001c 'iqn.2026-01.org.example:t1' 0000"
                                  "00000021 00000004 00000001"
                                  "00000010 00000010 00000000 00000000 00000000 7f000001"
                                  "00000011 00000004 00005adc"
                                  "00000030 0000001c 'iqn.2026-01.org.example:t1' 0000"
                                  "00000031 00000010 00000000 00000000 00000000 7f000001"
                                  "00000032 00000004 00005adc"
                                  "00000033 00000004 00000001");
    REQUIRE(isns::status_of(answer) == Status::successful);
    auto targets = isns::read_targets(answer);
    REQUIRE(targets.has_value());
    CHECK(targets->portals ==
          std::vector<DiscoveredPortal>{{"iqn.2026-01.org.example:t1", "127.0.0.1", 23260, 1}});
    CHECK(targets->rejected.empty());
}

TEST_CASE("each portal group is a way to a target", "[rfc4171-3.4][rfc4171-6.5]") {
    const std::string address6 = "00000031 00000010 20010db8 00000000 00000000 00000001";
    auto targets =
        isns::read_targets(targets_answer(disk_name + disk_address + disk_port + disk_tag + disk_name +
                                          address6 + "00000032 00000004 00000000 00000033 00000004 abcdffff" +
                                          disk_name + disk_address + disk_port + disk_tag));
    REQUIRE(targets.has_value());
    CHECK(targets->portals == std::vector<DiscoveredPortal>{{"iqn.1", "192.0.2.1", 3260, 1},
                                                            {"iqn.1", "2001:db8::1", 3260, 65535}});
    CHECK(targets->rejected.empty());
    CHECK(isns::read_targets(targets_answer(""))->portals.empty());
}

TEST_CASE("a group without a tag is no way, and is not complained of", "[rfc4171-6.5.4]") {
    auto targets =
        isns::read_targets(targets_answer(disk_name + disk_address + disk_port + "00000033 00000000"));
    REQUIRE(targets.has_value());
    CHECK(targets->portals.empty());
    CHECK(targets->rejected.empty());
}

TEST_CASE("what cannot be used is left out and said", "[hostile][NAME-06]") {
    const std::string whole = disk_name + disk_address + disk_port + disk_tag;
    const std::string place = disk_address + disk_port + disk_tag;
    const std::vector<std::string> wrong{
        disk_name,
        disk_name + disk_address + disk_tag,
        place + disk_name + disk_tag,
        "00000030 00000008 '../../x' 00" + place,
        "00000030 00000008 'a\nb' 0000000000" + place,
        "00000030 00000004 00000000" + place,
        "00000030 00000000" + place,
        disk_name + "00000031 00000004 c0000201" + disk_port + disk_tag,
        disk_name + disk_address + "00000032 00000004 00010cbc" + disk_tag,
    };
    for (const std::string& attributes : wrong) {
        CAPTURE(attributes);
        auto targets = isns::read_targets(targets_answer(attributes + whole));
        REQUIRE(targets.has_value());
        CHECK(targets->portals.size() == 1);
        REQUIRE(targets->rejected.size() == 1);
        CHECK(targets->rejected[0].find('\n') == std::string::npos);
    }
}

TEST_CASE("an answer whose lengths lie is no answer", "[hostile]") {
    auto targets =
        isns::read_targets(targets_answer(disk_name + disk_address + "00000032 7ffffffc 00000cbc"));
    REQUIRE_FALSE(targets.has_value());
    CHECK(targets.error().code == Errc::protocol);
    Message empty;
    CHECK(isns::status_of(empty).error().code == Errc::protocol);
    CHECK(isns::read_targets(empty)->portals.empty());
}

TEST_CASE("a registration says for how long it holds", "[rfc4171-6.2.6][rfc4171-6.3.4]") {
    Message answer;
    answer.payload = bytes_from("00000000 00000001 00000008 'entity' 0000 00000000 00000000"
                                "00000001 00000008 'entity' 0000 00000006 00000004 00000258"
                                "00000013 00000004 0000000a");
    auto registered = isns::read_registered(answer);
    REQUIRE(registered.has_value());
    CHECK(registered->period_s == 600);
    CHECK(registered->inquiry_interval_s == 10);
    answer.payload.resize(answer.payload.size() - 4);
    CHECK_FALSE(isns::read_registered(answer).has_value());
}

TEST_CASE("an entity is known or not", "[rfc4171-6.3.4]") {
    Message answer;
    answer.payload = bytes_from("00000000 00000001 00000008 'entity' 0000 00000000 00000000");
    CHECK(isns::knows_entity(answer) == false);
    auto found = bytes_from("00000001 00000008 'entity' 0000");
    answer.payload.insert(answer.payload.end(), found.begin(), found.end());
    CHECK(isns::knows_entity(answer) == true);
    answer.payload[3] = std::byte{9};
    CHECK(isns::knows_entity(answer) == false);
    answer.payload.clear();
    CHECK_FALSE(isns::knows_entity(answer).has_value());
}

TEST_CASE("a change is heard and confirmed", "[rfc4171-5.6.5.8][rfc4171-5.7.5.8]") {
    // As Debian's isnsd 0.101 sent it, with its client flag.
    Message change = message_from("0001 0008 0038 8c00 0001 0000"
                                  "00000020 00000008 'iqn.us' 0000"
                                  "00000004 00000008 00000000 6b02f186"
                                  "00000023 00000004 0000000c"
                                  "00000020 00000004 'iqn' 00");
    auto reaction = isns::react(change, "iqn.us");
    REQUIRE(reaction.has_value());
    CHECK(reaction->unasked.changed);
    CHECK(reaction->unasked.what == "iqn added");
    CHECK(isns::encode(reaction->answer) ==
          bytes_from("0001 8008 0014 8c00 0001 0000 00000000 00000020 00000008 'iqn.us' 0000"));
    change.payload.resize(change.payload.size() - 24);
    CHECK(isns::react(change, "iqn.us").error().code == Errc::protocol);
}

TEST_CASE("a thousand changes are one line", "[limits]") {
    Message change;
    change.function = 8;
    for (unsigned i = 0; i < 1000; ++i) {
        auto one = bytes_from("00000023 00000004 00000010 00000020 00000008 'a\n\x1b' 0000000000");
        change.payload.insert(change.payload.end(), one.begin(), one.end());
    }
    auto reaction = isns::react(change, "iqn.us");
    REQUIRE(reaction.has_value());
    CHECK(reaction->unasked.what.find("removed") != std::string::npos);
    CHECK(reaction->unasked.what.find("and 992 more") != std::string::npos);
    CHECK(reaction->unasked.what.find('\n') == std::string::npos);
    CHECK(reaction->unasked.what.size() < 300);
}

TEST_CASE("an inquiry is answered with its own attributes", "[rfc4171-5.6.5.13][rfc4171-5.7.5.13]") {
    Message inquiry = message_from("0001 000d 0014 4c00 0002 0000 00000004 00000008 00000000 6b02f190"
                                   "00000000");
    CHECK_FALSE(isns::react(inquiry, "iqn.us").has_value());
    inquiry.payload.resize(16);
    auto reaction = isns::react(inquiry, "iqn.us");
    REQUIRE(reaction.has_value());
    CHECK(reaction->unasked.inquired);
    CHECK_FALSE(reaction->unasked.changed);
    CHECK(isns::encode(reaction->answer) ==
          bytes_from("0001 800d 0014 8c00 0002 0000 00000000 00000004 00000008 00000000 6b02f190"));
}

TEST_CASE("another request is answered that it is not supported, an answer not at all", "[rfc4171-5.4]") {
    auto reaction = isns::react(message_from("0001 0001 0000 4c00 0005 0000"), "iqn.us");
    REQUIRE(reaction.has_value());
    CHECK_FALSE(reaction->unasked.changed);
    CHECK(isns::encode(reaction->answer) == bytes_from("0001 8001 0004 8c00 0005 0000 0000000f"));
    CHECK_FALSE(isns::react(message_from("0001 8001 0004 4c00 0005 0000 00000000"), "iqn.us").has_value());
}

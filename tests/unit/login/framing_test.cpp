// The Login PDUs themselves: the fields of every request, what a response may carry in each stage, and that a
// login changes nothing before it is whole (RFC 7143 sections 6.3, 11.12, 11.13).
#include "unit/login/login_bench.hpp"

#include <catch2/catch.hpp>
#include <set>

using iscsi::base::Errc;
using iscsi::login::LoginConfig;
using iscsi::login::Negotiated;
using iscsi::test::drain;
using iscsi::test::failure;
using iscsi::test::FakeLoginTarget;
using iscsi::test::feed;
using iscsi::test::LoginAnswer;
using iscsi::test::LoginSeen;
using iscsi::test::make;
using iscsi::test::normal;
using iscsi::test::parse_one;
using iscsi::test::with_chap;
namespace base = iscsi::base;
namespace wire = iscsi::wire;

namespace {

constexpr std::uint8_t transit = 0x80;
constexpr std::uint8_t continues = 0x40;

/// An answer whose text is too long for ours to fit one request: two of ours, at least.
std::string many_unknown_keys() {
    std::string text;
    for (int i = 0; i < 120; ++i) {
        std::string name = "X-" + std::to_string(1000 + i);
        name.resize(63, 'x');
        text += name + "=\n";
    }
    return text;
}

} // namespace

TEST_CASE("all requests of a login are one task of one connection",
          "[login][LOGIN-03][LOGIN-04][LOGIN-05][LOGIN-08][UNH-LOGIN-4.1][UNH-LOGIN-4.2][UNH-LOGIN-5.1]"
          "[UNH-LOGIN-7.1]") {
    FakeLoginTarget target;
    target.first_stat_sn = GENERATE(0U, 1U, 77U, 0x7fffffffU, 0xfffffffdU, 0xffffffffU);
    target.edit = [](LoginAnswer& answer, std::size_t number) {
        if (number == 3) { // the first of the operational stage: so many questions that our text is cut
            answer.header.flags = 0x04;
            answer.header.tsih = 0;
            answer.text += many_unknown_keys();
        }
    };
    LoginConfig config = with_chap(true);
    config.cid = base::Cid(0x5aa5);
    REQUIRE(target.run(*make(config)).has_value());
    REQUIRE(target.requests.size() == 6);
    for (std::size_t i = 0; i < target.requests.size(); ++i) {
        CAPTURE(i);
        const wire::LoginRequest& header = target.requests[i].header;
        const wire::LoginRequest& first = target.requests[0].header;
        CHECK(header.opcode_byte == 0x43);
        CHECK(header.version_max == 0);
        CHECK(header.version_min == 0);
        CHECK(header.total_ahs_length == 0);
        CHECK(header.isid == 0x80123456789aULL);
        CHECK(header.tsih == 0);
        CHECK(header.cid == 0x5aa5);
        CHECK(header.itt == first.itt);
        CHECK(header.itt != base::reserved_tag);
        CHECK(header.cmd_sn == 77);
        CHECK(header.exp_stat_sn == (i == 0 ? 0 : target.first_stat_sn + static_cast<std::uint32_t>(i)));
        CHECK((header.flags & (transit | continues)) != (transit | continues));
        CHECK((header.flags & 0x30) == 0);
    }
}

TEST_CASE("one request is outstanding at a time", "[login][LOGIN-01]") {
    auto engine = make(with_chap(true));
    auto request = parse_one<wire::LoginRequest>(drain(*engine));
    REQUIRE(request.has_value());
    REQUIRE(drain(*engine).empty());
    // Half an answer is none.
    wire::LoginResponse response;
    REQUIRE(feed(*engine, base::bytes_of_object(response).first(24)).has_value());
    CHECK(drain(*engine).empty());

    FakeLoginTarget target;
    auto whole = make(with_chap(true));
    std::size_t exchanges = 0;
    for (; !whole->finished(); ++exchanges) {
        REQUIRE(target.exchange(*whole).has_value()); // which takes exactly one request
    }
    CHECK(exchanges == target.requests.size());
    CHECK(drain(*whole).empty());
}

TEST_CASE("whatever else a target sends during login ends the connection",
          "[login][LOGIN-02][UNH-LOGIN-8.1]") {
    std::size_t when = GENERATE(0, 1);
    for (unsigned opcode = 0; opcode < 0x40; ++opcode) {
        if (opcode == 0x23) {
            continue;
        }
        CAPTURE(opcode, when);
        FakeLoginTarget target;
        target.edit = [&](LoginAnswer& answer, std::size_t number) {
            if (number == when) {
                answer.header.opcode_byte = static_cast<std::uint8_t>(opcode);
            }
        };
        CHECK(failure(target).code == Errc::protocol);
        CHECK(target.requests.size() == when + 1);
    }
}

TEST_CASE("of all that the flags of a response can say, only what the request allows is taken",
          "[login][LOGIN-07][UNH-LOGIN-3.1]") {
    std::size_t when = GENERATE(0, 1);
    std::set<unsigned> taken;
    for (unsigned flags = 0; flags < 0x100; ++flags) {
        FakeLoginTarget target;
        target.edit = [&](LoginAnswer& answer, std::size_t number) {
            if (number == when) {
                answer.header.flags = static_cast<std::uint8_t>(flags);
            }
        };
        auto engine = make(normal());
        bool good = true;
        for (std::size_t i = 0; i <= when && good; ++i) {
            auto exchanged = target.exchange(*engine);
            good = exchanged.has_value();
        }
        CHECK(engine->finished() == (good && when == 1 && (flags & transit) != 0));
        if (good) {
            taken.insert(flags & ~0x30U); // reserved bits mean nothing
        }
    }
    // The stage of the request; on to the next one, or not yet (then the next stage is reserved), or more
    // text.
    std::set<unsigned> allowed =
        when == 0 ? std::set<unsigned>{0x81, 0x00, 0x01, 0x02, 0x03, 0x40, 0x41, 0x42, 0x43}
                  : std::set<unsigned>{0x87, 0x04, 0x05, 0x06, 0x07, 0x44, 0x45, 0x46, 0x47};
    CHECK(taken == allowed);
}

TEST_CASE("a target that takes its time in a stage is followed for many exchanges",
          "[login][LOGIN-10][UNH-LOGIN-3.2]") {
    std::size_t exchanges = GENERATE(1, 6, 20, 60);
    FakeLoginTarget target;
    target.edit = [&](LoginAnswer& answer, std::size_t number) {
        if (number >= 1 && number < exchanges) {
            answer.header.flags = 0x04;
            answer.header.tsih = 0;
        }
    };
    REQUIRE(target.run(*make(normal())).has_value());
    CHECK(target.requests.size() == std::max<std::size_t>(exchanges, 1) + 1);
    for (std::size_t i = 1; i < target.requests.size(); ++i) {
        CHECK(target.requests[i].header.flags == 0x87);
        CHECK((i == 1) != target.requests[i].text.empty());
    }
}

TEST_CASE("the segment length that is declared in a login does not hold in it", "[login][LOGIN-06]") {
    FakeLoginTarget target;
    SECTION("neither for us: our text is cut at 8192 bytes all the same") {
        target.edit = [](LoginAnswer& answer, std::size_t number) {
            if (number == 1) {
                CHECK_THAT(answer.text, Catch::Contains("MaxRecvDataSegmentLength=65536"));
                answer.header.flags = 0x04;
                answer.header.tsih = 0;
                answer.text += many_unknown_keys();
            }
        };
        REQUIRE(target.run(*make(normal())).has_value());
        CHECK(target.requests[2].text.size() == 8192);
        CHECK(target.requests[2].header.flags == (continues | 0x04));
    }
    SECTION("nor for the target: a longer segment is refused, one of 8192 bytes taken") {
        std::size_t length = GENERATE(8192, 8193);
        target.edit = [&](LoginAnswer& answer, std::size_t number) {
            if (number == 1) {
                answer.header.flags = continues | 0x04;
                answer.header.tsih = 0;
            } else if (number == 2) {
                answer.text = "X-a=" + std::string(1000, 'x') + "\n" + "X-b=" + std::string(2000, 'x') +
                              "\n" + "X-c=" + std::string(2000, 'x') + "\n" +
                              "X-d=" + std::string(2000, 'x') + "\n" + "X-e=";
                answer.text.resize(length - 1, 'y');
                answer.text += '\n';
                answer.header.flags = 0x04;
                answer.header.tsih = 0;
            }
        };
        auto ran = target.run(*make(normal()));
        CHECK(ran.has_value() == (length == 8192));
        CHECK(target.requests.size() == (length == 8192 ? 4U : 3U));
    }
}

TEST_CASE("a new session needs a handle, and any but zero is one",
          "[login][LOGIN-12][UNH-LOGIN-2.1][UNH-LOGIN-2.2]") {
    auto tsih = GENERATE(as<std::uint16_t>{}, 0, 1, 0x8000, 0xffff);
    FakeLoginTarget target;
    target.tsih = tsih;
    auto engine = make(normal());
    auto ran = target.run(*engine);
    CHECK(ran.has_value() == (tsih != 0));
    CHECK(engine->finished() == (tsih != 0));
    CHECK(engine->tsih() == base::Tsih(tsih));
    if (!ran) {
        CHECK(ran.error().code == Errc::protocol);
    }
}

TEST_CASE("a login that fails in its last response has changed nothing", "[login][LOGIN-16][ERL-05]") {
    FakeLoginTarget target;
    target.operational = {{"MaxBurstLength", "4096"}, {"FirstBurstLength", "512"}, {"InitialR2T", "Yes"}};
    int fault = GENERATE(0, 1, 2);
    target.edit = [&](LoginAnswer& answer, std::size_t number) {
        if (number == 1) {
            answer.header.tsih = static_cast<std::uint16_t>(fault == 0 ? 0 : 0x1234);
            answer.header.status = static_cast<std::uint16_t>(fault == 1 ? 0x0300 : 0);
            answer.text += fault == 2 ? "DataPDUInOrder=Yes\n" : "";
        }
    };
    auto engine = make(normal());
    REQUIRE_FALSE(target.run(*engine).has_value());
    CHECK(engine->negotiated().session.max_burst_bytes == Negotiated().session.max_burst_bytes);
    CHECK(engine->negotiated().session.first_burst_bytes == Negotiated().session.first_burst_bytes);
    CHECK(engine->negotiated().connection.max_xmit_data_segment_bytes == 8192);
    CHECK(engine->tsih() == base::Tsih());
    CHECK(engine->sequence_numbers().max_cmd_sn == base::CmdSn());
}

TEST_CASE("a portal group tag may be any number of 16 bits, and is compared when one is expected",
          "[login][LOGIN-13][KEY-TargetPortalGroupTag]") {
    struct Row {
        const char* said;
        std::int32_t expected;
        Errc code; ///< unknown: fine
    };
    const auto row = GENERATE(
        Row{"0", -1, Errc::unknown}, Row{"0", 0, Errc::unknown}, Row{"65535", 65535, Errc::unknown},
        Row{"0", 1, Errc::fatal_login}, Row{"1", 0, Errc::fatal_login}, Row{"65536", -1, Errc::protocol},
        Row{"-1", -1, Errc::protocol}, Row{"", -1, Errc::protocol}, Row{"Reject", -1, Errc::protocol});
    CAPTURE(row.said, row.expected);
    FakeLoginTarget target;
    target.security_text = std::string("TargetPortalGroupTag=") + row.said + "\nAuthMethod=None\n";
    LoginConfig config = normal();
    config.expected_tpgt = row.expected;
    auto ran = target.run(*make(config));
    CHECK((ran ? Errc::unknown : ran.error().code) == row.code);
}

TEST_CASE("a method of authentication that was not offered is refused",
          "[login][KEY-AuthMethod][CHAP-09][UNH-LOGIN-7.2][UNH-LOGIN-7.3][UNH-LOGIN-22.1]") {
    auto answer =
        GENERATE("CHAP", "SRP", "KRB5", "None,CHAP", "none", "Reject", "NotUnderstood", "Irrelevant", "");
    bool chap = GENERATE(false, true);
    std::string wanted = chap ? "CHAP" : "None";
    if (answer == wanted) {
        return;
    }
    CAPTURE(answer, chap);
    FakeLoginTarget target;
    target.security_text = std::string("AuthMethod=") + answer + "\nTargetPortalGroupTag=1\n";
    CHECK(failure(target, chap ? with_chap(false) : normal()).code == Errc::authentication);
    CHECK(target.requests.size() == 1);
    CHECK(target.requests[0].value("AuthMethod") == wanted);
}

TEST_CASE("keys that only initiators declare are refused from a target",
          "[login][LOGIN-15][KEY-SessionType][KEY-InitiatorName][KEY-TargetName][UNH-LOGIN-21.1]") {
    auto text =
        GENERATE("InitiatorName=iqn.2026-01.example:x\n", "InitiatorAlias=x\n", "SessionType=Normal\n",
                 "SessionType=Discovery\n", "TargetName=iqn.2026-01.example:disk\n", "SendTargets=All\n");
    std::size_t when = GENERATE(0, 1);
    FakeLoginTarget target;
    target.edit = [&](LoginAnswer& answer, std::size_t number) { answer.text += number == when ? text : ""; };
    CHECK(failure(target).code == Errc::protocol);
    CHECK(target.requests.size() == when + 1);
}

TEST_CASE(
    "the session's type and names are said once, in the first request",
    "[login][LOGIN-11][KEY-SessionType][KEY-InitiatorName][KEY-TargetName][UNH-LOGIN-11.1][UNH-LOGIN-21.1]") {
    bool discovery = GENERATE(false, true);
    LoginConfig config = normal();
    config.initiator_name.resize(223, 'i');
    config.target_name = "iqn.2026-01.example:";
    config.target_name.resize(223, 't');
    if (discovery) {
        config.discovery = true;
        config.target_name.clear();
    }
    FakeLoginTarget target;
    REQUIRE(target.run(*make(config)).has_value());
    const LoginSeen& first = target.requests[0];
    CHECK(first.value("InitiatorName") == config.initiator_name);
    CHECK(first.value("SessionType") == (discovery ? "Discovery" : "Normal"));
    CHECK(first.value("TargetName").value_or("") == config.target_name);
    for (std::size_t i = 1; i < target.requests.size(); ++i) {
        for (const char* key :
             {"InitiatorName", "SessionType", "TargetName", "InitiatorAlias", "AuthMethod"}) {
            CHECK_FALSE(target.requests[i].value(key).has_value());
        }
    }
}

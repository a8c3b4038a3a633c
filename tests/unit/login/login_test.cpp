#include "unit/login/login_bench.hpp"

#include <catch2/catch.hpp>

using namespace std::chrono_literals;
using iscsi::base::Errc;
using iscsi::login::Login;
using iscsi::login::LoginConfig;
using iscsi::test::drain;
using iscsi::test::failure;
using iscsi::test::FakeLoginTarget;
using iscsi::test::feed;
using iscsi::test::Feeding;
using iscsi::test::LoginAnswer;
using iscsi::test::make;
using iscsi::test::normal;
namespace base = iscsi::base;
namespace wire = iscsi::wire;

TEST_CASE("a finished login leaves numbers, handles and values behind", "[rfc7143-6.3][LOGIN-04][LOGIN-12]") {
    auto feeding = GENERATE(Feeding::whole, Feeding::byte_by_byte, Feeding::random_splits);
    FakeLoginTarget target;
    target.feeding = feeding;
    target.operational = {
        {"MaxBurstLength", "131072"}, {"FirstBurstLength", "0x10000"}, {"ImmediateData", "No"}};
    target.extra = "TargetAlias=a disk\n";
    auto engine = make(normal());
    REQUIRE(target.run(*engine).has_value());
    CHECK(engine->tsih() == base::Tsih(0x1234));
    CHECK(engine->tpgt() == 1);
    CHECK(engine->target_alias() == "a disk");
    CHECK(engine->sequence_numbers().cmd_sn == base::CmdSn(77));
    CHECK(engine->sequence_numbers().exp_cmd_sn == base::CmdSn(77));
    CHECK(engine->sequence_numbers().max_cmd_sn == base::CmdSn(109));
    CHECK(engine->sequence_numbers().exp_stat_sn == base::StatSn(1));
    CHECK(engine->negotiated().session.max_burst_bytes == 131072);
    CHECK(engine->negotiated().session.first_burst_bytes == 65536);
    CHECK_FALSE(engine->negotiated().session.immediate_data);
    CHECK_FALSE(engine->negotiated().session.initial_r2t);
    CHECK(engine->negotiated().connection.max_xmit_data_segment_bytes == 65536);
    CHECK(engine->negotiated().connection.max_recv_data_segment_bytes == 262144);
    CHECK_FALSE(engine->deadline().has_value());
}

TEST_CASE("not one byte behind the final response is taken", "[rfc7143-6.3][LOGIN-12]") {
    FakeLoginTarget target;
    auto engine = make(normal());
    REQUIRE(target.exchange(*engine).has_value());
    auto request = iscsi::test::parse_one<wire::LoginRequest>(drain(*engine));
    REQUIRE(request.has_value());
    wire::LoginResponse response;
    response.flags = request->header.flags;
    response.itt = request->header.itt;
    response.tsih = 5;
    std::string text = iscsi::test::key_text("HeaderDigest=None\nDataDigest=None\nDefaultTime2Wait=2\n"
                                             "DefaultTime2Retain=0\nErrorRecoveryLevel=0\nInitialR2T=Yes\n"
                                             "ImmediateData=Yes\nMaxBurstLength=8192\nFirstBurstLength=4096\n"
                                             "MaxOutstandingR2T=1\n");
    std::vector<std::byte> bytes = iscsi::test::pdu_bytes(response, text);
    std::size_t own = bytes.size();
    bytes.resize(own + 100, std::byte{0x55});
    auto taken = feed(*engine, bytes);
    REQUIRE(taken.has_value());
    CHECK(*taken == own);
    CHECK(engine->finished());
    CHECK(engine->rx_spans().direct.empty());
    CHECK(engine->rx_spans().staging.empty());
}

TEST_CASE("key text may be cut anywhere by the C bit", "[rfc7143-6.2][LOGIN-08]") {
    std::string cut_text;
    std::size_t cut = GENERATE(1, 5, 12, 13, 14, 100);
    FakeLoginTarget target;
    std::string rest;
    target.edit = [&](LoginAnswer& answer, std::size_t number) {
        if (number == 1) {
            rest = answer.text.substr(cut);
            answer.text.resize(cut);
            answer.header.flags = 0x44;
        } else if (number == 2) {
            answer.text = rest;
        }
    };
    auto engine = make(normal());
    REQUIRE(target.run(*engine).has_value());
    REQUIRE(target.requests.size() == 3);
    CHECK(target.requests[2].text.empty());
    CHECK(target.requests[2].has(wire::login_flag::transit));
    CHECK(engine->negotiated().session.max_burst_bytes == 16776192);
}

TEST_CASE("our own long text is cut at 8192 bytes and waits for empty responses",
          "[rfc7143-6.2][LOGIN-06][LOGIN-09][TEXT-02]") {
    FakeLoginTarget target;
    std::string unknown;
    for (int i = 0; i < 128; ++i) {
        std::string name = "X-" + std::to_string(1000 + i);
        name.resize(63, 'x');
        unknown += name + "=\n";
    }
    target.edit = [&](LoginAnswer& answer, std::size_t number) {
        if (number == 0) {
            answer.header.flags = 0x40;
            answer.text += unknown.substr(0, 4000);
        } else if (number == 1) {
            answer.header.flags = 0;
            answer.text = unknown.substr(4000);
        }
    };
    auto engine = make(normal());
    REQUIRE(target.run(*engine).has_value());
    REQUIRE(target.requests.size() == 5);
    const auto& head = target.requests[2];
    const auto& tail = target.requests[3];
    CHECK(head.text.size() == 8192);
    CHECK(head.header.flags == 0x40);
    CHECK(tail.header.flags == 0x81);
    std::string answers = head.text + tail.text;
    CHECK(std::count(answers.begin(), answers.end(), '\0') == 128);
}

TEST_CASE("text in the answer to a C-bit request is refused", "[rfc7143-6.2][LOGIN-09]") {
    FakeLoginTarget target;
    std::string unknown;
    for (int i = 0; i < 120; ++i) {
        unknown += "X-" + std::to_string(1000 + i) + std::string(57, 'x') + "=\n";
    }
    target.edit = [&](LoginAnswer& answer, std::size_t number) {
        answer.header.flags = number == 0 ? 0 : answer.header.flags;
        answer.text = number == 0 ? unknown : "TargetAlias=early\n";
    };
    CHECK(failure(target).code == Errc::protocol);
    CHECK(target.requests.back().header.flags == 0x40);
}

TEST_CASE("an offer to leave a stage is repeated until the target agrees",
          "[rfc7143-6.3][LOGIN-10][UNH-LOGIN-3.2]") {
    FakeLoginTarget target;
    target.edit = [](LoginAnswer& answer, std::size_t number) {
        if (number == 1 || number == 2) {
            answer.header.flags = 0x04;
            answer.header.tsih = 0;
        }
    };
    auto engine = make(normal());
    REQUIRE(target.run(*engine).has_value());
    REQUIRE(target.requests.size() == 4);
    CHECK(target.requests[2].text.empty());
    CHECK(target.requests[2].header.flags == 0x87);
    CHECK(target.requests[3].header.flags == 0x87);
}

TEST_CASE("a target that never agrees is given up", "[rfc7143-6.3][LOGIN-10][LOGIN-18]") {
    FakeLoginTarget target;
    target.edit = [](LoginAnswer& answer, std::size_t) { answer.header.flags = 0; };
    CHECK(failure(target).code == Errc::protocol);
    CHECK(target.requests.size() > 6);
    CHECK(target.requests.size() < 100);
}

TEST_CASE("a response that breaks a rule of the login phase ends it",
          "[rfc7143-6.3][LOGIN-02][LOGIN-03][LOGIN-07][LOGIN-12][LOGIN-14][LOGIN-15][UNH-LOGIN-8.1]") {
    struct Row {
        const char* what;
        std::size_t number;
        std::function<void(LoginAnswer&)> edit;
    };
    const auto rows = std::vector<Row>{
        {"another opcode", 0, [](LoginAnswer& a) { a.header.opcode_byte = 0x20; }},
        {"a Reject", 1, [](LoginAnswer& a) { a.header.opcode_byte = 0x3f; }},
        {"a Data-In", 1, [](LoginAnswer& a) { a.header.opcode_byte = 0x25; }},
        {"another task tag", 0, [](LoginAnswer& a) { a.header.itt = 99; }},
        {"another version", 0, [](LoginAnswer& a) { a.header.version_active = 1; }},
        {"another stage", 0, [](LoginAnswer& a) { a.header.flags = 0x87; }},
        {"a stage that is too far", 0, [](LoginAnswer& a) { a.header.flags = 0x83; }},
        {"the reserved stage", 0, [](LoginAnswer& a) { a.header.flags = 0x82; }},
        {"the stage we are in", 0, [](LoginAnswer& a) { a.header.flags = 0x80; }},
        {"T and C", 0, [](LoginAnswer& a) { a.header.flags = 0xc1; }},
        {"additional headers", 0, [](LoginAnswer& a) { a.header.total_ahs_length = 1; }},
        {"too long a segment", 0, [](LoginAnswer& a) { a.text = "A=" + std::string(8191, 'x'); }},
        {"no final NUL", 0, [](LoginAnswer& a) { a.text.pop_back(); }},
        {"no equals sign", 0, [](LoginAnswer& a) { a.text += "Nothing\n"; }},
        {"an operational key too early", 0, [](LoginAnswer& a) { a.text += "MaxBurstLength=512\n"; }},
        {"AuthMethod too late", 1, [](LoginAnswer& a) { a.text += "AuthMethod=None\n"; }},
        {"AuthMethod twice", 0, [](LoginAnswer& a) { a.text += "AuthMethod=None\n"; }},
        {"CHAP without being asked", 0, [](LoginAnswer& a) { a.text += "CHAP_A=5\n"; }},
        {"CHAP too late", 1, [](LoginAnswer& a) { a.text += "CHAP_A=5\n"; }},
        {"a key for the second time", 1, [](LoginAnswer& a) { a.text += "TargetPortalGroupTag=1\n"; }},
        {"a proposal while leaving", 1, [](LoginAnswer& a) { a.text += "TaskReporting=FastAbort\n"; }},
        {"an unknown key while leaving", 1, [](LoginAnswer& a) { a.text += "X-a=b\n"; }},
        {"no handle", 1, [](LoginAnswer& a) { a.header.tsih = 0; }},
        {"a reserved status class", 0, [](LoginAnswer& a) { a.header.status = 0x0400; }},
    };
    for (const Row& row : rows) {
        DYNAMIC_SECTION(row.what) {
            FakeLoginTarget target;
            target.edit = [&row](LoginAnswer& answer, std::size_t number) {
                if (number == row.number) {
                    row.edit(answer);
                }
            };
            base::Error error = failure(target);
            CHECK(error.code == Errc::protocol);
            CHECK_FALSE(error.detail.empty());
            CHECK(target.requests.size() == row.number + 1);
        }
    }
}

TEST_CASE("a response before the request was sent is refused", "[rfc7143-6.3][LOGIN-01]") {
    auto engine = make(normal());
    wire::LoginResponse response;
    response.flags = 0x81;
    response.itt = 1;
    auto taken = feed(*engine, base::bytes_of_object(response));
    REQUIRE_FALSE(taken.has_value());
    CHECK(taken.error().code == Errc::protocol);
}

TEST_CASE("a response may overtake the completion of its request's send", "[engine]") {
    FakeLoginTarget target;
    auto engine = make(normal());
    std::array<iovec, 4> slots{};
    auto out = engine->tx_spans(slots);
    REQUIRE(out.size() == 1);
    std::size_t first_bytes = out[0].iov_len;
    wire::LoginResponse response;
    response.flags = 0x81;
    response.itt = 1;
    REQUIRE(feed(*engine, base::bytes_of_object(response)).has_value());
    out = engine->tx_spans(slots);
    REQUIRE(out.size() == 2);
    CHECK(out[0].iov_len == first_bytes);
    engine->tx_done(first_bytes);
    out = engine->tx_spans(slots);
    REQUIRE(out.size() == 1);
    CHECK(*static_cast<const std::byte*>(out[0].iov_base) == std::byte{0x43});
}

TEST_CASE("more text than a login needs is refused", "[rfc7143-6.2][LOGIN-18]") {
    FakeLoginTarget target;
    target.edit = [](LoginAnswer& answer, std::size_t) {
        answer.header.flags = 0x40;
        answer.text = std::string(8192, 'x');
    };
    CHECK(failure(target).code == Errc::protocol);
    CHECK(target.requests.size() == 9);
}

TEST_CASE("the deadline ends a login whatever it waits for", "[rfc7143-6.3][LOGIN-18]") {
    auto engine = make(normal());
    REQUIRE(engine->deadline() == base::TimePoint(10s));
    CHECK(engine->at(base::TimePoint(9s)).has_value());
    auto result = engine->at(base::TimePoint(10s));
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().code == Errc::pdu_timeout);
    CHECK(engine->rx_spans().direct.empty());
}

TEST_CASE("discovery names no target and offers nothing a disk needs", "[rfc7143-4.3][LOGIN-11][DISC-06]") {
    LoginConfig config = normal();
    config.discovery = true;
    config.target_name.clear();
    FakeLoginTarget target;
    auto engine = make(config);
    REQUIRE(target.run(*engine).has_value());
    CHECK(target.requests[0].value("SessionType") == "Discovery");
    CHECK_FALSE(target.requests[0].value("TargetName").has_value());
    CHECK(target.requests[1].value("MaxRecvDataSegmentLength") == "262144");
    CHECK_FALSE(target.requests[1].value("InitialR2T").has_value());
    CHECK_FALSE(target.requests[1].value("MaxConnections").has_value());
    config.offers.header_digest = "CRC32C,None";
    CHECK(Login::make(config).error().code == Errc::invalid);
}

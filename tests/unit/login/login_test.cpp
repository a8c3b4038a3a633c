#include "login/login.hpp"
#include "support/fake_login_target.hpp"

#include <catch2/catch.hpp>

using namespace std::chrono_literals;
using iscsi::base::Errc;
using iscsi::login::Login;
using iscsi::login::LoginConfig;
using iscsi::test::drain;
using iscsi::test::FakeLoginTarget;
using iscsi::test::feed;
using iscsi::test::Feeding;
using iscsi::test::LoginAnswer;
namespace base = iscsi::base;
namespace wire = iscsi::wire;
namespace login = iscsi::login;

namespace {

LoginConfig normal() {
    LoginConfig config;
    config.initiator_name = "iqn.2026-01.example:initiator";
    config.initiator_alias = "host";
    config.target_name = "iqn.2026-01.example:disk";
    config.isid = base::Isid(0x80123456789aULL);
    config.cmd_sn = base::CmdSn(77);
    config.deadline = base::TimePoint(10s);
    return config;
}

LoginConfig with_chap(bool mutual) {
    LoginConfig config = normal();
    config.chap.username = "user";
    config.chap.secret = login::Secret("initiator secret");
    if (mutual) {
        config.chap.username_in = "target";
        config.chap.secret_in = login::Secret("the target's own");
    }
    return config;
}

std::unique_ptr<Login> make(LoginConfig config) {
    auto made = Login::make(std::move(config));
    REQUIRE(made.has_value());
    return std::move(*made);
}

/// The error of a login against `target`; fails the test when there is none.
base::Error failure(FakeLoginTarget& target, LoginConfig config = normal()) {
    auto engine = make(std::move(config));
    auto result = target.run(*engine);
    REQUIRE_FALSE(result.has_value());
    REQUIRE_FALSE(engine->finished());
    REQUIRE(engine->rx_spans().direct.empty());
    return result.error();
}

} // namespace

TEST_CASE("a login begins in the security stage even without authentication", "[rfc7143-6.3]") {
    FakeLoginTarget target;
    auto engine = make(normal());
    REQUIRE(target.run(*engine).has_value());
    REQUIRE(target.requests.size() == 2);
    const auto& first = target.requests[0];
    CHECK(first.header.opcode_byte == 0x43);
    CHECK(first.header.flags == 0x81);
    CHECK(first.header.version_max == 0);
    CHECK(first.header.version_min == 0);
    CHECK(first.header.isid == 0x80123456789aULL);
    CHECK(first.header.tsih == 0);
    CHECK(first.header.cmd_sn == 77);
    CHECK(first.value("InitiatorName") == "iqn.2026-01.example:initiator");
    CHECK(first.value("InitiatorAlias") == "host");
    CHECK(first.value("TargetName") == "iqn.2026-01.example:disk");
    CHECK(first.value("SessionType") == "Normal");
    CHECK(first.value("AuthMethod") == "None");
    const auto& second = target.requests[1];
    CHECK(second.header.flags == 0x87);
    CHECK(second.header.itt == first.header.itt);
    CHECK(second.header.exp_stat_sn == 0); // the StatSN after 0xffffffff
    CHECK(second.value("MaxConnections") == "1");
    CHECK(second.value("ErrorRecoveryLevel") == "0");
    CHECK_FALSE(second.value("InitiatorName").has_value());
}

TEST_CASE("a finished login leaves numbers, handles and values behind", "[rfc7143-6.3]") {
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

TEST_CASE("not one byte behind the final response is taken", "[rfc7143-6.3]") {
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

TEST_CASE("key text may be cut anywhere by the C bit", "[rfc7143-6.2]") {
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

TEST_CASE("our own long text is cut at 8192 bytes and waits for empty responses", "[rfc7143-6.2]") {
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

TEST_CASE("text in the answer to a C-bit request is refused", "[rfc7143-6.2]") {
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

TEST_CASE("an offer to leave a stage is repeated until the target agrees", "[rfc7143-6.3]") {
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

TEST_CASE("a target that never agrees is given up", "[rfc7143-6.3]") {
    FakeLoginTarget target;
    target.edit = [](LoginAnswer& answer, std::size_t) { answer.header.flags = 0; };
    CHECK(failure(target).code == Errc::protocol);
    CHECK(target.requests.size() > 6);
    CHECK(target.requests.size() < 100);
}

TEST_CASE("a response that breaks a rule of the login phase ends it", "[rfc7143-6.3]") {
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

TEST_CASE("a response before the request was sent is refused", "[rfc7143-6.3]") {
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

TEST_CASE("more text than a login needs is refused", "[rfc7143-6.2]") {
    FakeLoginTarget target;
    target.edit = [](LoginAnswer& answer, std::size_t) {
        answer.header.flags = 0x40;
        answer.text = std::string(8192, 'x');
    };
    CHECK(failure(target).code == Errc::protocol);
    CHECK(target.requests.size() == 9);
}

TEST_CASE("the deadline ends a login whatever it waits for", "[rfc7143-6.3]") {
    auto engine = make(normal());
    REQUIRE(engine->deadline() == base::TimePoint(10s));
    CHECK(engine->at(base::TimePoint(9s)).has_value());
    auto result = engine->at(base::TimePoint(10s));
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().code == Errc::pdu_timeout);
    CHECK(engine->rx_spans().direct.empty());
}

TEST_CASE("each status tells the caller whether to come back", "[rfc7143-11.13.5]") {
    struct Row {
        std::uint16_t status;
        Errc code;
        const char* text;
    };
    const auto row = GENERATE(
        Row{0x0200, Errc::fatal_login, "initiator error"},
        Row{0x0201, Errc::authentication, "authentication"},
        Row{0x0202, Errc::authentication, "authorization"}, Row{0x0203, Errc::fatal_login, "not found"},
        Row{0x0204, Errc::fatal_login, "removed"}, Row{0x0205, Errc::fatal_login, "version"},
        Row{0x0206, Errc::login, "too many connections"}, Row{0x0207, Errc::fatal_login, "missing parameter"},
        Row{0x0208, Errc::fatal_login, "included"}, Row{0x0209, Errc::fatal_login, "session type"},
        Row{0x020a, Errc::login, "does not exist"}, Row{0x020b, Errc::fatal_login, "invalid"},
        Row{0x02ff, Errc::fatal_login, "initiator error"}, Row{0x0300, Errc::login, "target error"},
        Row{0x0301, Errc::login, "unavailable"}, Row{0x0302, Errc::login, "resources"},
        Row{0x03ff, Errc::login, "target error"});
    FakeLoginTarget target;
    target.edit = [&](LoginAnswer& answer, std::size_t) {
        answer.header.status = row.status;
        answer.header.flags = 0;
    };
    auto engine = make(normal());
    auto result = target.run(*engine);
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().code == row.code);
    CHECK_THAT(result.error().detail, Catch::Contains(row.text));
    CHECK(engine->status() == static_cast<wire::LoginStatus>(row.status));
}

TEST_CASE("a redirection gives the new address", "[rfc7143-11.13.5]") {
    struct Row {
        std::uint16_t status;
        const char* address;
        const char* host;
        std::uint16_t port;
        bool permanent;
    };
    const auto row = GENERATE(Row{0x0101, "192.0.2.7", "192.0.2.7", 3260, false},
                              Row{0x0102, "192.0.2.7:3261", "192.0.2.7", 3261, true},
                              Row{0x0101, "[2001:db8::7]:99", "2001:db8::7", 99, false},
                              Row{0x0102, "storage.example", "storage.example", 3260, true});
    std::size_t when = GENERATE(0, 1);
    FakeLoginTarget target;
    target.edit = [&](LoginAnswer& answer, std::size_t number) {
        if (number == when) {
            answer.header.status = row.status;
            answer.text = std::string("TargetAddress=") + row.address + "\n";
        }
    };
    auto engine = make(normal());
    auto result = target.run(*engine);
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().code == Errc::redirected);
    REQUIRE(engine->redirect().has_value());
    CHECK(engine->redirect()->host == row.host);
    CHECK(engine->redirect()->port == row.port);
    CHECK(engine->redirect()->permanent == row.permanent);
}

TEST_CASE("a redirection to nowhere is a protocol error", "[rfc7143-11.13.5]") {
    auto text = GENERATE("", "TargetAlias=x\n", "TargetAddress=../../etc\n", "TargetAddress=h:0\n");
    FakeLoginTarget target;
    target.edit = [&](LoginAnswer& answer, std::size_t) {
        answer.header.status = 0x0101;
        answer.text = text;
    };
    CHECK(failure(target).code == Errc::protocol);
}

TEST_CASE("another portal group than the expected one fails the login", "[rfc7143-13.9]") {
    FakeLoginTarget target;
    LoginConfig config = normal();
    config.expected_tpgt = 2;
    CHECK(failure(target, config).code == Errc::fatal_login);
    CHECK(target.requests.size() == 1);
    FakeLoginTarget same;
    config.expected_tpgt = 1;
    CHECK(same.run(*make(config)).has_value());
}

TEST_CASE("a connection added to a session keeps the session's handle", "[rfc7143-11.13.3]") {
    LoginConfig config = normal();
    config.tsih = base::Tsih(0x77);
    config.cid = base::Cid(3);
    FakeLoginTarget same;
    same.tsih = 0x77;
    REQUIRE(same.run(*make(config)).has_value());
    CHECK(same.requests[0].header.tsih == 0x77);
    CHECK(same.requests[1].header.cid == 3);
    FakeLoginTarget other;
    other.tsih = 0x78;
    CHECK(failure(other, config).code == Errc::protocol);
}

TEST_CASE("discovery names no target and offers nothing a disk needs", "[rfc7143-4.3]") {
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

TEST_CASE("a configuration that cannot be offered is refused before anything is sent", "[config]") {
    auto code = [](LoginConfig config) {
        auto made = Login::make(std::move(config));
        return made ? Errc::unknown : made.error().code;
    };
    LoginConfig config = normal();
    config.initiator_name.clear();
    CHECK(code(config) == Errc::invalid);
    config = normal();
    config.target_name = std::string(224, 'a');
    CHECK(code(config) == Errc::invalid);
    config = normal();
    config.initiator_alias = std::string("a\0b", 3);
    CHECK(code(config) == Errc::invalid);
    config = normal();
    config.offers.max_burst_bytes = 511;
    CHECK(code(config) == Errc::invalid);
    config = normal();
    config.offers.data_digest = "CRC32";
    CHECK(code(config) == Errc::invalid);
    config = with_chap(true);
    config.chap.secret_in = config.chap.secret;
    CHECK(code(config) == Errc::invalid);
}

TEST_CASE("one-way CHAP proves us with every algorithm", "[rfc7143-12.1.3]") {
    auto algorithm = GENERATE(login::ChapAlgorithm::md5, login::ChapAlgorithm::sha1,
                              login::ChapAlgorithm::sha256, login::ChapAlgorithm::sha3_256);
    LoginConfig config = with_chap(false);
    config.chap.algorithms = *login::parse_chap_algorithms("SHA3-256,SHA256,SHA1,MD5");
    FakeLoginTarget target;
    target.algorithm = algorithm;
    REQUIRE(target.run(*make(config)).has_value());
    CHECK(target.initiator_proved);
    REQUIRE(target.requests.size() == 4);
    CHECK(target.requests[0].value("AuthMethod") == "CHAP");
    CHECK(target.requests[0].header.flags == 0x00);
    CHECK(target.requests[1].text == iscsi::test::key_text("CHAP_A=8,7,6,5\n"));
    CHECK(target.requests[1].header.flags == 0x00);
    CHECK(target.requests[2].value("CHAP_N") == "user");
    CHECK_FALSE(target.requests[2].value("CHAP_C").has_value());
    CHECK(target.requests[2].header.flags == 0x81);
    CHECK(target.requests[3].header.flags == 0x87);
}

TEST_CASE("mutual CHAP proves the target too", "[rfc7143-12.1.3]") {
    FakeLoginTarget target;
    target.feeding = Feeding::byte_by_byte;
    REQUIRE(target.run(*make(with_chap(true))).has_value());
    CHECK(target.initiator_proved);
    CHECK(target.requests[2].value("CHAP_C")->size() == 2 + 64);
}

TEST_CASE("authentication that was asked for cannot be skipped", "[rfc7143-12.1.3]") {
    FakeLoginTarget target;
    SECTION("by answering None") {
        target.security_text = "TargetPortalGroupTag=1\nAuthMethod=None";
        target.security_text += "\nTargetAlias=x\n";
    }
    SECTION("by rejecting the method") {
        target.security_text = "AuthMethod=Reject\n";
    }
    SECTION("by not proving itself") {
        target.edit_proof = [](const std::string&) { return std::string(); };
    }
    SECTION("by a wrong proof") {
        target.own_secret = "wrong";
    }
    SECTION("by another name") {
        target.own_name = "impostor";
    }
    SECTION("by our own secret") {
        target.own_secret = target.initiator_secret;
    }
    CHECK(failure(target, with_chap(true)).code == Errc::authentication);
}

TEST_CASE("the security stage is not left before it has begun", "[rfc7143-12.1.3]") {
    FakeLoginTarget target;
    target.edit = [](LoginAnswer& answer, std::size_t number) {
        if (number == 0) {
            answer.header.flags = 0x81;
        }
    };
    CHECK(failure(target, with_chap(false)).code == Errc::protocol);
}

TEST_CASE("a digest we insist on fails the login when the target declines", "[rfc7143-13.1]") {
    LoginConfig config = normal();
    config.offers.header_digest = "CRC32C";
    FakeLoginTarget agreeing;
    auto engine = make(config);
    REQUIRE(agreeing.run(*engine).has_value());
    CHECK(engine->negotiated().connection.header_digest);
    CHECK_FALSE(engine->negotiated().connection.data_digest);
    FakeLoginTarget declining;
    declining.operational = {{"HeaderDigest", "Reject"}};
    CHECK(failure(declining, config).code == Errc::fatal_login);
}

#include "unit/login/login_bench.hpp"

#include <catch2/catch.hpp>

using iscsi::base::Cause;
using iscsi::base::Errc;
using iscsi::login::Login;
using iscsi::login::LoginConfig;
using iscsi::test::failure;
using iscsi::test::FakeLoginTarget;
using iscsi::test::Feeding;
using iscsi::test::LoginAnswer;
using iscsi::test::make;
using iscsi::test::normal;
using iscsi::test::with_chap;
namespace base = iscsi::base;
namespace wire = iscsi::wire;
namespace login = iscsi::login;

TEST_CASE(
    "a login begins in the security stage even without authentication",
    "[rfc7143-6.3][LOGIN-03][LOGIN-04][LOGIN-05][LOGIN-11][UNH-LOGIN-1.1][UNH-LOGIN-7.1][UNH-LOGIN-11.1]") {
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

TEST_CASE("each status tells the caller whether to come back",
          "[rfc7143-11.13.5][LOGIN-17][STATUS-0200][STATUS-0201][STATUS-0202][STATUS-0203][STATUS-0204]"
          "[STATUS-0205][STATUS-0206][STATUS-0207][STATUS-0208][STATUS-0209][STATUS-020a][STATUS-020b]"
          "[STATUS-0300][STATUS-0301][STATUS-0302][STATUS-other]") {
    struct Row {
        std::uint16_t status;
        Errc code;
        Cause cause;
        const char* text;
    };
    const auto row = GENERATE(Row{0x0200, Errc::fatal_login, Cause::login_refused, "initiator error"},
                              Row{0x0201, Errc::authentication, Cause::chap_refused, "authentication"},
                              Row{0x0202, Errc::authentication, Cause::not_authorized, "authorization"},
                              Row{0x0203, Errc::fatal_login, Cause::target_unknown, "not found"},
                              Row{0x0204, Errc::fatal_login, Cause::target_removed, "removed"},
                              Row{0x0205, Errc::fatal_login, Cause::login_refused, "version"},
                              Row{0x0206, Errc::fatal_login, Cause::target_full, "too many connections"},
                              Row{0x0207, Errc::fatal_login, Cause::login_refused, "missing parameter"},
                              Row{0x0208, Errc::fatal_login, Cause::login_refused, "included"},
                              Row{0x0209, Errc::fatal_login, Cause::login_refused, "session type"},
                              Row{0x020a, Errc::fatal_login, Cause::login_refused, "does not exist"},
                              Row{0x020b, Errc::fatal_login, Cause::login_refused, "invalid"},
                              Row{0x02ff, Errc::fatal_login, Cause::login_refused, "initiator error"},
                              Row{0x0300, Errc::login, Cause::target_unavailable, "target error"},
                              Row{0x0301, Errc::login, Cause::target_unavailable, "unavailable"},
                              Row{0x0302, Errc::login, Cause::target_full, "resources"},
                              Row{0x03ff, Errc::login, Cause::login_refused, "target error"},
                              Row{0x0400, Errc::protocol, Cause::login_refused, "0400"},
                              Row{0xffff, Errc::protocol, Cause::login_refused, "ffff"});
    FakeLoginTarget target;
    target.edit = [&](LoginAnswer& answer, std::size_t) {
        // Nothing else of such a response is valid.
        answer.header.status = row.status;
        answer.header.flags = 0xff;
        answer.header.itt = 0;
        answer.header.max_cmd_sn = 5000;
        answer.text.clear();
    };
    auto engine = make(normal());
    auto result = target.run(*engine);
    REQUIRE_FALSE(result.has_value());
    CHECK(target.requests.size() == 1);
    CHECK(engine->sequence_numbers().max_cmd_sn == base::CmdSn());
    CHECK(engine->tx_spans({}).empty());
    CHECK(result.error().code == row.code);
    CHECK(result.error().cause == row.cause);
    CHECK_THAT(result.error().detail, Catch::Contains(row.text));
    CHECK(engine->status() == static_cast<wire::LoginStatus>(row.status));
}

TEST_CASE("a redirection gives the new address",
          "[rfc7143-11.13.5][STATUS-0101][STATUS-0102][STATUS-other]") {
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
                              Row{0x0102, "storage.example", "storage.example", 3260, true},
                              Row{0x01ff, "192.0.2.7", "192.0.2.7", 3260, false});
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

TEST_CASE("a redirection may come at any moment of the authentication, and may name several places",
          "[rfc7143-11.13.5][STATUS-0101]") {
    std::size_t when = GENERATE(0, 1, 2, 3);
    FakeLoginTarget target;
    target.edit = [&](LoginAnswer& answer, std::size_t number) {
        if (number == when) {
            answer.header.status = 0x0101;
            answer.text = "TargetAddress=?\nTargetAddress=192.0.2.7\nTargetAddress=192.0.2.8\n";
        }
    };
    auto engine = make(with_chap(true));
    auto result = target.run(*engine);
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().code == Errc::redirected);
    REQUIRE(engine->redirect().has_value());
    CHECK(engine->redirect()->host == "192.0.2.7");
    CHECK(target.requests.size() == when + 1);
}

TEST_CASE("a portal group in a redirection, where RFC 7143 has none, is not believed",
          "[rfc7143-13.8][STATUS-0101][DISC-05]") {
    FakeLoginTarget target;
    target.edit = [&](LoginAnswer& answer, std::size_t) {
        answer.header.status = 0x0101;
        answer.text = "TargetAddress=192.0.2.7:99,12\n";
    };
    auto engine = make(normal());
    REQUIRE_FALSE(target.run(*engine).has_value());
    REQUIRE(engine->redirect().has_value());
    CHECK(engine->redirect()->host == "192.0.2.7");
    CHECK(engine->redirect()->port == 99);
    CHECK(engine->tpgt() == -1);
}

TEST_CASE("a redirection to nowhere is a protocol error", "[rfc7143-11.13.5][STATUS-0101]") {
    auto text = GENERATE("", "TargetAlias=x\n", "TargetAddress=../../etc\n", "TargetAddress=h:0\n");
    FakeLoginTarget target;
    target.edit = [&](LoginAnswer& answer, std::size_t) {
        answer.header.status = 0x0101;
        answer.text = text;
    };
    CHECK(failure(target).code == Errc::protocol);
}

TEST_CASE("another portal group than the expected one fails the login", "[rfc7143-13.9][LOGIN-13]") {
    FakeLoginTarget target;
    LoginConfig config = normal();
    config.expected_tpgt = 2;
    const base::Error error = failure(target, config);
    CHECK(error.code == Errc::fatal_login);
    CHECK(error.cause == Cause::portal_group);
    CHECK(target.requests.size() == 1);
    FakeLoginTarget same;
    config.expected_tpgt = 1;
    CHECK(same.run(*make(config)).has_value());
}

TEST_CASE("a connection added to a session keeps the session's handle", "[rfc7143-11.13.3][LOGIN-12]") {
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

TEST_CASE("one-way CHAP proves us with every algorithm", "[rfc7143-12.1.3][CHAP-01][CHAP-02][UNH-CHAP-1.1]") {
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

TEST_CASE("mutual CHAP proves the target too", "[rfc7143-12.1.3][CHAP-01][CHAP-02][UNH-CHAP-1.1]") {
    FakeLoginTarget target;
    target.feeding = Feeding::byte_by_byte;
    REQUIRE(target.run(*make(with_chap(true))).has_value());
    CHECK(target.initiator_proved);
    CHECK(target.requests[2].value("CHAP_C")->size() == 2 + 64);
}

TEST_CASE("authentication that was asked for cannot be skipped", "[rfc7143-12.1.3][CHAP-09][CHAP-06]") {
    FakeLoginTarget target;
    Cause cause = Cause::target_not_proved;
    SECTION("by answering None") {
        target.security_text = "TargetPortalGroupTag=1\nAuthMethod=None";
        cause = Cause::chap_declined;
        target.security_text += "\nTargetAlias=x\n";
    }
    SECTION("by rejecting the method") {
        target.security_text = "AuthMethod=Reject\n";
        cause = Cause::chap_declined;
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
    const base::Error error = failure(target, with_chap(true));
    CHECK(error.code == Errc::authentication);
    CHECK(error.cause == cause);
}

TEST_CASE("a target that asks for CHAP is told from one that does not want it", "[rfc7143-12.1.3]") {
    FakeLoginTarget target;
    target.security_text = "AuthMethod=CHAP\n";
    const base::Error error = failure(target, normal());
    CHECK(error.code == Errc::authentication);
    CHECK(error.cause == Cause::chap_demanded);
}

TEST_CASE("the security stage is not left before it has begun", "[rfc7143-12.1.3][CHAP-09][LOGIN-07]") {
    FakeLoginTarget target;
    target.edit = [](LoginAnswer& answer, std::size_t number) {
        if (number == 0) {
            answer.header.flags = 0x81;
        }
    };
    CHECK(failure(target, with_chap(false)).code == Errc::protocol);
}

TEST_CASE("a digest we insist on fails the login when the target declines", "[rfc7143-13.1][UNH-LOGIN-9.2]") {
    LoginConfig config = normal();
    config.offers.header_digest = "CRC32C";
    FakeLoginTarget agreeing;
    auto engine = make(config);
    REQUIRE(agreeing.run(*engine).has_value());
    CHECK(engine->negotiated().connection.header_digest);
    CHECK_FALSE(engine->negotiated().connection.data_digest);
    FakeLoginTarget declining;
    declining.operational = {{"HeaderDigest", "Reject"}};
    const base::Error error = failure(declining, config);
    CHECK(error.code == Errc::fatal_login);
    CHECK(error.cause == Cause::digest_declined);
    CHECK_THAT(error.detail, Catch::Contains("HeaderDigest"));
}

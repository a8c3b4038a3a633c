// Every operational key, on the wire: what of a target's answers is taken and what it comes to, what ends the
// connection, and what silence, a repetition, the wrong stage and a discovery session make of it. The table
// is written from RFC 7143 section 13, not from ours.
#include "unit/login/login_bench.hpp"

#include <catch2/catch.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

using namespace iscsi::test;
using iscsi::base::Errc;
using iscsi::login::LoginConfig;
using iscsi::login::Negotiated;

namespace {

struct Taken {
    const char* answer;
    std::uint32_t outcome;
};

struct KeyCase {
    const char* key;
    std::vector<Taken> taken;
    std::vector<const char*> refused;
    std::optional<std::uint32_t> when_silent; ///< empty: silence ends the login
    std::uint32_t initial;                    ///< the RFC's default, which Reject and Irrelevant leave
    bool in_discovery;
    std::uint32_t (*outcome)(const Negotiated&);
    bool is_declared = false; ///< not negotiated: there is nothing to reject
};

/// What is offered here leaves targets room in every key that has any.
LoginConfig roomy() {
    LoginConfig config = normal();
    config.offers.header_digest = "CRC32C,None";
    config.offers.data_digest = "None,CRC32C";
    config.offers.max_burst_bytes = 1048576;
    config.offers.first_burst_bytes = 262144;
    config.offers.max_outstanding_r2t = 8;
    config.offers.time2wait_s = 5;
    config.offers.time2retain_s = 30;
    return config;
}

LoginConfig discovery() {
    LoginConfig config = normal();
    config.discovery = true;
    config.target_name.clear();
    return config;
}

std::size_t times_said(const std::vector<LoginSeen>& requests, const std::string& key) {
    std::size_t times = 0;
    for (const LoginSeen& request : requests) {
        iscsi::wire::KeyReader pairs(request.text);
        for (auto pair = pairs.next(); pair && *pair; pair = pairs.next()) {
            times += (*pair)->key == key ? 1U : 0U;
        }
    }
    return times;
}

void check_outcome(const KeyCase& row, const std::string& answer, std::uint32_t outcome) {
    CAPTURE(answer);
    FakeLoginTarget target;
    target.operational[row.key] = answer;
    auto engine = make(roomy());
    auto ran = target.run(*engine);
    INFO((ran ? std::string() : ran.error().detail));
    REQUIRE(ran.has_value());
    CHECK(row.outcome(engine->negotiated()) == outcome);
    CHECK(times_said(target.requests, row.key) == 1);
}

/// The connection is given up in the very exchange, and nothing has taken effect.
void check_refusal(const KeyCase& row, const std::string& answer) {
    CAPTURE(answer);
    FakeLoginTarget target;
    target.operational[row.key] = "";
    target.extra = std::string(row.key) + "=" + answer + "\n";
    auto engine = make(roomy());
    auto ran = target.run(*engine);
    REQUIRE_FALSE(ran.has_value());
    CHECK(ran.error().code == Errc::protocol);
    CHECK_THAT(ran.error().detail, Catch::Contains(row.key));
    CHECK(target.requests.size() == 2);
    CHECK(engine->rx_spans().direct.empty());
    CHECK(engine->negotiated().session.max_burst_bytes == Negotiated().session.max_burst_bytes);
}

void check_answers(const KeyCase& row) {
    for (const Taken& taken : row.taken) {
        check_outcome(row, taken.answer, taken.outcome);
    }
    for (const char* refused : row.refused) {
        check_refusal(row, refused);
    }
    for (const char* never : {"NotUnderstood", "None ", " ", "0x", "1~2", "\xff"}) {
        check_refusal(row, never);
    }
    for (const char* word : {"Reject", "Irrelevant"}) {
        if (row.is_declared) {
            check_refusal(row, word);
        } else {
            check_outcome(row, word, row.initial);
        }
    }
}

void check_silence(const KeyCase& row) {
    if (row.when_silent) {
        check_outcome(row, "", *row.when_silent);
        return;
    }
    FakeLoginTarget target;
    target.operational[row.key] = "";
    auto error = failure(target, roomy());
    CHECK(error.code == Errc::protocol);
    CHECK_THAT(error.detail, Catch::Contains(row.key));
}

void check_repetition(const KeyCase& row) {
    std::string again = std::string(row.key) + "=" + row.taken.front().answer + "\n";
    FakeLoginTarget same_pdu;
    same_pdu.operational[row.key] = row.taken.front().answer;
    same_pdu.extra = again;
    CHECK(failure(same_pdu, roomy()).code == Errc::protocol);
    CHECK(same_pdu.requests.size() == 2);
    FakeLoginTarget next_pdu;
    next_pdu.operational[row.key] = row.taken.front().answer;
    next_pdu.edit = [&](LoginAnswer& answer, std::size_t number) {
        if (number == 1) {
            answer.header.flags = 0x04;
            answer.header.tsih = 0;
        } else if (number == 2) {
            answer.text = again;
        }
    };
    CHECK(failure(next_pdu, roomy()).code == Errc::protocol);
    CHECK(next_pdu.requests.size() == 3);
}

void check_stage(const KeyCase& row) {
    FakeLoginTarget early;
    early.security_text += std::string(row.key) + "=" + row.taken.front().answer + "\n";
    CHECK(failure(early, roomy()).code == Errc::protocol);
    CHECK(early.requests.size() == 1);
}

/// A key of disks is not offered there, and one that comes all the same is irrelevant.
void check_discovery(const KeyCase& row) {
    FakeLoginTarget target;
    if (!row.in_discovery) {
        target.edit = [&](LoginAnswer& answer, std::size_t number) {
            if (number == 1) {
                answer.header.flags = 0x04;
                answer.header.tsih = 0;
                answer.text += std::string(row.key) + "=" + row.taken.front().answer + "\n";
            } else if (number == 2) {
                answer.text.clear();
            }
        };
    }
    auto engine = make(discovery());
    REQUIRE(target.run(*engine).has_value());
    CHECK(times_said(target.requests, row.key) == 1);
    if (!row.in_discovery) {
        CHECK(target.requests.at(2).value(row.key) == "Irrelevant");
    }
}

void judge(const KeyCase& row) {
    SECTION("answers") {
        check_answers(row);
    }
    SECTION("silence") {
        check_silence(row);
    }
    SECTION("the same again") {
        check_repetition(row);
    }
    SECTION("too early") {
        check_stage(row);
    }
    SECTION("in a discovery session") {
        check_discovery(row);
    }
}

} // namespace

TEST_CASE("HeaderDigest is one of those offered", "[login][KEY-HeaderDigest][UNH-LOGIN-9.1][UNH-LOGIN-9.3]") {
    judge({"HeaderDigest",
           {{"CRC32C", 1}, {"None", 0}},
           {"crc32c", "none", "CRC32C,None", "CRC-64", "Yes", "1"},
           std::nullopt,
           0,
           true,
           [](const Negotiated& n) -> std::uint32_t { return n.connection.header_digest ? 1 : 0; }});
}

TEST_CASE("DataDigest is one of those offered", "[login][KEY-DataDigest][UNH-LOGIN-9.1][UNH-LOGIN-9.3]") {
    judge({"DataDigest",
           {{"CRC32C", 1}, {"None", 0}},
           {"crc32c", "none", "None,CRC32C", "CRC-64", "No", "0"},
           std::nullopt,
           0,
           true,
           [](const Negotiated& n) -> std::uint32_t { return n.connection.data_digest ? 1 : 0; }});
}

TEST_CASE("the two digests are agreed on separately", "[login][KEY-HeaderDigest][KEY-DataDigest]") {
    FakeLoginTarget target;
    target.operational = {{"HeaderDigest", "None"}, {"DataDigest", "CRC32C"}};
    auto engine = make(roomy());
    REQUIRE(target.run(*engine).has_value());
    CHECK_FALSE(engine->negotiated().connection.header_digest);
    CHECK(engine->negotiated().connection.data_digest);
}

TEST_CASE("MaxConnections stays the one that is offered", "[login][KEY-MaxConnections][UNH-LOGIN-10.1]") {
    judge({"MaxConnections",
           {{"1", 1}, {"0x1", 1}},
           {"0", "2", "65535", "65536", "-1", "Yes", "01"},
           1,
           1,
           false,
           [](const Negotiated& n) -> std::uint32_t { return n.session.max_connections; }});
}

TEST_CASE("InitialR2T is Yes when either side says so",
          "[login][KEY-InitialR2T][UNH-LOGIN-13.1][UNH-LOGIN-13.2][UNH-LOGIN-13.3]") {
    judge({"InitialR2T",
           {{"Yes", 1}, {"No", 0}},
           {"yes", "no", "YES", "1", "0", "True", "Yes,No"},
           std::nullopt,
           1,
           false,
           [](const Negotiated& n) -> std::uint32_t { return n.session.initial_r2t ? 1 : 0; }});
}

TEST_CASE("ImmediateData is Yes when both sides say so",
          "[login][KEY-ImmediateData][LOGIN-14][UNH-LOGIN-6.1][UNH-LOGIN-6.2][UNH-LOGIN-7.5][UNH-LOGIN-13.1]"
          "[UNH-LOGIN-13.3]") {
    judge({"ImmediateData",
           {{"Yes", 1}, {"No", 0}},
           {"yes", "no", "Maybe", "1", "0", "None"},
           std::nullopt,
           1,
           false,
           [](const Negotiated& n) -> std::uint32_t { return n.session.immediate_data ? 1 : 0; }});
}

TEST_CASE("a boolean that our offer decides is not turned by the target",
          "[login][KEY-InitialR2T][KEY-ImmediateData][UNH-LOGIN-13.2][UNH-LOGIN-13.3]") {
    LoginConfig config = roomy();
    config.offers.initial_r2t = true;
    config.offers.immediate_data = false;
    FakeLoginTarget agreeing;
    agreeing.operational = {{"InitialR2T", "Yes"}, {"ImmediateData", "No"}};
    CHECK(agreeing.run(*make(config)).has_value());
    FakeLoginTarget silent;
    silent.operational = {{"InitialR2T", ""}, {"ImmediateData", ""}};
    auto engine = make(config);
    REQUIRE(silent.run(*engine).has_value());
    CHECK(engine->negotiated().session.initial_r2t);
    CHECK_FALSE(engine->negotiated().session.immediate_data);
    FakeLoginTarget turning;
    turning.operational = {{"InitialR2T", "No"}};
    CHECK(failure(turning, config).code == Errc::protocol);
    FakeLoginTarget turning_too;
    turning_too.operational = {{"ImmediateData", "Yes"}};
    CHECK(failure(turning_too, config).code == Errc::protocol);
}

TEST_CASE("MaxRecvDataSegmentLength is the target's own declaration",
          "[login][KEY-MaxRecvDataSegmentLength][TEXT-05b][UNH-LOGIN-14.1]") {
    judge({"MaxRecvDataSegmentLength",
           {{"512", 512}, {"16777215", 16777215}, {"0xffffff", 16777215}, {"262145", 262145}},
           {"511", "0", "16777216", "-512", "0512", "4096k", "Yes", "4294967808", "18446744073709552128"},
           8192,
           8192,
           true,
           [](const Negotiated& n) -> std::uint32_t { return n.connection.max_xmit_data_segment_bytes; },
           true});
}

TEST_CASE("MaxBurstLength is the smaller of the two",
          "[login][KEY-MaxBurstLength][TEXT-05b][UNH-LOGIN-15.1]") {
    judge({"MaxBurstLength",
           {{"262144", 262144}, {"1048576", 1048576}, {"0x100000", 1048576}},
           {"511", "0", "1048577", "16777216", "-1", "0262144", "Yes", "1048576 "},
           std::nullopt,
           262144,
           false,
           [](const Negotiated& n) -> std::uint32_t { return n.session.max_burst_bytes; }});
}

TEST_CASE("FirstBurstLength is the smaller of the two",
          "[login][KEY-FirstBurstLength][TEXT-05b][UNH-LOGIN-7.4][UNH-LOGIN-16.1][UNH-LOGIN-16.2]") {
    judge({"FirstBurstLength",
           {{"512", 512}, {"262144", 262144}, {"0X200", 512}},
           {"511", "0", "262145", "16777215", "16777216", "-1", "00512", "No"},
           std::nullopt,
           65536,
           false,
           [](const Negotiated& n) -> std::uint32_t { return n.session.first_burst_bytes; }});
}

TEST_CASE("a burst as short as the first one may be is agreed on", "[login][KEY-MaxBurstLength][TEXT-09]") {
    FakeLoginTarget target;
    target.operational = {{"MaxBurstLength", "512"}, {"FirstBurstLength", "512"}};
    auto engine = make(roomy());
    REQUIRE(target.run(*engine).has_value());
    CHECK(engine->negotiated().session.max_burst_bytes == 512);
    CHECK(engine->negotiated().session.first_burst_bytes == 512);
}

TEST_CASE("a first burst above the burst is judged when both are known, and only if there is any",
          "[login][KEY-FirstBurstLength][TEXT-09][UNH-LOGIN-16.3]") {
    FakeLoginTarget target;
    target.operational = {{"MaxBurstLength", "65536"}, {"FirstBurstLength", "65540"}};
    CHECK(failure(target, roomy()).code == Errc::protocol);
    FakeLoginTarget unused = FakeLoginTarget();
    unused.operational = target.operational;
    unused.operational["InitialR2T"] = "Yes";
    unused.operational["ImmediateData"] = "No";
    CHECK(unused.run(*make(roomy())).has_value());
}

TEST_CASE("DefaultTime2Wait is the longer of the two", "[login][KEY-DefaultTime2Wait][UNH-LOGIN-18.1]") {
    judge({"DefaultTime2Wait",
           {{"5", 5}, {"3600", 3600}, {"0xE10", 3600}},
           {"4", "0", "3601", "-1", "05", "Yes"},
           std::nullopt,
           2,
           true,
           [](const Negotiated& n) -> std::uint32_t { return n.session.time2wait_s; }});
}

TEST_CASE("DefaultTime2Retain is the shorter of the two", "[login][KEY-DefaultTime2Retain][UNH-LOGIN-17.1]") {
    judge({"DefaultTime2Retain",
           {{"0", 0}, {"30", 30}, {"0x1E", 30}},
           {"31", "3600", "3601", "-1", "030", "No"},
           std::nullopt,
           20,
           true,
           [](const Negotiated& n) -> std::uint32_t { return n.session.time2retain_s; }});
}

TEST_CASE("MaxOutstandingR2T is the smaller of the two",
          "[login][KEY-MaxOutstandingR2T][TEXT-05b][UNH-LOGIN-19.1]") {
    judge({"MaxOutstandingR2T",
           {{"1", 1}, {"8", 8}},
           {"0", "9", "65535", "65536", "-1", "08", "Yes"},
           std::nullopt,
           1,
           false,
           [](const Negotiated& n) -> std::uint32_t { return n.session.max_outstanding_r2t; }});
}

TEST_CASE("DataPDUInOrder stays Yes", "[login][KEY-DataPDUInOrder]") {
    judge({"DataPDUInOrder",
           {{"Yes", 1}},
           {"No", "yes", "1"},
           1,
           1,
           false,
           [](const Negotiated& n) -> std::uint32_t { return n.session.data_pdu_in_order ? 1 : 0; }});
}

TEST_CASE("DataSequenceInOrder stays Yes", "[login][KEY-DataSequenceInOrder]") {
    judge({"DataSequenceInOrder",
           {{"Yes", 1}},
           {"No", "yes", "1"},
           1,
           1,
           false,
           [](const Negotiated& n) -> std::uint32_t { return n.session.data_sequence_in_order ? 1 : 0; }});
}

TEST_CASE("ErrorRecoveryLevel stays 0", "[login][KEY-ErrorRecoveryLevel][UNH-LOGIN-20.1]") {
    judge({"ErrorRecoveryLevel",
           {{"0", 0}, {"0x0", 0}},
           {"1", "2", "3", "-1", "00", "No"},
           0,
           0,
           true,
           [](const Negotiated& n) -> std::uint32_t { return n.session.error_recovery_level; }});
}

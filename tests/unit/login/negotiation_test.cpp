#include "login/negotiation.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <string>

using iscsi::base::Errc;
using iscsi::login::check_offers;
using iscsi::login::Negotiated;
using iscsi::login::Negotiation;
using iscsi::login::Offers;
using iscsi::wire::KeyWriter;
using iscsi::wire::LoginStage;
namespace base = iscsi::base;

namespace {

/// A negotiation at the point where everything is offered.
struct Bench {
    Negotiation negotiation;
    KeyWriter offers{65536};
    KeyWriter answers{65536};

    explicit Bench(Offers wished = {}, bool discovery = false) : negotiation(std::move(wished), discovery) {
        REQUIRE(negotiation.write_offers(offers).has_value());
    }
    Errc give(std::string_view key, std::string_view value, LoginStage stage = LoginStage::operational) {
        auto given = negotiation.on_key({key, value}, stage, answers);
        return given ? Errc::unknown : given.error().code;
    }
    std::string answered() const {
        std::string text(base::text_of(answers.bytes()));
        std::replace(text.begin(), text.end(), '\0', '\n');
        return text;
    }
    /// Answers all that is still open with what the RFC allows, then finishes.
    base::Result<Negotiated> finish_with(const std::map<std::string, std::string>& given) {
        std::map<std::string, std::string> all{
            {"HeaderDigest", "None"},      {"DataDigest", "None"},        {"DefaultTime2Wait", "2"},
            {"DefaultTime2Retain", "0"},   {"InitialR2T", "No"},          {"ImmediateData", "Yes"},
            {"MaxBurstLength", "262144"},  {"FirstBurstLength", "65536"}, {"MaxOutstandingR2T", "1"},
            {"MaxConnections", "1"},       {"ErrorRecoveryLevel", "0"},   {"DataPDUInOrder", "Yes"},
            {"DataSequenceInOrder", "Yes"}};
        for (const auto& [key, value] : given) {
            all[key] = value;
        }
        for (const auto& [key, value] : all) {
            if (!value.empty() && give(key, value) != Errc::unknown) {
                return base::fail(Errc::protocol, key);
            }
        }
        return negotiation.finish();
    }
};

constexpr Errc fine = Errc::unknown;

struct Case {
    const char* key;
    const char* value;
    Errc expected;
};

} // namespace

TEST_CASE("an answer within the offer and the key's range is taken, any other refused",
          "[rfc7143-13][TEXT-03][TEXT-04][TEXT-05b][TEXT-06]") {
    Offers offers;
    offers.header_digest = "CRC32C,None";
    offers.data_digest = "None";
    offers.max_outstanding_r2t = 8;
    offers.time2wait_s = 5;
    offers.time2retain_s = 30;
    const auto row = GENERATE(
        // The low and the high edge, one beyond each, and what is not the type.
        Case{"MaxBurstLength", "512", fine}, Case{"MaxBurstLength", "16776192", fine},
        Case{"MaxBurstLength", "511", Errc::protocol}, Case{"MaxBurstLength", "16776193", Errc::protocol},
        Case{"MaxBurstLength", "0", Errc::protocol}, Case{"MaxBurstLength", "-1", Errc::protocol},
        Case{"MaxBurstLength", "", Errc::protocol}, Case{"MaxBurstLength", "Yes", Errc::protocol},
        Case{"MaxBurstLength", "0x1000", fine}, Case{"MaxBurstLength", "0XfF0000", fine},
        Case{"MaxBurstLength", "01000", Errc::protocol}, Case{"MaxBurstLength", "4096 ", Errc::protocol},
        Case{"MaxBurstLength", "4096k", Errc::protocol}, Case{"MaxBurstLength", "512~4096", Errc::protocol},
        Case{"MaxBurstLength", "18446744073709552128", Errc::protocol}, Case{"FirstBurstLength", "512", fine},
        Case{"FirstBurstLength", "262144", fine}, Case{"FirstBurstLength", "511", Errc::protocol},
        Case{"FirstBurstLength", "262145", Errc::protocol}, Case{"MaxRecvDataSegmentLength", "512", fine},
        Case{"MaxRecvDataSegmentLength", "16777215", fine},
        Case{"MaxRecvDataSegmentLength", "511", Errc::protocol},
        Case{"MaxRecvDataSegmentLength", "16777216", Errc::protocol},
        Case{"MaxRecvDataSegmentLength", "0", Errc::protocol},
        Case{"MaxRecvDataSegmentLength", "None", Errc::protocol}, Case{"MaxOutstandingR2T", "1", fine},
        Case{"MaxOutstandingR2T", "8", fine}, Case{"MaxOutstandingR2T", "0", Errc::protocol},
        Case{"MaxOutstandingR2T", "9", Errc::protocol}, Case{"MaxConnections", "1", fine},
        Case{"MaxConnections", "2", Errc::protocol}, Case{"MaxConnections", "0", Errc::protocol},
        Case{"MaxConnections", "65536", Errc::protocol}, Case{"DefaultTime2Wait", "5", fine},
        Case{"DefaultTime2Wait", "3600", fine}, Case{"DefaultTime2Wait", "4", Errc::protocol},
        Case{"DefaultTime2Wait", "3601", Errc::protocol}, Case{"DefaultTime2Retain", "0", fine},
        Case{"DefaultTime2Retain", "30", fine}, Case{"DefaultTime2Retain", "31", Errc::protocol},
        Case{"DefaultTime2Retain", "x", Errc::protocol}, Case{"ErrorRecoveryLevel", "0", fine},
        Case{"ErrorRecoveryLevel", "1", Errc::protocol}, Case{"ErrorRecoveryLevel", "3", Errc::protocol},
        Case{"InitialR2T", "Yes", fine}, Case{"InitialR2T", "No", fine},
        Case{"InitialR2T", "yes", Errc::protocol}, Case{"InitialR2T", "1", Errc::protocol},
        Case{"ImmediateData", "Yes", fine}, Case{"ImmediateData", "No", fine},
        Case{"ImmediateData", "", Errc::protocol}, Case{"DataPDUInOrder", "Yes", fine},
        Case{"DataPDUInOrder", "No", Errc::protocol}, Case{"DataSequenceInOrder", "Yes", fine},
        Case{"DataSequenceInOrder", "No", Errc::protocol}, Case{"HeaderDigest", "CRC32C", fine},
        Case{"HeaderDigest", "None", fine}, Case{"HeaderDigest", "CRC32C,None", Errc::protocol},
        Case{"HeaderDigest", "crc32c", Errc::protocol}, Case{"HeaderDigest", "", Errc::protocol},
        Case{"DataDigest", "None", fine}, Case{"DataDigest", "CRC32C", Errc::protocol},
        Case{"DataDigest", "Reject", fine}, Case{"MaxBurstLength", "Reject", fine},
        Case{"FirstBurstLength", "Irrelevant", fine}, Case{"MaxBurstLength", "NotUnderstood", Errc::protocol},
        Case{"HeaderDigest", "NotUnderstood", Errc::protocol}, Case{"TargetPortalGroupTag", "0", fine},
        Case{"TargetPortalGroupTag", "65535", fine}, Case{"TargetPortalGroupTag", "65536", Errc::protocol},
        Case{"TargetPortalGroupTag", "", Errc::protocol},
        Case{"InitiatorName", "iqn.2026-01.x", Errc::protocol}, Case{"TargetName", "x", Errc::protocol},
        Case{"SessionType", "Normal", Errc::protocol}, Case{"SendTargets", "All", Errc::protocol});
    CAPTURE(row.key, row.value);
    Bench bench(offers);
    CHECK(bench.give(row.key, row.value) == row.expected);
    CHECK(bench.answered().empty());
}

TEST_CASE("a key that comes twice is refused, except TargetAddress",
          "[rfc7143-6.2][LOGIN-14][UNH-LOGIN-6.3]") {
    for (const iscsi::login::LoginKey& key : iscsi::login::login_keys()) {
        if (key.sender == iscsi::login::KeySender::initiator) {
            continue;
        }
        std::string name(key.name);
        CAPTURE(name);
        bool offered = key.type == iscsi::login::KeyType::list && key.name != "TaskReporting";
        std::string value = offered ? "None" : key.type == iscsi::login::KeyType::boolean ? "Yes" : "512";
        if (name == "DefaultTime2Retain" || name == "ErrorRecoveryLevel") {
            value = "0";
        } else if (name == "MaxConnections" || name == "MaxOutstandingR2T" || name == "iSCSIProtocolLevel") {
            value = "1";
        }
        Bench bench;
        CHECK(bench.give(name, value) == fine);
        CHECK(bench.give(name, value) == (name == "TargetAddress" ? fine : Errc::protocol));
    }
    Bench bench;
    CHECK(bench.give("X-com.example.key", "1") == fine);
    CHECK(bench.give("X-com.example.key", "1") == Errc::protocol);
}

TEST_CASE("operational keys belong to the operational stage, declarations to any",
          "[rfc7143-6.3][LOGIN-15]") {
    for (const iscsi::login::LoginKey& key : iscsi::login::login_keys()) {
        std::string name(key.name);
        CAPTURE(name);
        Bench bench;
        bool allowed = name == "TargetAlias" || name == "TargetAddress" || name == "TargetPortalGroupTag" ||
                       name == "X#NodeArchitecture";
        CHECK(bench.give(name, "1", LoginStage::security) == (allowed ? fine : Errc::protocol));
    }
}

TEST_CASE("an answer that could change the outcome must not be missing", "[rfc7143-6.2][TEXT-06]") {
    auto key = GENERATE("DefaultTime2Wait", "ImmediateData", "InitialR2T", "MaxBurstLength",
                        "FirstBurstLength", "HeaderDigest", "MaxOutstandingR2T");
    Offers offers;
    offers.header_digest = "CRC32C,None";
    offers.max_outstanding_r2t = 4;
    Bench bench(offers);
    auto finished = bench.finish_with({{key, ""}});
    REQUIRE_FALSE(finished.has_value());
    CHECK(finished.error().code == Errc::protocol);
    CHECK_THAT(finished.error().detail, Catch::Contains(key));
}

TEST_CASE("an answer that could only be one value may be missing", "[rfc7143-6.2][TEXT-06]") {
    auto key = GENERATE("DataDigest", "MaxConnections", "ErrorRecoveryLevel", "DataPDUInOrder",
                        "DataSequenceInOrder", "DefaultTime2Retain", "MaxOutstandingR2T");
    Bench bench;
    auto finished = bench.finish_with({{key, ""}});
    REQUIRE(finished.has_value());
    CHECK(finished->session.time2retain_s == 0);
    CHECK(finished->session.max_connections == 1);
    CHECK(finished->session.data_pdu_in_order);
    CHECK_FALSE(finished->connection.data_digest);
}

TEST_CASE("every result lands in its member", "[rfc7143-13]") {
    Offers offers;
    offers.header_digest = "CRC32C,None";
    offers.data_digest = "None,CRC32C";
    offers.max_outstanding_r2t = 16;
    offers.time2retain_s = 60;
    offers.max_recv_data_segment_bytes = 131072;
    Bench bench(offers);
    auto finished = bench.finish_with({{"HeaderDigest", "CRC32C"},
                                       {"DataDigest", "CRC32C"},
                                       {"DefaultTime2Wait", "9"},
                                       {"DefaultTime2Retain", "7"},
                                       {"InitialR2T", "Yes"},
                                       {"ImmediateData", "No"},
                                       {"MaxBurstLength", "1048576"},
                                       {"FirstBurstLength", "8192"},
                                       {"MaxOutstandingR2T", "3"},
                                       {"MaxRecvDataSegmentLength", "32768"}});
    REQUIRE(finished.has_value());
    CHECK(finished->connection.header_digest);
    CHECK(finished->connection.data_digest);
    CHECK(finished->connection.max_recv_data_segment_bytes == 131072);
    CHECK(finished->connection.max_xmit_data_segment_bytes == 32768);
    CHECK(finished->session.time2wait_s == 9);
    CHECK(finished->session.time2retain_s == 7);
    CHECK(finished->session.initial_r2t);
    CHECK_FALSE(finished->session.immediate_data);
    CHECK(finished->session.max_burst_bytes == 1048576);
    CHECK(finished->session.first_burst_bytes == 8192);
    CHECK(finished->session.max_outstanding_r2t == 3);
    CHECK(finished->session.error_recovery_level == 0);
}

TEST_CASE("a target that declares no segment length takes 8192 bytes", "[rfc7143-13.12]") {
    Bench bench;
    CHECK(bench.finish_with({})->connection.max_xmit_data_segment_bytes == 8192);
}

TEST_CASE("the cap on sent segments only lowers what the target declared", "[rfc7143-13.12]") {
    Offers offers;
    offers.max_xmit_data_segment_bytes = 65536;
    Bench larger(offers);
    CHECK(larger.finish_with({{"MaxRecvDataSegmentLength", "262144"}})
              ->connection.max_xmit_data_segment_bytes == 65536);
    Bench smaller(offers);
    CHECK(
        smaller.finish_with({{"MaxRecvDataSegmentLength", "4096"}})->connection.max_xmit_data_segment_bytes ==
        4096);
}

TEST_CASE("Reject and Irrelevant leave the RFC's default", "[rfc7143-6.2][TEXT-05]") {
    auto word = GENERATE("Reject", "Irrelevant");
    Offers offers;
    offers.initial_r2t = false;
    Bench bench(offers);
    auto finished =
        bench.finish_with({{"InitialR2T", word}, {"MaxBurstLength", word}, {"DefaultTime2Wait", word}});
    REQUIRE(finished.has_value());
    CHECK(finished->session.initial_r2t);
    CHECK(finished->session.max_burst_bytes == 262144);
    CHECK(finished->session.time2wait_s == 2);
}

TEST_CASE("a first burst above the burst is refused when both were agreed",
          "[rfc7143-13.14][TEXT-09][UNH-LOGIN-7.4]") {
    Bench bench;
    auto finished = bench.finish_with({{"MaxBurstLength", "4096"}, {"FirstBurstLength", "8192"}});
    REQUIRE_FALSE(finished.has_value());
    CHECK(finished.error().code == Errc::protocol);
    Bench irrelevant;
    auto shrunk = irrelevant.finish_with({{"MaxBurstLength", "4096"}, {"FirstBurstLength", "Irrelevant"}});
    REQUIRE(shrunk.has_value());
    CHECK(shrunk->session.first_burst_bytes == 4096);
}

TEST_CASE("a digest without None in its list is insisted on", "[rfc7143-13.1]") {
    Offers offers;
    offers.data_digest = "CRC32C";
    for (const char* answer : {"Reject", "Irrelevant"}) {
        Bench bench(offers);
        auto finished = bench.finish_with({{"DataDigest", answer}});
        REQUIRE_FALSE(finished.has_value());
        CHECK(finished.error().code == Errc::fatal_login);
    }
    Bench none(offers);
    CHECK(none.give("DataDigest", "None") == Errc::fatal_login);
    Bench agreed(offers);
    CHECK(agreed.finish_with({{"DataDigest", "CRC32C"}})->connection.data_digest);
}

TEST_CASE("what the target proposes is answered once with the key's rule",
          "[rfc7143-6.2][TEXT-04][TEXT-06][TEXT-07][TEXT-08][UNH-LOGIN-12.1]") {
    struct Row {
        const char* key;
        const char* value;
        const char* answer;
    };
    const auto row = GENERATE(
        Row{"TaskReporting", "FastAbort,RFC3720", "TaskReporting=RFC3720\n"},
        Row{"TaskReporting", "FastAbort", "TaskReporting=Reject\n"},
        Row{"iSCSIProtocolLevel", "2", "iSCSIProtocolLevel=1\n"},
        Row{"iSCSIProtocolLevel", "0", "iSCSIProtocolLevel=0\n"}, Row{"IFMarker", "Yes", "IFMarker=Reject\n"},
        Row{"OFMarker", "Yes", "OFMarker=Reject\n"}, Row{"IFMarker", "No", ""},
        Row{"IFMarkInt", "2048~8192", "IFMarkInt=Reject\n"}, Row{"OFMarkInt", "1", "OFMarkInt=Reject\n"},
        Row{"X-com.example.a", "b", "X-com.example.a=NotUnderstood\n"},
        Row{"Unheard", "of", "Unheard=NotUnderstood\n"});
    CAPTURE(row.key, row.value);
    Bench bench;
    CHECK(bench.give(row.key, row.value) == fine);
    CHECK(bench.answered() == row.answer);
}

TEST_CASE("answers are never proposals", "[rfc7143-6.2][TEXT-05]") {
    auto word = GENERATE("Reject", "Irrelevant", "NotUnderstood");
    auto key = GENERATE("TaskReporting", "IFMarker", "iSCSIProtocolLevel", "X-key");
    Bench bench;
    CHECK(bench.give(key, word) == Errc::protocol);
}

TEST_CASE("in discovery the keys of disks are irrelevant", "[rfc7143-13][TEXT-07][DISC-06]") {
    for (const iscsi::login::LoginKey& key : iscsi::login::login_keys()) {
        if (key.in_discovery) {
            continue;
        }
        std::string name(key.name);
        Bench bench({}, true);
        CHECK(bench.give(name, "1") == fine);
        CHECK(bench.answered() == name + "=Irrelevant\n");
    }
    Bench bench({}, true);
    CHECK(bench.give("ErrorRecoveryLevel", "0") == fine);
    CHECK(bench.give("DefaultTime2Wait", "2") == fine);
    CHECK(bench.negotiation.finish().has_value());
}

TEST_CASE("the number of unknown keys is bounded", "[rfc7143-6.1][LOGIN-18]") {
    Bench bench;
    Errc result = fine;
    int given = 0;
    while (result == fine && given < 1000) {
        result = bench.give("K" + std::to_string(given++), "");
    }
    CHECK(result == Errc::protocol);
    CHECK(given > 64);
}

TEST_CASE("offers out of range are the operator's error", "[config]") {
    Offers offers;
    CHECK(check_offers(offers).has_value());
    auto bad = GENERATE(0, 1, 2, 3, 4, 5, 6, 7, 8);
    switch (bad) {
    case 0:
        offers.max_burst_bytes = 1U << 24;
        break;
    case 1:
        offers.first_burst_bytes = 511;
        break;
    case 2:
        offers.first_burst_bytes = offers.max_burst_bytes + 1;
        break;
    case 3:
        offers.max_recv_data_segment_bytes = 0;
        break;
    case 4:
        offers.max_outstanding_r2t = 0;
        break;
    case 5:
        offers.time2wait_s = 3601;
        break;
    case 6:
        offers.time2retain_s = 3601;
        break;
    case 7:
        offers.header_digest = "CRC32C,CRC32C";
        break;
    default:
        offers.max_xmit_data_segment_bytes = 100;
        break;
    }
    auto checked = check_offers(offers);
    REQUIRE_FALSE(checked.has_value());
    CHECK(checked.error().code == Errc::invalid);
}

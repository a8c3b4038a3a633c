// The judge must be able to convict: an initiator made by hand breaks one duty after the other, and each time
// the judge must say what, and nothing else.
#include "scripted/hand_made.hpp"

#include <catch2/catch.hpp>
#include <functional>
#include <vector>

using namespace iscsi::scripted;

namespace {

struct Case {
    const char* complaint; ///< part of what the judge must say; "" = nothing
    std::function<void(HandMade&)> act;
};

void check_cases(const std::vector<Case>& cases, const std::function<void(HandMade&)>& before) {
    for (const Case& each : cases) {
        HandMade by_hand;
        before(by_hand);
        CHECK(by_hand.target.complaints() == std::vector<std::string>());
        each.act(by_hand);
        std::vector<std::string> complaints = by_hand.target.complaints();
        INFO("expected: " << each.complaint);
        INFO("said: " << (complaints.empty() ? "nothing" : complaints[0]));
        if (std::string(each.complaint).empty()) {
            CHECK(complaints.empty());
        } else {
            REQUIRE(complaints.size() == 1);
            CHECK(complaints[0].find(each.complaint) != std::string::npos);
        }
    }
}

/// Two Login Requests; the second is bent.
std::function<void(HandMade&)> second(const std::function<void(Pdu&)>& bend) {
    return [bend](HandMade& h) {
        h.send(h.first_login());
        Pdu pdu = h.second_login();
        bend(pdu);
        h.send(pdu);
    };
}

std::function<void(HandMade&)> first(const std::function<void(Pdu&)>& bend) {
    return [bend](HandMade& h) {
        Pdu pdu = h.first_login();
        bend(pdu);
        h.send(pdu);
    };
}

std::uint32_t last_ttt(HandMade& h) {
    return h.target.sent(r2t).back().get32(field::ttt);
}

/// In full feature phase with a write of two blocks, for which an R2T is open.
void with_write(HandMade& h) {
    h.log_in();
    h.take(h.write(7, 2));
}

/// The same, but unsolicited data is announced.
void with_unsolicited(HandMade& h) {
    h.operational = HandMade::text({"InitialR2T=No", "ImmediateData=Yes", "FirstBurstLength=1024"});
    h.log_in();
    h.take(h.write(7, 4).set(field::final, 0).with_data(ByteVector(512)));
}

} // namespace

TEST_CASE("the judge convicts in the login phase") {
    check_cases(
        {
            {"", second([](Pdu&) {})},
            {"without I", first([](Pdu& p) { p.set(field::immediate, 0); })},
            {"both T and C", first([](Pdu& p) { p.set(field::continues); })},
            {"a version", first([](Pdu& p) { p.set(field::version_min, 1); })},
            {"a transition", first([](Pdu& p) { p.set(field::next_stage, 2); })},
            {"NSG without T", first([](Pdu& p) { p.set(field::transit, 0); })},
            {"begins nowhere", first([](Pdu& p) {
                 p.set(field::transit, 0).set(field::next_stage, 0).set(field::current_stage, 2);
             })},
            {"no InitiatorName", first([](Pdu& p) { p.erase_key("InitiatorName"); })},
            {"no TargetName", first([](Pdu& p) { p.erase_key("TargetName"); })},
            {"", first([](Pdu& p) { p.erase_key("TargetName").set_key("SessionType", "Discovery"); })},
            {"operational stage", first([](Pdu& p) { p.set_key("InitialR2T", "No"); })},
            {"not a key", first([](Pdu& p) { p.set_key("initialr2t", "No"); })},
            {"a long value", first([](Pdu& p) { p.set_key("InitiatorAlias", std::string(256, 'a')); })},
            {"without its NUL", first([](Pdu& p) { p.with_text(p.text() + "A=b"); })},
            {"reserved bits", first([](Pdu& p) { p.set(bytes_at("reserved", 22, 2)); })},
            {"MaxRecvDataSegmentLength", first([](Pdu& p) {
                 p.with_text(p.text() + std::string(8192, '\0')).data.resize(8193);
                 p.with_text(HandMade::text({"InitiatorName=iqn.2026-01.a:i", "TargetName=b",
                                             "AuthMethod=None", "CHAP_C=" + std::string(8200, 'A')}));
             })},
            {"another ISID", second([](Pdu& p) { p.set(field::isid, 5); })},
            {"another CmdSN", second([](Pdu& p) { p.set(field::cmd_sn, 5); })},
            {"another ITT", second([](Pdu& p) { p.set(field::itt, 2); })},
            {"another CID", second([](Pdu& p) { p.set(field::cid, 2); })},
            {"another TSIH", second([](Pdu& p) { p.set(field::tsih, 2); })},
            {"another stage", second([](Pdu& p) { p.set(field::current_stage, 0).with_text(""); })},
            {"StatSN + 1", second([](Pdu& p) { p.set(field::exp_stat_sn, 77); })},
            {"second time", second([](Pdu& p) { p.set_key("InitiatorName", "iqn.2026-01.a:i"); })},
            {"security stage", second([](Pdu& p) { p.set_key("CHAP_A", "5"); })},
            {"not a Login Request", [](HandMade& h) { h.send(h.command(1).set(field::immediate)); }},
            {"before the answer",
             [](HandMade& h) {
                 h.target.on(login_request).ignore();
                 h.send(h.first_login());
                 h.target.judge.excuse(Duty::exp_stat_sn);
                 h.send(h.second_login());
             }},
        },
        [](HandMade&) {});
}

TEST_CASE("the judge convicts PDUs of a wrong form") {
    check_cases(
        {
            {"",
             [](HandMade& h) {
                 h.take(h.command(1));
                 h.take(h.command(1));
             }},
            {"a login in full", [](HandMade& h) { h.send(h.immediate(Opcode::login_request, 1)); }},
            {"no opcode",
             [](HandMade& h) {
                 h.target.judge.excuse(Duty::tags);
                 h.send(h.immediate(Opcode::nop_in, 5).set(field::final));
             }},
            {"reserved bits", [](HandMade& h) { h.take(h.command(1).set(bytes_at("reserved", 2, 2), 1)); }},
            {"reserved bits",
             [](HandMade& h) {
                 h.take(h.command(1).set({"bit", 0, 0, 1}));
             }},
            {"bit 0 of byte 1",
             [](HandMade& h) {
                 h.send(h.immediate(Opcode::nop_out, 1).set(field::ttt, no_tag).set(field::final, 0));
             }},
            {"an AHS",
             [](HandMade& h) {
                 Pdu pdu = h.immediate(Opcode::nop_out, 1).set(field::ttt, no_tag);
                 pdu.ahs.resize(4);
                 h.send(pdu);
             }},
        },
        [](HandMade& h) { h.log_in(); });
}

TEST_CASE("the judge convicts wrong numbers and tags, and what is sent at the end") {
    check_cases(
        {
            {"CmdSN is not", [](HandMade& h) { h.send(h.command(1).set(field::cmd_sn, h.cmd_sn + 1)); }},
            {"CmdSN is not",
             [](HandMade& h) {
                 h.take(h.command(1));
                 h.send(h.immediate(Opcode::nop_out, 1)
                            .set(field::ttt, no_tag)
                            .set(field::cmd_sn, h.cmd_sn - 1));
             }},
            {"beyond MaxCmdSN",
             [](HandMade& h) {
                 h.target.on(scsi_command).ignore();
                 for (std::uint32_t i = 0; i <= h.target.config.window; ++i) {
                     h.take(h.command(10 + i));
                 }
             }},
            {"goes backwards",
             [](HandMade& h) {
                 h.take(h.command(1));
                 h.take(h.command(1));
                 h.take(h.command(2).set(field::exp_stat_sn, h.target.stat_sn - 2));
             }},
            {"was not sent",
             [](HandMade& h) { h.take(h.command(1).set(field::exp_stat_sn, h.target.stat_sn + 1)); }},
            {"the reserved Initiator", [](HandMade& h) { h.take(h.command(no_tag)); }},
            {"is in use",
             [](HandMade& h) {
                 h.target.on(scsi_command).ignore();
                 h.take(h.command(3));
                 h.take(h.command(3));
             }},
            {"SNACK at", [](HandMade& h) { h.send(h.request(Opcode::snack, no_tag).set(field::cmd_sn, 0)); }},
            {"a request after Logout",
             [](HandMade& h) {
                 h.send(h.immediate(Opcode::logout_request, 1));
                 h.take(h.command(2));
             }},
            {"Logout of another CID",
             [](HandMade& h) {
                 h.send(h.immediate(Opcode::logout_request, 1).set(field::reason, 1).set(field::cid, 9));
             }},
            {"no reason",
             [](HandMade& h) { h.send(h.immediate(Opcode::logout_request, 1).set(field::reason, 3)); }},
            {"for recovery",
             [](HandMade& h) { h.send(h.immediate(Opcode::logout_request, 1).set(field::reason, 2)); }},
        },
        [](HandMade& h) { h.log_in(); });
}

TEST_CASE("the judge convicts wrong NOP-Outs and Text Requests") {
    auto nop = [](HandMade& h, std::uint32_t itt, std::uint32_t ttt) {
        return h.immediate(Opcode::nop_out, itt).set(field::ttt, ttt);
    };
    check_cases(
        {
            {"",
             [=](HandMade& h) {
                 h.send(nop(h, 1, no_tag));
                 h.send(nop(h, no_tag, h.target.ping(4)).set(field::lun, 4));
             }},
            {"not immediate", [=](HandMade& h) { h.take(nop(h, no_tag, no_tag).set(field::immediate, 0)); }},
            {"was not sent", [=](HandMade& h) { h.send(nop(h, no_tag, 5)); }},
            {"asks and answers", [=](HandMade& h) { h.send(nop(h, 1, h.target.ping())); }},
            {"another LUN", [=](HandMade& h) { h.send(nop(h, no_tag, h.target.ping(4))); }},
            {"was not sent",
             [=](HandMade& h) {
                 std::uint32_t ttt = h.target.ping();
                 h.send(nop(h, no_tag, ttt));
                 h.send(nop(h, no_tag, ttt));
             }},
            {"a first Text Request with a tag",
             [](HandMade& h) {
                 h.send(h.immediate(Opcode::text_request, 1).set(field::final).set(field::ttt, 1));
             }},
            {"both F and C",
             [](HandMade& h) {
                 h.send(h.immediate(Opcode::text_request, 1)
                            .set(field::final)
                            .set(field::continues)
                            .set(field::ttt, no_tag));
             }},
            {"is not the response's",
             [](HandMade& h) {
                 h.target.on(text_request).reply(Pdu(Opcode::text_response).set(field::ttt, 3));
                 Pdu pdu = h.immediate(Opcode::text_request, 1).set(field::final);
                 h.send(Pdu(pdu).set(field::ttt, no_tag));
                 h.send(pdu.set(field::ttt, 4).set(field::exp_stat_sn, h.target.stat_sn));
             }},
        },
        [](HandMade& h) { h.log_in(); });
}

TEST_CASE("the judge convicts wrong task management") {
    auto management = [](HandMade& h, std::uint64_t function) {
        return h.immediate(Opcode::task_request, 50)
            .set(field::function, function)
            .fill(field::referenced_tag, no_tag);
    };
    check_cases(
        {
            {"", [=](HandMade& h) { h.send(management(h, 5)); }},
            {"no function", [=](HandMade& h) { h.send(management(h, 0)); }},
            {"below ErrorRecoveryLevel 2",
             [=](HandMade& h) { h.send(management(h, 8).set(field::referenced_tag, 7)); }},
            {"a Referenced Task Tag",
             [=](HandMade& h) { h.send(management(h, 5).set(field::referenced_tag, 7)); }},
            {"RefCmdSN is reserved",
             [=](HandMade& h) { h.send(management(h, 5).set(field::ref_cmd_sn, 7)); }},
            {"a LUN where", [=](HandMade& h) { h.send(management(h, 6).set(field::lun, 7)); }},
            {"never was", [=](HandMade& h) { h.send(management(h, 1).set(field::referenced_tag, 99)); }},
            {"",
             [=](HandMade& h) {
                 h.send(management(h, 1).set(field::referenced_tag, 7).set(field::ref_cmd_sn, h.cmd_sn - 1));
             }},
            {"is not the task's CmdSN",
             [=](HandMade& h) { h.send(management(h, 1).set(field::referenced_tag, 7)); }},
            {"another LUN than",
             [=](HandMade& h) {
                 h.send(management(h, 1)
                            .set(field::referenced_tag, 7)
                            .set(field::ref_cmd_sn, h.cmd_sn - 1)
                            .set(field::lun, 1));
             }},
        },
        with_write);
}

TEST_CASE("the judge convicts wrong SCSI commands") {
    check_cases(
        {
            {"", [](HandMade& h) { h.take(h.write(1, 2)); }},
            {"neither F nor W", [](HandMade& h) { h.take(h.command(1).set(field::final, 0)); }},
            {"no task attribute", [](HandMade& h) { h.take(h.command(1).set(field::attribute, 5)); }},
            {"without a direction",
             [](HandMade& h) { h.take(h.command(1).set(field::expected_length, 512)); }},
            {"both directions", [](HandMade& h) { h.take(h.write(1, 1).set(field::read)); }},
            {"writes nothing", [](HandMade& h) { h.take(h.command(1).with_data(ByteVector(4))); }},
            {"immediate data", [](HandMade& h) { h.take(h.write(1, 1).with_data(ByteVector(512))); }},
            {"but InitialR2T=Yes", [](HandMade& h) { h.take(h.write(1, 1).set(field::final, 0)); }},
        },
        [](HandMade& h) { h.log_in(); });
    check_cases(
        {
            {"", [](HandMade& h) { h.take(h.write(1, 1).with_data(ByteVector(512))); }},
            {"above FirstBurstLength",
             [](HandMade& h) { h.take(h.write(1, 4).with_data(ByteVector(1028))); }},
            {"more immediate data", [](HandMade& h) { h.take(h.write(1, 1).with_data(ByteVector(516))); }},
            {"nothing can follow",
             [](HandMade& h) { h.take(h.write(1, 1).set(field::final, 0).with_data(ByteVector(512))); }},
        },
        [](HandMade& h) {
            h.operational = HandMade::text({"InitialR2T=No", "ImmediateData=Yes", "FirstBurstLength=1024"});
            h.log_in();
        });
}

TEST_CASE("the judge convicts wrong Data-Outs") {
    check_cases(
        {
            {"",
             [](HandMade& h) {
                 h.send(h.data(7, last_ttt(h), 0, 512));
                 h.send(h.data(7, last_ttt(h), 512, 512).set(field::data_sn, 1).set(field::final));
             }},
            {"never was", [](HandMade& h) { h.send(h.data(8, last_ttt(h), 0, 1024).set(field::final)); }},
            {"of no R2T", [](HandMade& h) { h.send(h.data(7, last_ttt(h) + 1, 0, 1024).set(field::final)); }},
            {"was not announced", [](HandMade& h) { h.send(h.data(7, no_tag, 0, 1024).set(field::final)); }},
            {"another LUN",
             [](HandMade& h) {
                 h.send(h.data(7, last_ttt(h), 0, 1024).set(field::final).set(field::lun, 1));
             }},
            {"DataSN is not",
             [](HandMade& h) {
                 h.send(h.data(7, last_ttt(h), 0, 1024).set(field::final).set(field::data_sn, 1));
             }},
            {"the offset is not",
             [](HandMade& h) { h.send(h.data(7, last_ttt(h), 512, 512).set(field::final)); }},
            {"F is not on", [](HandMade& h) { h.send(h.data(7, last_ttt(h), 0, 1024)); }},
            {"F is not on", [](HandMade& h) { h.send(h.data(7, last_ttt(h), 0, 512).set(field::final)); }},
            {"padding inside", [](HandMade& h) { h.send(h.data(7, last_ttt(h), 0, 510)); }},
            {"without data", [](HandMade& h) { h.send(h.data(7, last_ttt(h), 0, 0)); }},
        },
        with_write);
    check_cases(
        {
            {"", [](HandMade& h) { h.send(h.data(7, no_tag, 512, 512).set(field::final)); }},
            {"a LUN without a tag",
             [](HandMade& h) { h.send(h.data(7, no_tag, 512, 512).set(field::final).set(field::lun, 1)); }},
            {"F is not on", [](HandMade& h) { h.send(h.data(7, no_tag, 512, 256).set(field::final)); }},
            {"before the unsolicited data", [](HandMade& h) { h.take(h.command(8)); }},
        },
        with_unsolicited);
}

TEST_CASE("the judge checks digests and padding") {
    HandMade by_hand;
    by_hand.operational = HandMade::text({"HeaderDigest=CRC32C", "DataDigest=CRC32C", "ImmediateData=Yes"});
    by_hand.log_in();
    Target& target = by_hand.target;
    Pdu write = by_hand.write(1, 1).set(field::expected_length, 511).with_data(ByteVector(511));
    Damage damage;
    std::string said;
    SECTION("nothing is wrong") {}
    SECTION("header digest") {
        damage.header_digest = true;
        said = "a wrong header digest";
    }
    SECTION("data digest") {
        damage.data_digest = true;
        said = "a wrong data digest";
    }
    SECTION("data") {
        damage.flip_data = 3;
        said = "a wrong data digest";
    }
    SECTION("padding") {
        damage.padding = true;
        said = "padding that is not zero";
    }
    target.receive(encode(write, by_hand.digests, damage));
    REQUIRE(target.complaints().size() == (said.empty() ? 0U : 1U));
    CHECK((said.empty() || target.complaints()[0].find(said) != std::string::npos));
}

TEST_CASE("an excused duty is not held against the initiator, and expectations are") {
    HandMade by_hand;
    by_hand.log_in();
    by_hand.target.judge.excuse(Duty::cmd_sn);
    by_hand.send(by_hand.command(1).set(field::cmd_sn, 105));
    CHECK(by_hand.target.complaints().empty());
    by_hand.target.expect(nop_out).exactly(2);
    by_hand.target.expect(scsi_command).never().because("it was said so");
    by_hand.send(by_hand.immediate(Opcode::nop_out, 4).set(field::ttt, no_tag).set(field::cmd_sn, 106));
    CHECK(by_hand.target.complaints().size() == 1);
    by_hand.send(by_hand.command(2).set(field::cmd_sn, 106));
    REQUIRE(by_hand.target.complaints().size() == 2);
    CHECK(by_hand.target.complaints()[1].find("it was said so") != std::string::npos);
}

// UNH-IOL full feature phase, initiators: group 15, NOP-Out.
#include "unh.hpp"

#include <chrono>

using namespace iscsi;
using namespace iscsi::scripted;
using namespace iscsi::scripted::unh;
using namespace std::chrono_literals;

TEST_CASE("a NOP-In with a tag is answered: the tag and the LUN copied, immediate, no tag of ours",
          "[UNH-FFP-15.1][NOP-01]") {
    Rig rig;
    REQUIRE(rig.log_in());
    rig.touch();
    rig.run();
    std::uint32_t tag = rig.target.ping(lun_field(5));
    rig.target.ping();
    rig.run();
    std::vector<Pdu> answers = rig.target.seen(nop_out);
    REQUIRE(answers.size() == 2);
    CHECK(answers[0].get(field::ttt) == tag);
    CHECK(answers[0].get(field::lun) == lun_field(5));
    CHECK(answers[0].get(field::itt) == no_tag);
    CHECK(answers[0].has(field::immediate));
    CHECK(answers[0].has(field::final));
    CHECK(answers[0].data.empty());
    CHECK(answers[0].get32(field::exp_stat_sn) == rig.target.stat_sn);
    CHECK(answers[1].get(field::cmd_sn) == answers[0].get(field::cmd_sn));
    rig.touch();
    rig.run();
    CHECK(rig.target.seen(scsi_command).back().get(field::cmd_sn) == answers[0].get(field::cmd_sn));
    check_clean(rig.target);
}

TEST_CASE("a NOP-In without a tag is not answered", "[UNH-FFP-15.1][NOP-02]") {
    Rig rig;
    REQUIRE(rig.log_in());
    for (int i = 0; i < 5; ++i) {
        rig.target.send(Pdu(Opcode::nop_in));
    }
    rig.run();
    CHECK(rig.target.seen(nop_out).empty());
    CHECK(rig.result);
    check_clean(rig.target);
}

TEST_CASE("a ping of ours has a tag of its own and wants an answer with it", "[UNH-FFP-15.2][NOP-02]") {
    RigConfig config;
    config.nop_out_interval = 5s;
    config.nop_out_timeout = 5s;
    Rig rig(config);
    REQUIRE(rig.log_in());
    rig.target.on(scsi_command).ignore();
    rig.touch(); // in progress meanwhile
    rig.advance(17s);
    CHECK(rig.result);
    std::vector<Pdu> pings = rig.target.seen(nop_out);
    REQUIRE(pings.size() == 3);
    for (const Pdu& ping : pings) {
        CHECK(ping.get(field::itt) != no_tag);
        CHECK(ping.get(field::ttt) == no_tag);
        CHECK(ping.get(field::lun) == 0);
        CHECK(ping.has(field::immediate));
    }
    CHECK(pings[0].get(field::itt) != pings[1].get(field::itt));

    SECTION("without an answer the connection ends") {
        rig.target.on(nop_out).ignore();
        rig.advance(10s);
        CHECK_FALSE(rig.result);
    }
    SECTION("an answer with another tag is none") {
        rig.target.on(nop_out).once().reply(Pdu(Opcode::nop_in).set(field::itt, 0x12345));
        rig.advance(10s);
        CHECK_FALSE(rig.result);
    }
    check_clean(rig.target);
}

TEST_CASE("when many statuses came and nothing else is to be sent, a NOP-Out without tags acknowledges them",
          "[UNH-FFP-15.3][NOP-04]") {
    RigConfig config;
    config.tasks = 512;
    config.target.window = 512;
    Rig rig(config);
    REQUIRE(rig.log_in());
    rig.target.on(scsi_command).hold();
    for (int i = 0; i < 300; ++i) {
        rig.touch();
    }
    rig.run();
    REQUIRE(rig.target.held() == 300);
    rig.target.release();
    rig.run();
    std::vector<Pdu> nops = rig.target.seen(nop_out);
    REQUIRE(nops.size() == 1);
    CHECK(nops[0].get(field::itt) == no_tag);
    CHECK(nops[0].get(field::ttt) == no_tag);
    CHECK(nops[0].has(field::immediate));
    CHECK(nops[0].get32(field::exp_stat_sn) == rig.target.stat_sn);
    CHECK(rig.target.sent(nop_in).empty());
    check_clean(rig.target);
}

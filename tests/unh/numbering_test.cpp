// UNH-IOL full feature phase, initiators: groups 1 to 7, numbering, window and recovery levels.
#include "unh.hpp"

#include <algorithm>
#include <chrono>

using namespace iscsi;
using namespace iscsi::scripted;
using namespace iscsi::scripted::unh;
using namespace std::chrono_literals;

TEST_CASE("CmdSN goes up by one with every command, over the wrap of 32 bits",
          "[UNH-FFP-1.1][SEQ-01][SEQ-03]") {
    Rig rig;
    REQUIRE(rig.log_in());
    for (std::uint64_t i = 0; i < 8; ++i) {
        rig.write(512, i);
        rig.read(512, i);
        rig.touch();
    }
    rig.run();
    std::vector<Pdu> commands = rig.target.seen(scsi_command);
    REQUIRE(commands.size() == 24);
    std::uint32_t cmd_sn = 0xfffffffeU; // the login's, which login did not advance
    for (const Pdu& command : commands) {
        CHECK_FALSE(command.has(field::immediate));
        CHECK(command.get32(field::cmd_sn) == cmd_sn++);
    }
    check_clean(rig.target);
}

TEST_CASE("an immediate request carries the CmdSN of the command after it", "[UNH-FFP-2.1][SEQ-01]") {
    RigConfig config;
    config.nop_out_interval = 5s;
    config.nop_out_timeout = 5s;
    Rig rig(config);
    REQUIRE(rig.log_in());
    rig.touch();
    rig.advance(6s);
    rig.touch();
    rig.run();
    rig.session->begin_logout(rig.now);
    rig.run();
    std::vector<Pdu> pings = rig.target.seen(nop_out);
    std::vector<Pdu> commands = rig.target.seen(scsi_command);
    std::vector<Pdu> logouts = rig.target.seen(logout_request);
    REQUIRE(pings.size() == 1);
    REQUIRE(commands.size() == 2);
    REQUIRE(logouts.size() == 1);
    CHECK(pings[0].has(field::immediate));
    CHECK(pings[0].get(field::cmd_sn) == commands[1].get(field::cmd_sn));
    CHECK(commands[1].get32(field::cmd_sn) == commands[0].get32(field::cmd_sn) + 1);
    CHECK(logouts[0].has(field::immediate));
    CHECK(logouts[0].get32(field::cmd_sn) == commands[1].get32(field::cmd_sn) + 1);
    check_clean(rig.target);
}

TEST_CASE("task management is immediate and takes no CmdSN", "[UNH-FFP-2.2][SEQ-01]") {
    RigConfig config;
    config.recovery.command = 10s;
    config.recovery.abort_task = 15s;
    Rig rig(config);
    REQUIRE(rig.log_in());
    rig.target.on(scsi_command).once().ignore();
    rig.touch();
    rig.advance(11s);
    Io& next = rig.touch();
    rig.run();
    std::vector<Pdu> requests = rig.target.seen(task_request);
    std::vector<Pdu> commands = rig.target.seen(scsi_command);
    REQUIRE(requests.size() == 1);
    REQUIRE(commands.size() == 2);
    CHECK(requests[0].has(field::immediate));
    CHECK(requests[0].get32(field::cmd_sn) == commands[0].get32(field::cmd_sn) + 1);
    CHECK(commands[1].get(field::cmd_sn) == requests[0].get(field::cmd_sn));
    CHECK(next.good());
    check_clean(rig.target);
}

TEST_CASE("nothing but immediate requests goes through a closed window, until it opens",
          "[UNH-FFP-3.1][SEQ-02]") {
    RigConfig config;
    config.target.window = 0; // MaxCmdSN = ExpCmdSN - 1
    Rig rig(config);
    REQUIRE(rig.log_in());
    Io& io = rig.touch();
    rig.target.ping();
    rig.run();
    CHECK(rig.target.seen(scsi_command).empty());
    CHECK(rig.target.seen(nop_out).size() == 1);
    rig.target.config.window = 1;
    rig.target.send(Pdu(Opcode::nop_in));
    rig.run();
    CHECK(rig.target.seen(scsi_command).size() == 1);
    CHECK(io.good());
    check_clean(rig.target);
}

TEST_CASE("a large window is used", "[UNH-FFP-3.2][SEQ-02]") {
    RigConfig config;
    config.target.window = 4096;
    config.tasks = 256;
    Rig rig(config);
    REQUIRE(rig.log_in());
    rig.target.on(scsi_command).hold();
    std::vector<Io*> ios;
    for (int i = 0; i < 200; ++i) {
        ios.push_back(&rig.touch());
    }
    rig.run();
    CHECK(rig.target.held() == 200);
    rig.target.release();
    rig.run();
    CHECK(std::ranges::all_of(ios, [](const Io* io) { return io->good(); }));
    check_clean(rig.target);
}

TEST_CASE("with a window of one, each command waits for the answer to the last", "[UNH-FFP-3.3][SEQ-02]") {
    RigConfig config;
    config.target.window = 1;
    Rig rig(config);
    REQUIRE(rig.log_in());
    rig.target.on(scsi_command).hold();
    for (int i = 0; i < 4; ++i) {
        rig.touch();
    }
    for (std::size_t sent = 1; sent <= 4; ++sent) {
        rig.run();
        CHECK(rig.target.seen(scsi_command).size() == sent);
        CHECK(rig.target.held() == 1);
        rig.target.release();
    }
    rig.run();
    check_clean(rig.target);
}

TEST_CASE("ErrorRecoveryLevel 0 is all that is offered, so a command is never retried: it is aborted or its "
          "session ends, and a new session sends it as a new command",
          "[UNH-FFP-4.1]") {
    RigConfig config;
    config.recovery = {30s, 15s, 30s, 30s};
    Rig rig(config);
    REQUIRE(rig.log_in());
    CHECK(offered(rig.target, "ErrorRecoveryLevel") == "0");
    rig.target.on(any_pdu).ignore();
    Io& io = rig.touch();
    rig.run();
    Pdu first = rig.target.seen(scsi_command).at(0);
    for (int i = 0; i < 20; ++i) {
        // As if the command had never come.
        rig.target.send(Pdu(Opcode::nop_in).set(field::exp_cmd_sn, first.get(field::cmd_sn)));
        rig.advance(1s);
    }
    rig.advance(300s);
    CHECK_FALSE(rig.result);
    rig.drop();
    CHECK(io.outcome == session::Outcome::lost);
    CHECK(rig.target.seen(scsi_command).size() == 1);
    CHECK(rig.target.seen(task_request).size() == 3); // abort, unit reset, target reset

    rig.target.clear();
    REQUIRE(rig.log_in());
    CHECK(rig.target.seen(login_request).back().get(field::tsih) == 0);
    Io& again = rig.touch();
    rig.run();
    CHECK(again.good());
    CHECK(rig.target.seen(scsi_command).back().get(field::itt) != no_tag);
    rig.target.expect(snack).never();
    check_clean(rig.target);
}

TEST_CASE("a gap in StatSN ends the session at ErrorRecoveryLevel 0, and is never acknowledged",
          "[UNH-FFP-5.1][SEQ-05]") {
    Rig rig;
    REQUIRE(rig.log_in());
    rig.touch();
    rig.run();
    std::uint32_t gap = GENERATE(1U, 5U, 0x10000U, 0x7ffffff0U);
    rig.target.sending(scsi_response).once().edit([gap](Pdu& pdu) {
        pdu.set(field::stat_sn, pdu.get32(field::stat_sn) + gap);
    });
    rig.target.expect(snack).never();
    Io& io = rig.touch();
    rig.run();
    CHECK_FALSE(rig.result);
    CHECK_FALSE(io.done);
    std::size_t sent = rig.target.seen().size();
    rig.touch();
    rig.run();
    CHECK(rig.target.seen().size() == sent);
    rig.drop();
    CHECK(io.outcome == session::Outcome::lost);
    check_clean(rig.target);
}

TEST_CASE("DataSN counts the Data-Outs of each sequence from 0", "[UNH-FFP-6.1][SEQ-06]") {
    Rig rig(mode(false, true));
    REQUIRE(rig.log_in());
    Io& io = rig.write(100352);
    rig.run();
    CHECK(io.good());
    auto all = sequences(rig.target);
    REQUIRE(all.size() == 4); // one unsolicited, three R2Ts
    for (const auto& [ttt, pdus] : all) {
        for (std::size_t i = 0; i < pdus.size(); ++i) {
            CHECK(pdus[i].get(field::data_sn) == i);
        }
    }
    CHECK(all[no_tag].size() == 3);
    check_clean(rig.target);
}

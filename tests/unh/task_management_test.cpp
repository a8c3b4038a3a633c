// UNH-IOL full feature phase, initiators: group 19, task management, and 17.1 and 14.2, logout. A command
// that is not answered in time is what brings task management about. ABORT TASK SET is never sent: LOGICAL
// UNIT RESET, the step behind ABORT TASK, has the same rules for the tasks it affects (RFC 7143
// section 4.2.3.3).
#include "unh.hpp"

#include <algorithm>
#include <chrono>

using namespace iscsi;
using namespace iscsi::scripted;
using namespace iscsi::scripted::unh;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t abort_task = 1;
constexpr std::uint64_t unit_reset = 5;
constexpr std::uint64_t warm_reset = 6;

RigConfig escalating() {
    RigConfig config = mode(true, false);
    config.target.disk.units = {0, 3};
    config.recovery = {30s, 15s, 30s, 30s};
    return config;
}

/// The step that aborts one task is left out.
RigConfig resetting() {
    RigConfig config = escalating();
    config.recovery.abort_task = {};
    return config;
}

Pdu complete(const Pdu& request) {
    return Pdu(Opcode::task_response).set(field::itt, request.get(field::itt));
}

} // namespace

TEST_CASE("each step of task management carries the CmdSN of the next command and takes none",
          "[UNH-FFP-19.1][TMF-01]") {
    Rig rig(escalating());
    REQUIRE(rig.log_in());
    rig.touch();
    rig.run();
    rig.target.on(scsi_command).once().ignore();
    rig.target.on(task_request).ignore();
    Io& io = rig.touch();
    rig.advance(30s + 15s + 30s + 1s);
    std::vector<Pdu> requests = rig.target.seen(task_request);
    REQUIRE(requests.size() == 3);
    for (const Pdu& request : requests) {
        CHECK(request.has(field::immediate));
        CHECK(request.get32(field::cmd_sn) == rig.config.login.cmd_sn.value() + 2);
    }
    rig.target.send(complete(requests[2]));
    Io& next = rig.touch();
    rig.run();
    CHECK(io.outcome == session::Outcome::aborted);
    CHECK(next.good());
    CHECK(rig.target.seen(scsi_command).back().get(field::cmd_sn) == requests[0].get(field::cmd_sn));
    check_clean(rig.target);
}

TEST_CASE("the LUN of task management is that of the command, and zero where no unit is addressed",
          "[UNH-FFP-19.2][TMF-01][TMF-02]") {
    Rig rig(escalating());
    REQUIRE(rig.log_in());
    rig.target.on(any_pdu).ignore();
    rig.touch(3);
    rig.advance(80s);
    std::vector<Pdu> requests = rig.target.seen(task_request);
    REQUIRE(requests.size() == 3);
    CHECK(requests[0].get(field::function) == abort_task);
    CHECK(requests[0].get(field::lun) == lun_field(3));
    CHECK(requests[1].get(field::function) == unit_reset);
    CHECK(requests[1].get(field::lun) == lun_field(3));
    CHECK(requests[2].get(field::function) == warm_reset);
    CHECK(requests[2].get(field::lun) == 0);
    check_clean(rig.target);
}

TEST_CASE("ABORT TASK names the task by its tag and its CmdSN; what addresses no task names none",
          "[UNH-FFP-19.3][TMF-01]") {
    Rig rig(escalating());
    REQUIRE(rig.log_in());
    rig.target.on(any_pdu).ignore();
    rig.touch(3);
    rig.touch();
    rig.advance(50s);
    Pdu command = rig.target.seen(scsi_command).at(0);
    std::vector<Pdu> requests = rig.target.seen(task_request);
    REQUIRE(requests.size() == 2);
    CHECK(requests[0].get(field::referenced_tag) == command.get(field::itt));
    CHECK(requests[0].get(field::ref_cmd_sn) == command.get(field::cmd_sn));
    CHECK(requests[1].get(field::referenced_tag) == no_tag);
    CHECK(requests[1].get(field::ref_cmd_sn) == 0);
    check_clean(rig.target);
}

TEST_CASE("a reset of a unit ends all commands of the unit, and no others", "[UNH-FFP-19.4.1][TMF-04]") {
    Rig rig(resetting());
    REQUIRE(rig.log_in());
    rig.target.on(scsi_command).ignore();
    std::vector<Io*> affected{&rig.touch(), &rig.read(4096), &rig.write(65536)};
    Io& other = rig.touch(3);
    rig.target.on(task_request).hold();
    rig.advance(31s);
    REQUIRE(rig.target.seen(task_request).size() == 1);
    CHECK(rig.target.seen(task_request)[0].get(field::function) == unit_reset);
    CHECK(std::ranges::none_of(affected, [](const Io* io) { return io->done; }));
    rig.target.expect(task_request.with(field::function, 2)).never().because("there is no ABORT TASK SET");
    rig.target.release();
    rig.run();
    CHECK(
        std::ranges::all_of(affected, [](const Io* io) { return io->outcome == session::Outcome::aborted; }));
    CHECK_FALSE(other.done);
    rig.target.behave(rig.target.seen(scsi_command.with(field::lun, lun_field(3))).at(0));
    rig.run();
    CHECK(other.good());
    check_clean(rig.target);
}

TEST_CASE("while a unit is reset its R2Ts are answered, and no new command goes to it",
          "[UNH-FFP-19.4.2][TMF-04][TMF-05]") {
    Rig rig(resetting());
    REQUIRE(rig.log_in());
    rig.target.on(write_command).hold();
    Io& write = rig.write(65536);
    rig.target.on(task_request).ignore();
    rig.advance(31s);
    REQUIRE(rig.target.seen(task_request).size() == 1);
    Io& held = rig.touch();
    Io& other = rig.touch(3);
    rig.run();
    CHECK(other.good());
    CHECK(rig.target.seen(scsi_command).size() == 2);
    rig.target.executing(write_command).ignore();
    rig.target.release();
    rig.run();
    CHECK(rig.target.sent(r2t).size() == 2);
    CHECK(bytes_of_all(rig.target.seen(data_out)) == 65536);
    CHECK_FALSE(write.done);
    rig.target.send(complete(rig.target.seen(task_request)[0]));
    rig.run();
    CHECK(write.outcome == session::Outcome::aborted);
    CHECK(held.good());
    check_clean(rig.target);
}

TEST_CASE("answers that come before the answer to a reset count, and those behind it do not",
          "[UNH-FFP-19.4.3][TMF-04]") {
    Rig rig(resetting());
    REQUIRE(rig.log_in());
    rig.target.on(scsi_command).ignore();
    Io& before = rig.read(4096);
    Io& behind = rig.read(4096);
    rig.target.on(task_request).ignore();
    rig.advance(31s);
    std::vector<Pdu> commands = rig.target.seen(read_command);
    REQUIRE(rig.target.seen(task_request).size() == 1);
    rig.target.behave(commands[0]);
    rig.run();
    CHECK(before.good());
    CHECK_FALSE(behind.done);
    rig.target.send(complete(rig.target.seen(task_request)[0]));
    rig.run();
    CHECK(behind.outcome == session::Outcome::aborted);
    ByteVector memory = behind.memory;
    rig.target.behave(commands[1]); // data and status
    rig.run();
    CHECK(rig.result);
    CHECK(behind.memory == memory);
    CHECK(behind.outcome == session::Outcome::aborted);
    rig.target.clear();
    Io& next = rig.read(4096);
    rig.run();
    CHECK(next.good());
    check_clean(rig.target);
}

TEST_CASE("TASK REASSIGN belongs to ErrorRecoveryLevel 2, which is not offered: it is never sent",
          "[UNH-FFP-19.5]") {
    Rig rig(escalating());
    REQUIRE(rig.log_in());
    CHECK(offered(rig.target, "ErrorRecoveryLevel") == "0");
    rig.target.expect(task_request.with(field::function, 8)).never();
    rig.target.expect(logout_request.with(field::reason, 2)).never();
    rig.target.on(any_pdu).ignore();
    Io& io = rig.write(4096);
    rig.advance(200s);
    CHECK_FALSE(rig.result);
    rig.drop();
    rig.target.clear();
    REQUIRE(rig.log_in());
    Pdu login = rig.target.seen(login_request).back();
    CHECK(login.get(field::tsih) == 0);
    CHECK(login.get(field::isid) == rig.target.seen(login_request).front().get(field::isid));
    CHECK(io.outcome == session::Outcome::lost);
    Io& again = rig.write(4096);
    rig.run();
    CHECK(again.good());
    check_clean(rig.target);
}

TEST_CASE("one connection a session is offered, so no logout is asked for on another",
          "[UNH-FFP-14.2][SESS-02]") {
    Rig rig;
    rig.target.config.keys["MaxConnections"] = "8";
    REQUIRE(rig.log_in());
    CHECK(offered(rig.target, "MaxConnections") == "1");
    CHECK(rig.negotiated.session.max_connections == 1);
    CHECK(rig.target.judge.parameters.max_connections == 1);
}

TEST_CASE("a logout closes the session, after which nothing is sent", "[UNH-FFP-17.1]") {
    Rig rig;
    REQUIRE(rig.log_in());
    rig.touch();
    rig.run();
    std::uint32_t stat_sn = rig.target.stat_sn;
    rig.session->begin_logout(rig.now);
    Io& late = rig.touch();
    rig.run();
    std::vector<Pdu> requests = rig.target.seen(logout_request);
    REQUIRE(requests.size() == 1);
    CHECK(requests[0].get(field::reason) == 0);
    CHECK(requests[0].get(field::itt) != no_tag);
    CHECK(requests[0].get32(field::exp_stat_sn) == stat_sn);
    CHECK(requests[0].data.empty());
    CHECK(rig.target.seen().back().is(Opcode::logout_request));
    CHECK(rig.session->logged_out());
    CHECK(late.outcome == session::Outcome::lost);
    CHECK(rig.target.ending() == Ending::orderly);
    check_clean(rig.target);
}

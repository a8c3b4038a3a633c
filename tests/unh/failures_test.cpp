// UNH-IOL full feature phase, initiators: group 16.4, what a target answers instead of GOOD, and 7.1, a lost
// connection. Here the whole data path of the daemon is driven, from the block device's request to a real
// socket: what is tried again is its unit's decision (shard/lun).
#include "shard_rig.hpp"
#include "unh.hpp"

#include <algorithm>
#include <cerrno>

using namespace iscsi;
using namespace iscsi::scripted;
using namespace iscsi::scripted::unh;
using block::Verb;

namespace {

constexpr Sense crc_error{0x0b, 0x47, 0x05};
constexpr Sense snack_rejected{0x0b, 0x11, 0x13};
constexpr Sense unexpected_unsolicited_data{0x0b, 0x0c, 0x0c};
constexpr Sense not_enough_unsolicited_data{0x0b, 0x0c, 0x0d};

/// What the target says of a Data-Out whose digest was wrong, as it saw it.
Pdu data_rejected(const Target& target) {
    Pdu rejection(Opcode::reject);
    for (const Pdu& damaged : target.seen(data_out)) {
        rejection.with_data(ByteVector(damaged.header().begin(), damaged.header().end()));
    }
    return rejection.set(field::reject_reason, 0x02);
}

/// The target refuses the first two writes in this way; the request must end well all the same, with commands
/// that are new ones: other tag, next CmdSN (RFC 7143 section 7.2.1: only what the target has not
/// acknowledged is retried).
void check_sent_anew(const Pdu& refusal, bool with_reject = false) {
    ShardRig rig;
    rig.login.login.offers.immediate_data = !with_reject;
    rig.open();
    rig.target.with([&](Target& target) {
        Rule& line = target.executing(write_command).times(2);
        if (with_reject) {
            line.run([&target](const Pdu&) { target.send(data_rejected(target)); });
        }
        line.reply(refusal);
        target.expect(snack).never();
    });
    Request& request = rig.start(Verb::write, 3, 4096);
    rig.run_until([&] { return request.done; });
    CHECK(request.error_number == 0);
    rig.target.with([&](Target& target) {
        std::vector<Pdu> commands = target.seen(write_command);
        REQUIRE(commands.size() == 3);
        for (std::size_t i = 1; i < commands.size(); ++i) {
            CHECK(commands[i].get32(field::cmd_sn) == commands[i - 1].get32(field::cmd_sn) + 1);
            CHECK(commands[i].get(field::itt) != commands[i - 1].get(field::itt));
            CHECK(commands[i].cdb() == commands[0].cdb());
            CHECK(commands[i].data == commands[0].data);
        }
        auto at = target.disks.bytes().begin() + 3 * 512;
        CHECK(std::equal(request.memory.begin(), request.memory.end(), at));
        CHECK(target.connections() == 1);
        check_clean(target);
    });
}

} // namespace

TEST_CASE(
    "a connection that is lost in the middle of writes is followed by a new session, which sends them as "
    "new commands: nothing is reassigned at ErrorRecoveryLevel 0",
    "[UNH-FFP-7.1][ERL-01][SESS-03]") {
    ShardRig rig;
    rig.target.with([](Target& target) {
        target.expect(task_request).never();
        target.expect(logout_request.with(field::reason, 2)).never();
        target.on(write_command).after(2).once().ignore().close(Ending::abort);
    });
    rig.login.login.offers.initial_r2t = true;
    rig.login.login.offers.immediate_data = false;
    rig.open();
    std::vector<Request*> requests;
    for (std::uint64_t i = 0; i < 8; ++i) {
        requests.push_back(&rig.start(Verb::write, i * 64, 32768));
    }
    rig.run_until([&] { return rig.drops.size() == 1; });
    rig.target.with([](Target& target) { target.clear(); });
    rig.open();
    rig.run_until([&] { return rig.lun->idle(); });
    rig.target.with([&](Target& target) {
        CHECK(target.connections() == 2);
        std::vector<Pdu> logins = target.seen(login_request);
        CHECK(offered(target, "ErrorRecoveryLevel") == "0");
        for (const Pdu& login : logins) {
            CHECK(login.get(field::tsih) == 0);
            CHECK(login.get(field::isid) == logins[0].get(field::isid));
        }
        for (std::size_t i = 0; i < requests.size(); ++i) {
            CHECK(requests[i]->error_number == 0);
            auto at = target.disks.bytes().begin() + static_cast<long>(i * 32768);
            CHECK(std::equal(requests[i]->memory.begin(), requests[i]->memory.end(), at));
        }
        check_clean(target);
    });
}

TEST_CASE("a command that ended with a protocol service CRC error is sent as a new command",
          "[UNH-FFP-16.4.1]") {
    check_sent_anew(Target::check_condition(crc_error));
}

TEST_CASE(
    "a Reject of damaged data leaves the command to the CHECK CONDITION behind it, and then it is sent as "
    "a new command",
    "[UNH-FFP-16.4.1][DIG-04]") {
    check_sent_anew(Target::check_condition(crc_error), true);
}

TEST_CASE("a command that ended with SNACK rejected is sent as a new command", "[UNH-FFP-16.4.2]") {
    check_sent_anew(Target::check_condition(snack_rejected));
}

TEST_CASE("a command that ended with unexpected unsolicited data is sent as a new command",
          "[UNH-FFP-16.4.3]") {
    check_sent_anew(Target::check_condition(unexpected_unsolicited_data));
}

TEST_CASE("a command that ended with not enough unsolicited data is sent as a new command",
          "[UNH-FFP-16.4.4]") {
    check_sent_anew(Target::check_condition(not_enough_unsolicited_data));
}

TEST_CASE("a command that found the target busy is sent as a new command, later", "[UNH-FFP-16.4.5]") {
    check_sent_anew(Target::status(scsi_status::busy));
}

TEST_CASE("a command that met a reservation conflict is not sent again: whoever fences wants it to fail, and "
          "the next one goes out as any other",
          "[UNH-FFP-16.4.6]") {
    ShardRig rig;
    rig.open();
    rig.target.with([](Target& target) {
        target.executing(write_command).once().reply(Target::status(scsi_status::reservation_conflict));
    });
    CHECK(rig.finish(Verb::write, 0, 4096) == EBADE);
    CHECK(rig.finish(Verb::write, 0, 4096) == 0);
    rig.target.with([](Target& target) {
        std::vector<Pdu> commands = target.seen(write_command);
        REQUIRE(commands.size() == 2);
        CHECK(commands[1].get32(field::cmd_sn) == commands[0].get32(field::cmd_sn) + 1);
        check_clean(target);
    });
}

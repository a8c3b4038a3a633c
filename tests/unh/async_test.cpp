// UNH-IOL full feature phase, initiators: groups 14 and 20, Asynchronous Messages: over a real socket,
// against the daemon's nexus, and against the whole daemon where it is recovery that must wait (Time2Wait).
#include "daemon_rig.hpp"
#include "shard_rig.hpp"
#include "unh.hpp"

#include <chrono>

using namespace iscsi;
using namespace iscsi::scripted;
using namespace iscsi::scripted::unh;
using namespace std::chrono_literals;
using block::Verb;

namespace {

constexpr std::uint64_t logout_event = 1;
constexpr std::uint64_t drop_connection = 2;
constexpr std::uint64_t drop_session = 3;
constexpr std::uint64_t negotiate = 4;

Pdu message(std::uint64_t event) {
    return Pdu(Opcode::async_message).set(field::async_event, event);
}

/// The target asks; the session is logged out of, on its one connection, and nothing is sent after that.
void check_logs_out(const Pdu& asked) {
    ShardRig rig;
    rig.open();
    CHECK(rig.finish(Verb::write, 0, 4096) == 0);
    rig.target.with([](Target& target) { target.on(scsi_command).ignore(); });
    Request& at_target = rig.start(Verb::write, 8, 4096);
    rig.run_until([&] {
        return rig.target.with([](Target& target) { return target.seen(scsi_command).size() == 2; });
    });
    rig.target.with([&](Target& target) { target.send(asked); });
    rig.run_until([&] { return rig.drops.size() == 1; });
    Request& meanwhile = rig.start(Verb::write, 16, 4096);
    rig.target.with([](Target& target) {
        std::vector<Pdu> requests = target.seen(logout_request);
        REQUIRE(requests.size() == 1);
        CHECK(requests[0].get(field::reason) <= 1);
        CHECK(target.seen().back().is(Opcode::logout_request));
        CHECK(target.seen(scsi_command).size() == 2);
        check_clean(target);
        target.clear();
    });
    CHECK_FALSE(at_target.done);
    CHECK_FALSE(meanwhile.done);
    rig.open();
    rig.run_until([&] { return rig.lun->idle(); });
    CHECK(at_target.error_number == 0);
    CHECK(meanwhile.error_number == 0);
    rig.target.with([](Target& target) { check_clean(target); });
}

/// The daemon is told that it was dropped, and what it must wait for; then the target closes.
void check_comes_back(const Pdu& told) {
    constexpr auto wait = 1s;
    constexpr auto retain = 3s;
    DaemonRig rig;
    rig.log_in();
    base::TimePoint dropped_at = ring::monotonic_now();
    rig.target.with([&](Target& target) {
        target.sending(async_message).once().close();
        target.send(Pdu(told).set(field::parameter2, wait / 1s).set(field::parameter3, retain / 1s));
    });
    rig.run_until([&] { return rig.target.with([](Target& target) { return target.connections() == 2; }); });
    base::TimePoint back_at = ring::monotonic_now();
    CHECK(back_at - dropped_at >= wait);
    CHECK(back_at - dropped_at < wait + retain);
    rig.run_until([&] { return rig.target.with([](Target& target) { return target.judge.full_feature; }); });
    rig.target.with([](Target& target) {
        std::vector<Pdu> logins = target.seen(login_request);
        CHECK(logins.back().get(field::tsih) == 0);
        CHECK(logins.back().get(field::isid) == logins.front().get(field::isid));
        CHECK(target.seen(logout_request).empty());
        check_clean(target);
    });
}

} // namespace

TEST_CASE("a target that asks for a logout gets it, and what was at it is sent in the next session",
          "[UNH-FFP-14.1][UNH-FFP-20.1]") {
    check_logs_out(message(logout_event).set(field::parameter3, 5));
}

TEST_CASE("a target that asks for negotiation gets a logout, and the negotiation of a new login",
          "[UNH-FFP-20.4]") {
    check_logs_out(message(negotiate).set(field::parameter3, 5));
}

TEST_CASE("a connection that the target drops is opened again after Time2Wait and before Time2Retain is over",
          "[UNH-FFP-20.2][ERL-04]") {
    check_comes_back(message(drop_connection).set(field::parameter1, 0));
}

TEST_CASE("a session that the target drops is opened again after Time2Wait and before Time2Retain is over",
          "[UNH-FFP-20.3][ERL-04]") {
    check_comes_back(message(drop_session));
}

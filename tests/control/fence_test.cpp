// Writes that were at the target when a connection was lost: they are sent again, and nothing else is sent,
// only once the target cannot execute the old ones any more.
#include "control/fence.hpp"

#include "control/log_lines.hpp"
#include "control/nbd_user.hpp"
#include "control/units_bench.hpp"

using namespace iscsi;
using namespace iscsi::scripted;
using namespace iscsi::test;
using namespace std::chrono_literals;
using control::is_same_nexus;
using control::Stranded;
using control::stranded;

namespace {

constexpr std::uint8_t write_operation = 0x2a;
constexpr std::uint8_t ordered_attribute = 2;
/// What waits for all that is before it in the unit.
const Match draining = scripted::read_command.with(field::attribute, ordered_attribute);

struct FenceBench : UnitsBench {
    explicit FenceBench(std::vector<std::uint8_t> units = {0}) : FenceBench(disks(std::move(units))) {}
    explicit FenceBench(const DiskConfig& config) : UnitsBench(config) {
        ipc::Login login = login_request();
        REQUIRE(login.node.set(Key::session_default_time2wait, "0"));
        server.with([](Target& target) { target.config.keys["DefaultTime2Wait"] = "0"; });
        luns = log_in(std::move(login)).luns;
        uri = luns.at(0).uri;
    }
    std::size_t connections() {
        return server.with([](Target& target) { return target.connections(); });
    }
    /// The connection is lost when the next command of this kind has come.
    void lose_with(std::uint8_t operation) {
        server.with([&](Target& target) { target.on(command(operation)).once().close(Ending::abort); });
    }
    std::vector<ipc::AttachedLun> luns;
    std::string uri;
};

DiskConfig made_by(const char* vendor) {
    DiskConfig config = disks({0});
    config.vendor = vendor;
    return config;
}

} // namespace

TEST_CASE("a target has given a lost session up after Time2Wait and Time2Retain, but not before 20 s",
          "[rfc7143-6.3.5][ERL-06]") {
    wire::SessionParameters lost;
    lost.time2wait_s = 2;
    lost.time2retain_s = 0;
    const base::TimePoint then(100s);
    CHECK(stranded(then, lost, 1).over_at == then + 22s);
    lost.time2retain_s = 3600;
    CHECK(stranded(then, lost, 1).over_at == then + 3602s);
}

TEST_CASE("only a session of the same portal group is of the same nexus", "[rfc7143-4.4.1][ERL-06]") {
    CHECK(is_same_nexus({{}, 1}, 1));
    CHECK_FALSE(is_same_nexus({{}, 1}, 2));
    CHECK(is_same_nexus({{}, -1}, 2));
    CHECK(is_same_nexus({{}, 1}, -1));
}

TEST_CASE("whether a target ends old sessions is seen once, before a write is sent again",
          "[rfc7143-6.3.5][ERL-06][F-34]") {
    FenceBench bench;
    NbdUser user(bench, bench.uri);
    bench.lose_with(write_operation);
    CHECK(user.execute(NbdUser::Type::write) == 0);
    CHECK(bench.connections() == 3);
    CHECK(bench.seen(command(write_operation)) == 2);
    bench.lose_with(write_operation);
    CHECK(user.execute(NbdUser::Type::write) == 0);
    CHECK(bench.connections() == 4);
}

TEST_CASE("a lost read needs no fence", "[ERL-06]") {
    FenceBench bench;
    NbdUser user(bench, bench.uri);
    bench.lose_with(0x28);
    CHECK(user.execute(NbdUser::Type::read) == 0);
    CHECK(bench.connections() == 2);
}

TEST_CASE("a target that does not end old sessions gets nothing before it must have given the old one up",
          "[rfc7143-6.3.5][ERL-06][F-34]") {
    FenceBench bench;
    NbdUser user(bench, bench.uri);
    bench.server.keep_old_connections();
    bench.lose_with(write_operation);
    user.start(NbdUser::Type::write);
    bench.fixture.run_until([&] { return bench.connections() == 3; });
    bench.turn_for(base::limits::reinstatement_wait + 500ms);
    CHECK(bench.seen(command(write_operation)) == 1);
    CHECK_FALSE(user.answered());
    CHECK(bench.connections() == 3); // the new session waits, it is not lost
}

TEST_CASE("a target that ends old sessions late is given as long again, each time",
          "[rfc7143-6.3.5][ERL-06][F-34]") {
    FenceBench bench;
    NbdUser user(bench, bench.uri);
    bench.server.keep_old_connections();
    for (std::size_t logins : {3U, 5U}) {
        bench.lose_with(write_operation);
        user.start(NbdUser::Type::write);
        bench.fixture.run_until([&] { return bench.connections() == logins; });
        bench.turn_for(400ms);
        bench.server.end_old_connections();
        const std::size_t before = bench.seen(command(write_operation));
        bench.turn_for(200ms);
        CHECK(bench.seen(command(write_operation)) == before);
        CHECK(user.finish() == 0);
    }
}

TEST_CASE("a target that takes one session of a name only is logged in to alone", "[ERL-06]") {
    FenceBench bench;
    NbdUser user(bench, bench.uri);
    bench.server.keep_old_connections();
    bench.server.with([](Target& target) {
        target.sending(login_response.when([&target](const Pdu&) { return target.connections() == 3; }))
            .set(field::status_class, 3)
            .set(field::status_detail, 2);
    });
    bench.lose_with(write_operation);
    user.start(NbdUser::Type::write);
    bench.fixture.run_until([&] { return bench.connections() == 4; });
    bench.turn_for(1000ms);
    CHECK(bench.connections() == 4); // it is in
    CHECK(bench.seen(command(write_operation)) == 1);
}

TEST_CASE("what a session has left behind is minded by the next one of its name", "[ERL-06][F-34]") {
    FenceBench bench;
    const std::uint32_t sid = 1;
    {
        NbdUser user(bench, bench.uri);
        bench.server.with([](Target& target) {
            target.sending(login_response).set(field::status_class, 3).set(field::status_detail, 1);
        });
        bench.lose_with(write_operation);
        user.start(NbdUser::Type::write);
        bench.fixture.run_until([&] { return bench.connections() == 2; });
    }
    REQUIRE(std::holds_alternative<ipc::Done>(bench.ask(ipc::Logout{sid})));
    bench.server.with([](Target& target) { target.clear(); });
    const std::size_t before = bench.connections();
    bench.log_in();
    CHECK(bench.connections() == before + 2);
    bench.until_seen(draining, 1);
    REQUIRE(std::holds_alternative<ipc::Done>(bench.ask(ipc::Logout{sid + 1})));
    bench.log_in();
    CHECK(bench.connections() == before + 3);
    bench.turn_for(100ms);
    CHECK(bench.seen(draining) == 1);
}

TEST_CASE("a session in another portal group does not fence the lost one", "[rfc7143-4.4.1][ERL-06][F-34]") {
    FenceBench bench;
    NbdUser user(bench, bench.uri);
    bench.lose_with(write_operation);
    bench.server.with([](Target& target) { target.config.portal_group = 9; });
    user.start(NbdUser::Type::write);
    bench.fixture.run_until([&] { return bench.connections() == 3; });
    bench.turn_for(500ms);
    CHECK(bench.seen(command(write_operation)) == 1);
    CHECK_FALSE(user.answered());
}

TEST_CASE("a session that ends waits for no end of the one beside it", "[ERL-06]") {
    FenceBench bench;
    NbdUser user(bench, bench.uri);
    bench.server.keep_old_connections();
    bench.lose_with(write_operation);
    user.start(NbdUser::Type::write);
    bench.fixture.run_until([&] { return bench.connections() == 3; });
    bench.turn_for(300ms);
    const base::TimePoint before = ring::monotonic_now();
    bench.fixture.stop();
    CHECK(ring::monotonic_now() - before < base::limits::reinstatement_wait / 2);
}

TEST_CASE("a login that only looks ends with its session, and without a word", "[ERL-06]") {
    LogLines log;
    FenceBench bench;
    NbdUser user(bench, bench.uri);
    bench.lose_with(write_operation);
    // The login beside the session's own is never answered.
    bench.server.with([](Target& target) { target.on(scripted::login_request).ignore(); });
    user.start(NbdUser::Type::write);
    bench.fixture.run_until([&] { return bench.connections() == 2; });
    const base::TimePoint before = ring::monotonic_now();
    bench.fixture.stop();
    CHECK(ring::monotonic_now() - before < 5s); // a login has 15 s
    CHECK(log.with("(try ").empty());
}

TEST_CASE("a write is sent again when its unit has done with what was before, and not earlier",
          "[rfc7143-6.3.5][ERL-06][F-34]") {
    FenceBench bench;
    NbdUser user(bench, bench.uri);
    bench.server.with([](Target& target) { target.executing(draining).once().hold(); });
    bench.lose_with(write_operation);
    user.start(NbdUser::Type::write);
    bench.until_seen(draining, 1);
    bench.turn_for(200ms);
    CHECK(bench.seen(command(write_operation)) == 1);
    bench.server.with([](Target& target) { target.release(); });
    CHECK(user.finish() == 0);
    CHECK(bench.seen(command(write_operation)) == 2);
    CHECK(bench.seen(draining) == 1);
}

TEST_CASE("a session that is lost while a unit is at work on what was before waits for that again",
          "[ERL-06][F-34]") {
    FenceBench bench;
    NbdUser user(bench, bench.uri);
    bench.server.with([](Target& target) { target.on(draining).once().close(Ending::abort); });
    bench.lose_with(write_operation);
    CHECK(user.execute(NbdUser::Type::write) == 0);
    CHECK(bench.seen(draining) == 2);
    CHECK(bench.seen(command(write_operation)) == 2);
}

TEST_CASE("each unit of a session is waited for, once for each time that writes were lost",
          "[ERL-06][F-34]") {
    FenceBench bench({0, 3});
    NbdUser user(bench, bench.uri);
    for (std::size_t lost = 1; lost <= 2; ++lost) {
        bench.lose_with(write_operation);
        CHECK(user.execute(NbdUser::Type::write) == 0);
        for (std::uint8_t unit : std::initializer_list<std::uint8_t>{0, 3}) {
            CHECK(bench.seen(draining.with(field::lun, lun_field(unit))) == lost);
        }
    }
    bench.lose_with(0x28);
    CHECK(user.execute(NbdUser::Type::read) == 0);
    CHECK(bench.seen(draining) == 4);
}

TEST_CASE("a unit that does not get through with what was lost holds up no other", "[ERL-06][F-34]") {
    FenceBench bench({0, 3});
    NbdUser user(bench, bench.uri);
    NbdUser other(bench, bench.luns.at(1).uri);
    const Match hanging = draining.with(field::lun, lun_field(0));
    bench.server.with([&](Target& target) { target.executing(hanging).once().hold(); });
    bench.lose_with(write_operation);
    user.start(NbdUser::Type::write);
    bench.until_seen(hanging, 1);
    CHECK(other.execute(NbdUser::Type::write) == 0);
    CHECK(other.execute(NbdUser::Type::read) == 0);
    CHECK_FALSE(user.answered());
    bench.server.with([](Target& target) { target.release(); });
    CHECK(user.finish() == 0);
    CHECK(bench.seen(command(write_operation).with(field::lun, lun_field(0))) == 2);
}

TEST_CASE("a unit that does not take what should wait for others, or fails at it, is used all the same",
          "[ERL-06][F-34]") {
    FenceBench bench;
    NbdUser user(bench, bench.uri);
    const Sense answer =
        GENERATE(values<Sense>({{0x05, 0x49, 0x00}, {0x03, 0x11, 0x01}, {0x04, 0x44, 0x00}}));
    bench.server.with(
        [&](Target& target) { target.executing(draining).reply(Target::check_condition(answer)); });
    bench.lose_with(write_operation);
    CHECK(user.execute(NbdUser::Type::write) == 0);
    CHECK(bench.seen(draining) == 1);
}

TEST_CASE("what a unit did not begin is asked for again, and is not waited for by who looks at all units",
          "[ERL-06][F-34]") {
    FenceBench bench;
    NbdUser user(bench, bench.uri);
    bench.server.with([](Target& target) {
        target.executing(draining).once().reply(Target::check_condition({0x0b, 0x00, 0x00}));
    });
    bench.lose_with(write_operation);
    CHECK(user.execute(NbdUser::Type::write) == 0);
    CHECK(bench.seen(draining) == 2);
    bench.server.with([](Target& target) { target.executing(draining).once().hold(); });
    bench.lose_with(write_operation);
    user.start(NbdUser::Type::write);
    bench.until_seen(draining, 3);
    CHECK_FALSE(std::holds_alternative<ipc::ErrorReply>(bench.ask(ipc::Rescan{1})));
    bench.turn_for(100ms);
    CHECK_FALSE(user.answered());
    CHECK(bench.seen(draining) == 3);
    bench.server.with([](Target& target) { target.release(); });
    CHECK(user.finish() == 0);
}

TEST_CASE("a target of unknown make is given two seconds from the loss on, and no ORDERED command",
          "[ERL-06][F-34]") {
    FenceBench bench(made_by("SCRIPTED"));
    NbdUser user(bench, bench.uri);
    bench.lose_with(write_operation);
    const base::TimePoint before = ring::monotonic_now();
    user.start(NbdUser::Type::write);
    bench.fixture.run_until([&] { return bench.connections() == 3; });
    bench.turn_for(base::limits::late_write_wait / 2);
    CHECK(bench.seen(command(write_operation)) == 1);
    CHECK(user.finish() == 0);
    CHECK(ring::monotonic_now() - before >= base::limits::late_write_wait);
    CHECK(bench.seen(command(write_operation)) == 2);
    CHECK(bench.seen(draining) == 0);
}

TEST_CASE("a target that ends a session's commands with it is not waited for", "[ERL-06][F-34]") {
    const char* vendor = GENERATE("LIO-ORG ", "FreeBSD ");
    FenceBench bench(made_by(vendor));
    NbdUser user(bench, bench.uri);
    bench.lose_with(write_operation);
    const base::TimePoint before = ring::monotonic_now();
    CHECK(user.execute(NbdUser::Type::write) == 0);
    CHECK(ring::monotonic_now() - before < base::limits::late_write_wait);
    CHECK(bench.seen(draining) == 0);
}

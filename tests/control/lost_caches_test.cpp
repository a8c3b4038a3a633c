// Acknowledged writes that went with a target's cache while its session was away: the daemon as a whole, with
// a user of the export.
#include "control/log_lines.hpp"
#include "control/nbd_user.hpp"
#include "control/units_bench.hpp"

#include <cerrno>

using namespace iscsi;
using namespace iscsi::scripted;
using namespace iscsi::test;
using namespace std::chrono_literals;

namespace {

constexpr std::uint8_t read_operation = 0x28;
constexpr std::uint8_t read_capacity = 0x9e;
constexpr Sense power_on_or_reset{6, 0x29, 0x00};

struct LossBench : UnitsBench {
    LossBench() : UnitsBench(disks({0})) {
        ipc::Login login = login_request();
        REQUIRE(login.node.set(Key::session_default_time2wait, "0"));
        server.with([](Target& target) { target.config.keys["DefaultTime2Wait"] = "0"; });
        uri = log_in(std::move(login)).luns.at(0).uri;
    }
    std::size_t connections() {
        return server.with([](Target& target) { return target.connections(); });
    }
    /// The first command of each session from now on that has to be told is told so.
    void greet(int sessions) {
        server.with([&](Target& target) {
            const auto is_first = [&target, in = target.connections()](const Pdu&) mutable {
                return std::exchange(in, target.connections()) != target.connections();
            };
            target.executing(command(read_capacity).when(is_first))
                .times(static_cast<unsigned>(sessions))
                .reply(Target::check_condition(power_on_or_reset));
        });
    }
    /// The connection is lost with the next read.
    void lose_with_a_read() {
        server.with([](Target& target) { target.on(command(read_operation)).once().close(Ending::abort); });
    }
    /// The next login is refused, as by a target that is just starting.
    void refuse_once(std::uint8_t status_class, std::uint8_t detail) {
        server.with([&](Target& target) {
            target.sending(login_response)
                .once()
                .set(field::status_class, status_class)
                .set(field::status_detail, detail);
        });
    }
    std::string uri;
    LogLines lines;
};

constexpr auto lost_line = "has lost its write cache";

} // namespace

TEST_CASE(
    "a target that says 29/00 once, behind a drop, has lost its cache: a flush fails, and the log says why",
    "[F-03]") {
    LossBench bench;
    NbdUser user(bench, bench.uri);
    REQUIRE(user.execute(NbdUser::Type::write) == 0);
    bench.greet(1);
    bench.lose_with_a_read();
    CHECK(user.execute(NbdUser::Type::read) == 0);
    CHECK(bench.connections() == 3); // one more, to see whether it is said again
    CHECK(user.execute(NbdUser::Type::flush) == EIO);
    CHECK(user.execute(NbdUser::Type::flush) == 0);
    bench.turn_for(50ms);
    REQUIRE(bench.lines.with(lost_line).size() == 1);
    CHECK(bench.lines.with("1 acknowledged writes (512 bytes)").size() == 1);
    const ipc::Reply listed = bench.ask(ipc::Sessions());
    CHECK(std::get<ipc::SessionsReply>(listed).sessions.at(0).luns.at(0).cache_losses == 1);
}

TEST_CASE("a target that greets each session has kept its cache over a lone drop", "[F-03]") {
    LossBench bench;
    NbdUser user(bench, bench.uri);
    bench.greet(10);
    for (std::size_t connections : {3U, 4U}) { // asked once
        REQUIRE(user.execute(NbdUser::Type::write) == 0);
        bench.lose_with_a_read();
        CHECK(user.execute(NbdUser::Type::read) == 0);
        CHECK(bench.connections() == connections);
        CHECK(user.execute(NbdUser::Type::flush) == 0);
    }
    CHECK(bench.lines.with(lost_line).empty());
}

TEST_CASE("a target that was away itself has lost its cache, however it greets", "[F-03]") {
    LossBench bench;
    NbdUser user(bench, bench.uri);
    REQUIRE(user.execute(NbdUser::Type::write) == 0);
    bench.greet(10);
    SECTION("it was not found") {
        bench.refuse_once(2, 3);
    }
    SECTION("it was not available") {
        bench.refuse_once(3, 1);
    }
    bench.lose_with_a_read();
    CHECK(user.execute(NbdUser::Type::read) == 0);
    CHECK(user.execute(NbdUser::Type::flush) == EIO);
    CHECK(user.execute(NbdUser::Type::flush) == 0);
}

TEST_CASE("that a target was away counts for one outage", "[F-03]") {
    LossBench bench;
    NbdUser user(bench, bench.uri);
    bench.greet(10);
    bench.refuse_once(2, 3);
    bench.lose_with_a_read();
    CHECK(user.execute(NbdUser::Type::read) == 0);
    REQUIRE(user.execute(NbdUser::Type::write) == 0);
    bench.lose_with_a_read();
    CHECK(user.execute(NbdUser::Type::read) == 0);
    CHECK(user.execute(NbdUser::Type::flush) == 0);
}

TEST_CASE("with nothing to lose no login is made to find out", "[F-03]") {
    LossBench bench;
    NbdUser user(bench, bench.uri);
    REQUIRE(user.execute(NbdUser::Type::write) == 0);
    REQUIRE(user.execute(NbdUser::Type::flush) == 0);
    bench.greet(1);
    bench.lose_with_a_read();
    CHECK(user.execute(NbdUser::Type::read) == 0);
    CHECK(bench.connections() == 2);
    CHECK(user.execute(NbdUser::Type::flush) == 0);
    CHECK(bench.lines.with(lost_line).empty());
}

TEST_CASE("a first login that is greeted says nothing of a lost cache", "[F-03]") {
    const LogLines lines;
    UnitsBench bench(disks({0}));
    bench.server.with([](Target& target) {
        target.executing(command(read_capacity)).once().reply(Target::check_condition(power_on_or_reset));
    });
    bench.log_in();
    CHECK(lines.with("lost").empty());
}

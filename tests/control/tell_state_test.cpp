// The state of everything in the log, in the states in which somebody wants to know it.
#include "control/log_lines.hpp"
#include "control/nbd_user.hpp"
#include "control/portals_bench.hpp"
#include "control/session_scene.hpp"
#include "control/state_lines.hpp"
#include "control/units_bench.hpp"

#include <chrono>
#include <string>
#include <vector>

using namespace iscsi;
using namespace iscsi::test;
using namespace std::chrono_literals;

namespace {

constexpr const char* last_line = "state: that is all";

/// The lines of a new dump.
std::vector<std::string> dump(DaemonFixture& fixture, const LogLines& log) {
    const std::size_t before = log.with("state: ").size();
    const std::size_t ends = log.with(last_line).size();
    fixture.daemon->tell_state();
    fixture.daemon->tell_state(); // while one is under way
    fixture.run_until([&] { return log.with(last_line).size() > ends; });
    std::vector<std::string> lines = log.with("state: ");
    lines.erase(lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(before));
    return lines;
}

std::size_t count(const std::vector<std::string>& lines, const std::string& words) {
    return static_cast<std::size_t>(std::ranges::count_if(
        lines, [&](const auto& line) { return line.find(words) != std::string::npos; }));
}

} // namespace

TEST_CASE("the state of a daemon without sessions") {
    LogLines log;
    DaemonFixture fixture;
    const auto lines = dump(fixture, log);
    REQUIRE(lines.size() == 3);
    CHECK(count(lines, ": 0 session(s): 0 logging in, 0 running, 0 recovering, 0 ending") == 1);
    CHECK(count(lines, "shard 0: 0 session(s), buffer pool: 0 of ") == 1);
}

TEST_CASE("the state of a session that works, that is lost, and of a request that waits for it") {
    LogLines log;
    UnitsBench bench(disks({0, 1}));
    ipc::Login request = bench.login_request();
    REQUIRE(request.node.set(Key::session_replacement_timeout, "600"));
    bench.server.with([](Target& target) { target.config.keys["DefaultTime2Wait"] = "0"; });
    const auto reply = bench.log_in(std::move(request));
    auto lines = dump(bench.fixture, log);
    CHECK(count(lines, "session 1: running, 2 unit(s), 1 login(s)") == 1);
    CHECK(count(lines, "session 1 queue 0: path up, CmdSN ") == 1);
    CHECK(count(lines, "commands: 0 at the target, 0 queued") == 1);
    CHECK(count(lines, "session 1 queue 0 LUN 0: ") == 1);
    CHECK(count(lines, "session 1 queue 0 LUN 1: ") == 1);
    CHECK(count(lines, "0 requests in hand (0 begun, 0 not begun)") == 2);
    // The target takes a command and says nothing.
    NbdUser user(bench, reply.luns.at(0).uri);
    bench.server.with([](Target& target) { target.on(command(0x28)).once().ignore(); });
    user.start(NbdUser::Type::read);
    bench.until_seen(command(0x28), 1);
    lines = dump(bench.fixture, log);
    CHECK(count(lines, "commands: 1 at the target, 0 queued") == 1);
    CHECK(count(lines, "1 requests in hand (1 begun, 0 not begun), commands: 1 of ") == 1);
    // It is lost, and no login succeeds.
    NbdUser writer(bench, reply.luns.at(0).uri);
    bench.server.with([](Target& target) {
        target.on(scripted::login_request).close();
        target.on(command(0x2a)).once().close();
    });
    writer.start(NbdUser::Type::write);
    bench.fixture.run_until([&] { return !log.with("(try 2)").empty(); });
    lines = dump(bench.fixture, log);
    CHECK(count(lines, "session 1: recovering, 2 unit(s), 1 login(s)") == 1);
    CHECK(count(lines, "down for ") == 1);
    CHECK(count(lines, "I/O fails in 5") == 1);
    CHECK(count(lines, ", try ") == 1);
    CHECK(count(lines, "last error: ") == 1);
    CHECK(count(lines, "session 1 queue 0: path down, no session on a connection") == 1);
    CHECK(count(lines, "2 parked") == 1);
    bench.server.with([](Target& target) { target.clear(); });
    bench.fixture.run_until([&] { return !log.with(" is back after ").empty(); });
    CHECK(user.finish() == 0);
    CHECK(writer.finish() == 0);
    lines = dump(bench.fixture, log);
    CHECK(count(lines, "session 1: running, 2 unit(s), 2 login(s), 1 recoveries") == 1);
    CHECK(count(lines, "last error: ") == 0);
}

TEST_CASE("a line of the state is about its session, for who reads the log by fields") {
    LogLines log;
    UnitsBench bench(disks({0}));
    bench.log_in(bench.login_request());
    std::vector<ipc::EventReply> heard;
    control::log::set_listener([&heard](const ipc::EventReply& event) { heard.push_back(event); });
    dump(bench.fixture, log);
    control::log::set_listener({});
    std::size_t of_session = 0;
    for (const ipc::EventReply& event : heard) {
        INFO(event.message);
        const bool names_it = event.message.find("state: session 1") == 0;
        CHECK(event.sid == (names_it ? std::optional(1U) : std::nullopt));
        CHECK(event.target.empty() != names_it);
        of_session += names_it ? 1 : 0;
    }
    CHECK(of_session >= 3); // itself, its queue, its unit
}

TEST_CASE("the state of a session that is being logged in") {
    LogLines log;
    PortalsBench bench(1);
    bench.fixture.beside = [] {}; // nobody answers
    REQUIRE(bench.client.send(ipc::encode(1, ipc::Request(bench.request()))));
    bench.fixture.run_until([&] { return !log.with("session 1: logging in to").empty(); });
    const auto lines = dump(bench.fixture, log);
    CHECK(count(lines, "session 1: logging in, 0 unit(s)") == 1);
    CHECK(count(lines, ", try 1") == 1);
}

TEST_CASE("a shard that does not answer is a line, and what it would say is left out") {
    CHECK(control::shard_line(3, 7, {}).find("shard 3: 7 session(s), it has not answered in time") == 0);
    SessionScene scene;
    scene.session->state = control::ManagedSession::State::recovering;
    scene.session->down_since = 10s;
    scene.session->last_error = "refused\n\x1b[2J";
    scene.session->overdue = true;
    scene.session->next_try_at = base::TimePoint(101s);
    const auto lines = control::session_lines(*scene.session, {}, {base::TimePoint(100s), 25s});
    REQUIRE(lines.size() == 2);
    CHECK(lines[0].find(
              "down for 15.0 s, I/O fails, try 0, the next one in 1.0 s, last error: refused\\x0a\\x1b[2J") !=
          std::string::npos);
    CHECK(lines[1].find("session 1 queue 0: not made yet") == 0);
}

TEST_CASE("the lines of a session are bounded") {
    SessionScene scene;
    control::ShardView views;
    views.members[{1, 0}];
    for (std::uint64_t i = 0; i < 100; ++i) {
        auto served = std::make_shared<control::ServedLun>();
        served->facts.lun = base::Lun(i << 48U);
        scene.session->luns.push_back(std::move(served));
    }
    const auto lines = control::session_lines(*scene.session, views, {});
    CHECK(lines.size() == 2 + control::state_units_max + 1);
    CHECK(lines.back().find("and 68 more units") != std::string::npos);
}

// Clients that monitor the daemon: what they are told, and that one that does not read, or is gone, costs
// nobody anything.
#include "base/limits.hpp"
#include "control/daemon_fixture.hpp"
#include "control/log.hpp"
#include "control/log_lines.hpp"
#include "control/units_bench.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>

using namespace iscsi;
using namespace iscsi::test;
using control::log::About;
using control::log::Event;

namespace {

void ask(DaemonClient& client, std::uint64_t id) {
    REQUIRE(client.send(ipc::encode(id, ipc::Request(ipc::Monitor()))));
}

ipc::EventReply event_of(DaemonClient& client, std::uint64_t id) {
    ipc::TaggedReply reply = client.reply();
    CHECK(reply.id == id);
    auto* event = std::get_if<ipc::EventReply>(&reply.reply);
    REQUIRE(event != nullptr);
    return std::move(*event);
}

void subscribe(DaemonClient& client, std::uint64_t id) {
    ask(client, id);
    CHECK(event_of(client, id).event == "monitoring");
}

} // namespace

TEST_CASE("a monitor is told what the log is told, beside the answers to other requests") {
    LogLines lines;
    DaemonFixture fixture;
    DaemonClient client(fixture);
    DaemonClient other(fixture);
    control::log::info("before");
    subscribe(client, 5);
    About about{Event::recovered};
    about.sid = 9;
    about.target = "iqn.x:disk";
    control::log::event(about, "back after {} tries", 2);
    control::log::warning("one\ntwo");
    REQUIRE(client.send(ipc::encode(6, ipc::Request(ipc::Info()))));
    const ipc::EventReply first = event_of(client, 5);
    CHECK(first.event == "recovered");
    CHECK(first.level == "info");
    CHECK(first.message == "session 9: back after 2 tries");
    CHECK(first.sid == 9U);
    CHECK(first.target == "iqn.x:disk");
    CHECK_FALSE(first.lun);
    CHECK(first.lost == 0);
    CHECK(first.time_us > 1'700'000'000'000'000);
    CHECK(event_of(client, 5).message == "one");
    const ipc::EventReply last = event_of(client, 5);
    CHECK(last.event == "message");
    CHECK(last.level == "warning");
    CHECK(last.message == "two");
    CHECK(client.reply().id == 6);
    REQUIRE(other.send(ipc::encode(7, ipc::Request(ipc::Info()))));
    CHECK(other.reply().id == 7); // and nothing else
}

TEST_CASE("a login that fails is told from its beginning to its end") {
    LogLines lines;
    DaemonFixture fixture;
    DaemonClient monitor(fixture);
    DaemonClient client(fixture);
    subscribe(monitor, 1);
    REQUIRE(client.send(ipc::encode(2, ipc::Request(login_request("1")))));
    for (const char* name : {"logging_in", "login_tried", "login_failed"}) {
        const ipc::EventReply event = event_of(monitor, 1);
        CHECK(event.event == name);
        CHECK(event.sid);
        CHECK(event.target == "iqn.2026-01.example:disk");
        CHECK(event.portal == "127.0.0.1:1");
    }
    const ipc::EventReply last = event_of(monitor, 1);
    CHECK(last.event == "message"); // nobody has logged out
    CHECK(last.message.ends_with(": ended"));
}

TEST_CASE("a logout is told to its end") {
    LogLines lines;
    UnitsBench bench(disks({0}));
    DaemonClient monitor(bench.fixture);
    subscribe(monitor, 1);
    const std::uint32_t sid = bench.log_in().sid;
    CHECK(std::holds_alternative<ipc::Done>(bench.ask(ipc::Logout{sid})));
    std::vector<std::string> names;
    while (names.empty() || names.back() != "logout") {
        const ipc::EventReply event = event_of(monitor, 1);
        CHECK(event.sid == sid);
        names.push_back(event.event);
    }
    CHECK(std::ranges::find(names, "logging_out") != names.end());
}

TEST_CASE("a monitor that does not read loses events, hears how many, and grows no memory") {
    LogLines lines;
    DaemonFixture fixture;
    DaemonClient client(fixture);
    subscribe(client, 1);
    const std::string words(1000, 'w');
    constexpr std::uint64_t many = 3000; // some 4 MB
    for (std::uint64_t i = 0; i < many; ++i) {
        control::log::info("{} {}", i, words);
        fixture.turn();
    }
    std::uint64_t kept = 0;
    std::uint64_t lost = 0;
    while (kept + lost < many) {
        const ipc::EventReply event = event_of(client, 1);
        if (event.event == "events_lost") {
            CHECK(event.lost > 0);
            lost += event.lost;
            continue;
        }
        CHECK(event.message.starts_with(std::to_string(kept + lost) + " ")); // the gap is where it is told of
        ++kept;
    }
    CHECK(lost > 0);
    // What was kept is the backlog, a part that was on its way, and the socket's own room.
    CHECK(kept * words.size() < 2 * base::limits::ipc_monitor_backlog_bytes + std::size_t{512} * 1024);
    control::log::info("afterwards");
    CHECK(event_of(client, 1).message == "afterwards");
}

TEST_CASE("a monitor that does not read does not hold up the end of the daemon") {
    LogLines lines;
    DaemonFixture fixture;
    DaemonClient client(fixture);
    subscribe(client, 1);
    const std::string words(1000, 'w');
    for (unsigned i = 0; i < 3000; ++i) {
        control::log::info("{}", words);
        fixture.turn();
    }
    const base::TimePoint begun = ring::monotonic_now();
    fixture.stop();
    CHECK(ring::monotonic_now() - begun < std::chrono::seconds(20)); // who asks and does not read has 30
}

TEST_CASE("there are only so many monitors, and those that have left do not count") {
    LogLines lines;
    DaemonFixture fixture;
    std::vector<std::unique_ptr<DaemonClient>> monitors;
    for (std::size_t i = 0; i < base::limits::ipc_monitors_max; ++i) {
        monitors.push_back(std::make_unique<DaemonClient>(fixture));
        subscribe(*monitors.back(), i + 1);
    }
    DaemonClient another(fixture);
    ask(another, 1);
    CHECK(another.error() == base::Errc::busy);
    subscribe(*monitors.front(), 99); // the same one, under another number
    control::log::info("to all");
    CHECK(event_of(*monitors.front(), 99).message == "to all");
    // Nothing is said to them meanwhile.
    monitors.clear();
    bool taken = false;
    fixture.run_until([&] {
        ask(another, 2);
        ipc::TaggedReply reply = another.reply();
        taken = std::holds_alternative<ipc::EventReply>(reply.reply);
        return taken;
    });
    CHECK(taken);
}

TEST_CASE("a monitor that has gone in the middle of its backlog is forgotten") {
    LogLines lines;
    DaemonFixture fixture;
    {
        DaemonClient client(fixture);
        subscribe(client, 1);
        const std::string words(1000, 'w');
        for (unsigned i = 0; i < 2000; ++i) {
            control::log::info("{}", words);
            fixture.turn();
        }
    }
    DaemonClient next(fixture);
    subscribe(next, 1);
    control::log::info("still here");
    CHECK(event_of(next, 1).message == "still here");
}

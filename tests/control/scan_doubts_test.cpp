// What a unit does not say for a moment is not taken for absent, and users of a unit that may be another one
// send nothing to it: the daemon as a whole, with a user of the export.
#include "control/nbd_user.hpp"
#include "control/units_bench.hpp"

#include <numeric>
#include <thread>

using namespace iscsi;
using namespace iscsi::scripted;
using namespace iscsi::test;
using namespace std::chrono_literals;
using Bench = UnitsBench;

namespace {

Match of(const Match& match, std::uint8_t unit) {
    return match.with(field::lun, lun_field(unit));
}

Match writes(std::uint8_t unit) {
    return of(command(0x2a), unit);
}

Match page_83(std::uint8_t unit) {
    return of(command(inquiry), unit).when([](const Pdu& pdu) {
        return (pdu.cdb()[1] & std::byte{1}) != std::byte{0} && pdu.cdb()[2] == std::byte{0x83};
    });
}

/// From now on the name in page 83h is another one.
void swap_names(Bench& bench) {
    bench.server.with([](Target& target) {
        const auto is_page_83 = [](const Pdu& pdu) {
            return pdu.data.size() == 16 && pdu.data[1] == std::byte{0x83};
        };
        target.sending(data_in.when(is_page_83)).edit([](Pdu& pdu) { pdu.data[15] ^= std::byte{0x40}; });
    });
}

/// While the target holds back who unit 1 is, and when it turns out to be another one.
void check_that_nothing_is_written(Bench& bench, NbdUser& user) {
    bench.fixture.run_until(
        [&] { return bench.server.with([](Target& target) { return target.held(); }) > 0; });
    user.start(NbdUser::Type::write);
    bench.turn_for(200ms);
    CHECK_FALSE(user.answered());
    bench.server.with([](Target& target) { target.release(); });
    CHECK(user.finish() != 0);
    CHECK(bench.seen(writes(1)) == 0);
}

} // namespace

TEST_CASE("an attention that a scan meets keeps users from another unit", "[spc-4-7.8.6][SCSI-UA-05][F-13]") {
    Bench bench(disks({0, 1}));
    const ipc::LoginReply reply = bench.log_in();
    NbdUser user(bench, reply.luns[1].uri);
    bench.server.with([](Target& target) {
        const auto not_inquiry = [](const Pdu& pdu) { return pdu.cdb()[0] != std::byte{inquiry}; };
        target.executing(of(scsi_command, 1).when(not_inquiry))
            .once()
            .reply(Target::check_condition({6, 0x29, 0x00}));
        target.executing(page_83(1)).once().hold();
    });
    swap_names(bench);
    REQUIRE(bench.client.send(ipc::encode(1, ipc::Request(ipc::Rescan{reply.sid}))));
    check_that_nothing_is_written(bench, user);
}

TEST_CASE("an attention that comes unasked keeps users from another unit",
          "[rfc7143-11.9][ASYNC-00][spc-4-7.8.6][SCSI-UA-05][F-13]") {
    Bench bench(disks({0, 1}));
    const ipc::LoginReply reply = bench.log_in();
    NbdUser user(bench, reply.luns[1].uri);
    bench.server.with([](Target& target) { target.executing(page_83(1)).once().hold(); });
    swap_names(bench);
    bench.attention({6, 0x29, 0x00}, 1);
    check_that_nothing_is_written(bench, user);
}

TEST_CASE("a cache that the unit does not speak of for a moment is flushed all the same", "[sbc3-4.15]") {
    Bench bench(disks({0}));
    const ipc::LoginReply reply = bench.log_in();
    NbdUser user(bench, reply.luns[0].uri);
    CHECK(user.execute(NbdUser::Type::flush) == 0);
    REQUIRE(bench.seen(command(0x35)) == 1);
    bench.server.with([](Target& target) {
        target.executing(command(mode_sense)).times(6).reply(Target::check_condition({0x0b, 0x00, 0x00}));
    });
    const std::size_t before = bench.seen(command(mode_sense));
    bench.attention({6, 0x2a, 0x09}, 0);
    bench.until_seen(command(mode_sense), before + 6);
    bench.turn_for(50ms);
    CHECK(user.execute(NbdUser::Type::flush) == 0);
    CHECK(bench.seen(command(0x35)) == 2);
}

TEST_CASE("a unit that does not tell its name for a moment is not taken for another one", "[SCSI-UA-05]") {
    Bench bench(disks({0}));
    bench.log_in();
    bench.server.with([](Target& target) {
        target.executing(page_83(0)).times(6).reply(Target::check_condition({0x0b, 0x00, 0x00}));
    });
    const std::size_t before = bench.seen(page_83(0));
    bench.attention({6, 0x29, 0x00}, 0);
    // One look, all of it in vain; what came of it shows before the next one begins.
    bool was_running = true;
    bench.fixture.run_until([&] {
        was_running = was_running && bench.units() == std::vector<Unit>{running(0)};
        return bench.seen(page_83(0)) >= before + 7;
    });
    CHECK(was_running);
    bench.turn_for(50ms);
    CHECK(bench.units() == std::vector<Unit>{running(0)});
}

TEST_CASE("news are not lost on a unit that does not tell for now what has come of them", "[SCSI-UA-02]") {
    Bench bench(disks({0}));
    const ipc::LoginReply reply = bench.log_in();
    const bool by_scan = GENERATE(false, true);
    bench.change(disks({0}, 4096));
    bench.server.with([](Target& target) {
        target.executing(page_83(0)).reply(Target::check_condition({0x0b, 0x00, 0x00}));
    });
    const std::size_t before = bench.seen(page_83(0));
    if (by_scan) {
        CHECK(std::holds_alternative<ipc::Done>(bench.ask(ipc::Rescan{reply.sid})));
    } else {
        bench.attention({6, 0x2a, 0x09}, 0);
    }
    bench.turn_for(3500ms);
    // Six tries each, after at most 0, 0.1, 1.1 and 3.1 s.
    CHECK(bench.seen(page_83(0)) >= before + 2 * 6);
    CHECK(bench.seen(page_83(0)) <= before + 4 * 6);
    CHECK(bench.units() == std::vector<Unit>{running(0)});
    bench.server.with([](Target& target) { target.clear(); });
    bench.until_units({running(0, 4096)});
}

TEST_CASE("an attention that meets the START of a unit leaves it neither unstarted nor in doubt",
          "[spc-4-7.8.6][SCSI-UA-05][SCSI-SENSE-03]") {
    const Match start = command(0x1b);
    Bench bench(disks({0}));
    const ipc::LoginReply reply = bench.log_in();
    NbdUser user(bench, reply.luns[0].uri);
    bench.server.with([&](Target& target) {
        target.executing(command(test_unit_ready)).once().reply(Target::check_condition({2, 0x04, 0x02}));
        target.executing(start).reply(Target::status(0));
        target.executing(start).once().reply(Target::check_condition({6, 0x29, 0x00}));
    });
    bench.attention({6, 0x2a, 0x09}, 0);
    bench.until_seen(start, 2);
    CHECK(user.execute(NbdUser::Type::write) == 0);
    CHECK(bench.seen(start) == 2);
}

TEST_CASE("a unit in doubt is looked at whoever else keeps the daemon waiting", "[SCSI-UA-05]") {
    const Sense news = GENERATE(values<Sense>({{6, 0x2a, 0x09}, {6, 0x29, 0x00}}));
    constexpr std::uint8_t slow = 48;
    std::vector<std::uint8_t> units(slow + 1);
    std::iota(units.begin(), units.end(), std::uint8_t{0});
    Bench bench(disks(units));
    const ipc::LoginReply reply = bench.log_in();
    NbdUser user(bench, reply.luns[slow].uri);
    const Match test_slow =
        command(test_unit_ready).when([](const Pdu& pdu) { return pdu.get(field::lun) != lun_field(slow); });
    bench.server.with([&](Target& target) {
        target.executing(test_slow).reply(Target::status(0x08)); // BUSY
    });
    const std::size_t before = bench.seen(test_slow);
    for (std::uint8_t unit = 0; unit < slow; ++unit) {
        bench.attention_taken(news, unit);
    }
    bench.until_seen(test_slow, before + 2 * 16); // they are being looked at, and it takes its time
    bench.server.with([](Target& target) {
        target.executing(writes(slow)).once().reply(Target::check_condition({6, 0x29, 0x00}));
    });
    const base::TimePoint asked_at = ring::monotonic_now();
    CHECK(user.execute(NbdUser::Type::write) == 0);
    CHECK(ring::monotonic_now() - asked_at < 5s);
    bench.server.with([](Target& target) { target.clear(); });
}

TEST_CASE("a target that says more than can be kept may have said anything, of any unit",
          "[rfc7143-11.9][SCSI-UA-05][SCSI-UA-06]") {
    Bench bench(disks({0, 1}));
    const ipc::LoginReply reply = bench.log_in();
    NbdUser user(bench, reply.luns[1].uri);
    const std::size_t lists = bench.seen(command(report_luns));
    const std::size_t names = bench.seen(page_83(0));
    const auto say = [&](int times) {
        bench.server.with([&](Target& target) {
            target.executing(page_83(1)).once().hold();
            for (int i = 0; i < times; ++i) {
                target.send(Pdu(Opcode::async_message).set(field::async_event, 250));
            }
        });
        bench.turn_for(50ms);
    };
    say(1);
    say(3);
    CHECK(bench.seen(page_83(0)) == names); // these could be kept, and mean nothing
    say(200);
    say(1);
    user.start(NbdUser::Type::write);
    bench.turn_for(100ms);
    CHECK_FALSE(user.answered());
    CHECK(bench.seen(writes(1)) == 0);
    bench.until_seen(page_83(0), names + 1);
    bench.until_seen(command(report_luns), lists + 1);
    bench.server.with([](Target& target) {
        target.clear();
        target.release();
    });
    CHECK(user.finish() == 0);
}

TEST_CASE("a unit that nobody could compare in time fails its users, is shown so, and comes back",
          "[SCSI-UA-05]") {
    Bench bench(disks({0, 1}), [](control::DaemonConfig& config) { config.doubt_max = 1s; });
    const ipc::LoginReply reply = bench.log_in();
    NbdUser user(bench, reply.luns[1].uri);
    bench.server.with([](Target& target) {
        target.executing(writes(1)).once().reply(Target::check_condition({6, 0x29, 0x00}));
        target.executing(page_83(1)).reply(Target::check_condition({0x0b, 0x00, 0x00}));
    });
    CHECK(user.execute(NbdUser::Type::write) != 0);
    CHECK(bench.seen(writes(1)) == 1);
    bench.until_units({running(0), offline(1)});
    bench.turn_for(1500ms); // the look that had been asked for before ends as well
    bench.server.with([](Target& target) { target.clear(); });
    bench.until_units({running(0), running(1)});
    CHECK(user.execute(NbdUser::Type::write) == 0);
}

TEST_CASE("a session that ends waits for no unit that is being looked at", "[SCSI-UA-06]") {
    const bool by_signal = GENERATE(false, true);
    const Sense news = GENERATE(values<Sense>({{6, 0x2a, 0x09}, {6, 0x29, 0x00}}));
    constexpr std::uint8_t units = 33;
    std::vector<std::uint8_t> numbers(units);
    std::iota(numbers.begin(), numbers.end(), std::uint8_t{0});
    Bench bench(disks(numbers));
    const ipc::LoginReply reply = bench.log_in();
    bench.server.with([](Target& target) {
        target.executing(command(test_unit_ready)).reply(Target::status(0x08)); // BUSY
    });
    const std::size_t before = bench.seen(command(test_unit_ready));
    for (std::uint8_t unit = 0; unit < units; ++unit) {
        bench.attention_taken(news, unit);
    }
    bench.until_seen(command(test_unit_ready), before + 2 * 16);
    const base::TimePoint asked_at = ring::monotonic_now();
    if (by_signal) {
        bench.fixture.stop();
    } else {
        CHECK(std::holds_alternative<ipc::Done>(bench.ask(ipc::Logout{reply.sid})));
    }
    CHECK(ring::monotonic_now() - asked_at < 5s);
}

TEST_CASE("a session that ends waits for no pause of who watches its units", "[SCSI-UA-06]") {
    base::Duration fastest = 1h; // a busy machine may be late, but not each time
    for (int round = 0; round < 4 && fastest >= 500ms; ++round) {
        Bench bench(disks({0, 1}));
        const ipc::LoginReply reply = bench.log_in();
        swap_names(bench);
        bench.attention({6, 0x29, 0x00}, 1);
        bench.until_units({running(0), offline(1)}); // from now on it is looked at once a second
        const base::TimePoint asked_at = ring::monotonic_now();
        CHECK(std::holds_alternative<ipc::Done>(bench.ask(ipc::Logout{reply.sid})));
        fastest = std::min(fastest, base::Duration(ring::monotonic_now() - asked_at));
    }
    CHECK(fastest < 500ms);
}

TEST_CASE("a session that ends waits for no answer of a unit that is being looked at", "[SCSI-UA-06]") {
    const bool by_signal = GENERATE(false, true);
    Bench bench(disks({0, 1}));
    const ipc::LoginReply reply = bench.log_in();
    bench.server.with([](Target& target) {
        target.executing(page_83(1)).once().hold();
        // The answer comes when nobody waits for it any more.
        target.on(logout_request).once().run([&target](const Pdu&) { target.release(); }).also();
    });
    bench.attention({6, 0x2a, 0x09}, 1);
    bench.fixture.run_until(
        [&] { return bench.server.with([](Target& target) { return target.held(); }) > 0; });
    const base::TimePoint asked_at = ring::monotonic_now();
    if (by_signal) {
        bench.fixture.stop();
    } else {
        CHECK(std::holds_alternative<ipc::Done>(bench.ask(ipc::Logout{reply.sid})));
    }
    CHECK(ring::monotonic_now() - asked_at < 5s);
}

TEST_CASE("a logout waits for no answer to a scan", "[SCSI-UA-06]") {
    Bench bench(disks({0, 1}));
    const ipc::LoginReply reply = bench.log_in();
    bench.server.with([](Target& target) { target.executing(command(report_luns)).once().hold(); });
    bench.attention({6, 0x3f, 0x0e});
    bench.fixture.run_until(
        [&] { return bench.server.with([](Target& target) { return target.held(); }) > 0; });
    const base::TimePoint asked_at = ring::monotonic_now();
    CHECK(std::holds_alternative<ipc::Done>(bench.ask(ipc::Logout{reply.sid})));
    CHECK(ring::monotonic_now() - asked_at < 5s);
}

TEST_CASE("what a user of a session that ends is not answered has the time of a logout", "[SCSI-UA-06]") {
    const bool by_signal = GENERATE(false, true);
    Bench bench(disks({0, 1}));
    ipc::Login login = bench.login_request();
    REQUIRE(login.node.set(Key::conn_logout_timeout, "1"));
    const ipc::LoginReply reply = bench.log_in(std::move(login));
    NbdUser user(bench, reply.luns[1].uri);
    bench.server.with([](Target& target) { target.executing(writes(1)).once().hold(); });
    user.start(NbdUser::Type::write);
    bench.fixture.run_until(
        [&] { return bench.server.with([](Target& target) { return target.held(); }) > 0; });
    const base::TimePoint asked_at = ring::monotonic_now();
    if (by_signal) {
        bench.fixture.stop();
    } else {
        CHECK(std::holds_alternative<ipc::Done>(bench.ask(ipc::Logout{reply.sid})));
    }
    CHECK(ring::monotonic_now() - asked_at < 5s);
}

TEST_CASE("a unit that a list leaves out, and that answers as ever, is left alone",
          "[spc-4-6.33][SCSI-LUN-08]") {
    const bool is_cut = GENERATE(true, false);
    Bench bench(disks({0, 1, 2}));
    const ipc::LoginReply reply = bench.log_in();
    bench.server.with([&](Target& target) {
        const auto is_list = [](const Pdu& pdu) {
            return pdu.data.size() == 32 && pdu.data[3] == std::byte{24};
        };
        target.sending(data_in.when(is_list)).edit([is_cut](Pdu& pdu) {
            pdu.data.resize(16);
            pdu.set(field::residual, pdu.get(field::residual) + 16);
            pdu.data[3] = is_cut ? pdu.data[3] : std::byte{8};
        });
    });
    bench.ask(ipc::Rescan{reply.sid});
    CHECK(bench.units() == std::vector<Unit>{running(0), running(1), running(2)});
}

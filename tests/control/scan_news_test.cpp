// What the daemon makes of the units that a target shows, at login and when the target says that something
// has changed.
#include "control/log_lines.hpp"
#include "control/units_bench.hpp"

#include <atomic>
#include <filesystem>

using namespace iscsi;
using namespace iscsi::scripted;
using namespace iscsi::test;
using Bench = UnitsBench;

namespace {

constexpr std::uint8_t report_groups = 0xa3;

/// Units with implicit asymmetric access; page 83h is rewritten to name the port's group.
void show_port_group(Bench& bench) {
    bench.edit_inquiries([](Pdu& pdu) { pdu.data[5] = std::byte{0x10}; });
    bench.server.with([](Target& target) {
        const auto is_page_83 = [](const Pdu& pdu) {
            return pdu.data.size() == 16 && pdu.data[1] == std::byte{0x83};
        };
        target.sending(data_in.when(is_page_83)).edit([](Pdu& pdu) {
            // Behind the name of the unit: association port, type target port group, number 1.
            ByteVector group(8);
            group[0] = std::byte{0x51};
            group[1] = std::byte{0x95};
            group[3] = std::byte{4};
            group[7] = std::byte{1};
            pdu.data[3] = std::byte{20};
            pdu.data.insert(pdu.data.end(), group.begin(), group.end());
            pdu.set(field::residual, pdu.get(field::residual) - group.size());
        });
    });
}

/// From now on the port's group has this state for this unit: 0 active, 1 less so, 2 standby.
void set_access(Bench& bench, const std::atomic<std::uint8_t>& state, std::uint8_t unit = 0) {
    bench.server.with([&](Target& target) {
        const Match of_unit = scsi_command.with(field::lun, lun_field(unit));
        target.executing(of_unit.with(field::operation, report_groups)).reply([&state](const Pdu& pdu) {
            ByteVector groups(12); // a header of four bytes, one group
            groups[3] = std::byte{8};
            groups[4] = static_cast<std::byte>(state.load());
            groups[7] = std::byte{1};
            Pdu answer(Opcode::data_in);
            answer.set(field::final).set(field::has_status).set(field::underflow);
            answer.set(field::residual, pdu.get(field::expected_length) - groups.size());
            return answer.with_data(std::move(groups));
        });
        const auto asleep = [&state](const Pdu& pdu) {
            return state == 2 && pdu.cdb()[0] == std::byte{test_unit_ready};
        };
        target.executing(of_unit.when(asleep)).reply(Target::check_condition({2, 0x04, 0x0b}));
    });
}

} // namespace

TEST_CASE("a login shows the units that the target lists", "[SCSI-LUN-01]") {
    Bench bench(disks({0, 3, 255}));
    const ipc::LoginReply reply = bench.log_in();
    CHECK(units_of(reply.luns) == std::vector<Unit>{running(0), running(3), running(255)});
    CHECK(reply.note.empty());
}

TEST_CASE("a target that shows no unit to this host: the login says so in words", "[SCSI-LUN-06]") {
    Bench bench(disks({}));
    const ipc::LoginReply reply = bench.log_in();
    CHECK(reply.luns.empty());
    CHECK(reply.note == "the target shows no logical unit to this initiator; is a volume mapped to "
                        "iqn.2026-01.example:me?");
}

TEST_CASE("units that are no disks are named and skipped", "[SCSI-LUN-05][SCSI-LUN-06]") {
    struct Case {
        unsigned first_byte;
        const char* words;
    };
    const auto one = GENERATE(values<Case>({{0x0c, "LUN 0 (storage array controller)"},
                                            {0x05, "LUN 0 (CD/DVD)"},
                                            {0x3f, "LUN 0 (nothing connected)"},
                                            {0x7f, "LUN 0 (nothing connected)"},
                                            {0x1e, "LUN 0 (well known unit)"}}));
    Bench bench(disks({0}));
    bench.edit_inquiries([one](Pdu& pdu) { pdu.data[0] = static_cast<std::byte>(one.first_byte); });
    const ipc::LoginReply reply = bench.log_in();
    CHECK(reply.luns.empty());
    CHECK(reply.note.find(one.words) != std::string::npos);
    CHECK(bench.seen(scsi_command.with(field::operation, 0x25)) == 0); // nothing more is asked of it
}

TEST_CASE("a list of units that is longer than its buffer is asked for again", "[spc-4-6.33][SCSI-LUN-04]") {
    Bench bench(disks({0, 1}));
    constexpr std::uint32_t units = 600;
    bench.server.with([](Target& target) {
        // The first answer ends behind two units and says that there are 600.
        target.sending(data_in).once().edit([](Pdu& pdu) {
            pdu.data[2] = std::byte{units * 8 / 256};
            pdu.data[3] = std::byte{units * 8 % 256};
        });
    });
    CHECK(bench.log_in().luns.size() == 2);
    const auto asked = bench.server.with([](Target& target) { return target.seen(command(report_luns)); });
    REQUIRE(asked.size() == 2);
    CHECK(asked[0].get(field::expected_length) < 8 + units * 8);
    CHECK(asked[1].get(field::expected_length) == 8 + units * 8);
}

TEST_CASE("a target without REPORT LUNS is asked through the well known unit, then unit by unit",
          "[sam5-4.7][SCSI-LUN-09]") {
    Bench bench(disks({0, 1, 2, 5}));
    const bool knows_it = GENERATE(true, false);
    bench.server.with([&](Target& target) {
        const Sense unknown{0x05, 0x20, 0x00};
        const Match asked = knows_it ? command(report_luns).with(field::lun, 0) : command(report_luns);
        target.executing(asked).reply(Target::check_condition(unknown));
    });
    bench.log_in();
    const std::vector<Unit> gapless{running(0), running(1), running(2)};
    const std::vector<Unit> all{running(0), running(1), running(2), running(5)};
    CHECK(bench.units() == (knows_it ? all : gapless));
    CHECK(bench.seen(command(report_luns).with(field::lun, 0xc101000000000000)) == 1);
}

TEST_CASE("attentions that a scan meets are absorbed", "[sam5-5.14][SCSI-UA-01]") {
    Bench bench(disks({0}));
    bench.server.with([](Target& target) {
        for (const Sense& sense : {Sense{6, 0x29, 0x01}, Sense{6, 0x2a, 0x09}, Sense{6, 0x3f, 0x0e}}) {
            target.executing(command(0x00)).once().reply(Target::check_condition(sense));
        }
    });
    CHECK(units_of(bench.log_in().luns) == std::vector<Unit>{running(0)});
    // The list was asked for before the last of them: once more. The others are what the scan looks at
    // anyway.
    bench.until_seen(command(report_luns), 2);
    CHECK(bench.units() == std::vector<Unit>{running(0)});
}

TEST_CASE("a unit that wants to be started is started", "[spc-4-F.2][SCSI-SENSE-03]") {
    Bench bench(disks({0}));
    bench.server.with([](Target& target) {
        target.executing(command(0x00)).once().reply(Target::check_condition({2, 0x04, 0x02}));
        target.executing(command(0x1b)).once().reply(Target::status(0));
    });
    CHECK(bench.log_in().luns.size() == 1);
    CHECK(bench.seen(command(0x1b)) == 1);
}

TEST_CASE("a unit that grows while it is in use has its new size", "[sbc3-4.2][SCSI-UA-02][F-12]") {
    Bench bench(disks({0, 1}));
    bench.log_in();
    bench.change(disks({0, 1}, 4096));
    bench.attention({6, 0x2a, 0x09}, 1);
    bench.until_units({running(0), running(1, 4096)});
    bench.attention({6, 0x2a, 0x09}, 0);
    bench.until_units({running(0, 4096), running(1, 4096)});
}

TEST_CASE("changed mode parameters are read again", "[spc-4-7.5][SCSI-UA-03]") {
    Bench bench(disks({0}));
    bench.log_in();
    const std::size_t before = bench.seen(command(mode_sense));
    CHECK(before >= 1);
    bench.attention({6, 0x2a, 0x01});
    bench.until_seen(command(mode_sense), before + 1);
}

TEST_CASE("a unit whose access state changed is looked at again", "[spc-4-5.15][SCSI-UA-04]") {
    Bench bench(disks({0}));
    show_port_group(bench);
    bench.log_in();
    const std::size_t before = bench.seen(command(report_groups));
    CHECK(before >= 1);
    bench.attention({6, 0x2a, 0x06});
    bench.until_seen(command(report_groups), before + 1);
}

TEST_CASE("an access state is of the moment: what is kept for the next daemon is not written for it",
          "[spc-4-5.15][SCSI-UA-04]") {
    LogLines log;
    std::atomic<std::uint8_t> state = 0;
    Bench bench(disks({0}));
    show_port_group(bench);
    set_access(bench, state);
    bench.log_in();
    const auto kept = [&] {
        const std::filesystem::directory_iterator files(bench.fixture.daemon->paths().sessions_dir());
        struct stat info {};
        REQUIRE(::stat(files->path().c_str(), &info) == 0);
        return info.st_ino; // another one after each rename
    };
    const ino_t before = kept();
    state = 1;
    bench.attention({6, 0x2a, 0x06});
    bench.fixture.run_until([&] { return log.with("is now active/non-optimized").size() == 1; });
    bench.turn_for(std::chrono::milliseconds(100)); // the look ends
    CHECK(kept() == before);
    bench.change(disks({0}, 4096));
    bench.attention({6, 0x2a, 0x09});
    bench.until_units({running(0, 4096)});
    CHECK(kept() != before);
}

TEST_CASE("a unit whose port does not serve it yet is shown once it does", "[spc-4-5.15][SCSI-UA-04]") {
    const bool is_told = GENERATE(true, false);
    std::atomic<std::uint8_t> state = 2; // standby
    Bench bench(disks({0, 1}), [&](control::DaemonConfig& config) {
        config.absent_pause = is_told ? config.absent_pause : std::chrono::milliseconds(200);
    });
    show_port_group(bench);
    set_access(bench, state, 1);
    CHECK(units_of(bench.log_in().luns) == std::vector<Unit>{running(0)});
    state = 0;
    if (is_told) {
        bench.attention({6, 0x2a, 0x06}); // by the other unit: to this one nothing is sent
    }
    bench.until_units({running(0), running(1)});
}

TEST_CASE("what is not shown is named once, however often the target is scanned",
          "[SCSI-LUN-05][SCSI-LUN-06]") {
    LogLines log;
    Bench bench(disks({0}));
    bench.edit_inquiries([](Pdu& pdu) { pdu.data[0] = std::byte{0x05}; });
    const ipc::LoginReply reply = bench.log_in();
    for (int i = 0; i < 3; ++i) {
        CHECK(std::holds_alternative<ipc::Done>(bench.ask(ipc::Rescan{reply.sid})));
    }
    CHECK(log.with("LUN 0 (CD/DVD): skipped").size() == 1);
    CHECK(log.with("none of the 1 logical unit(s)").size() == 1);
}

TEST_CASE("units that come are shown, units that go stay and fail, until they are back",
          "[spc-4-6.33][SCSI-LUN-07][SCSI-LUN-08]") {
    Bench bench(disks({0, 3}));
    bench.log_in();
    bench.change(disks({0, 5}));
    bench.attention({6, 0x3f, 0x0e});
    bench.until_units({running(0), offline(3), running(5)});
    bench.change(disks({0, 3, 5}));
    bench.attention({6, 0x3f, 0x0e});
    bench.until_units({running(0), running(3), running(5)});
}

TEST_CASE("with node.session.scan = manual nothing is added by itself", "[SCSI-LUN-07]") {
    Bench bench(disks({0, 3}));
    const ipc::LoginReply reply = bench.log_in("manual");
    CHECK(reply.luns.empty());
    CHECK(std::holds_alternative<ipc::Done>(bench.ask(ipc::Rescan{reply.sid})));
    CHECK(bench.units() == std::vector<Unit>{running(0), running(3)});
    const std::size_t asked = bench.seen(command(report_luns));
    const Match look_at_3 = command(inquiry).with(field::lun, lun_field(3));
    const std::size_t looks = bench.seen(look_at_3);
    bench.change(disks({0, 3, 5}));
    bench.attention({6, 0x3f, 0x0e});
    bench.until_seen(look_at_3, looks + 1); // another unit may be in the place of any of them
    CHECK(bench.seen(command(report_luns)) == asked);
    CHECK(bench.units() == std::vector<Unit>{running(0), running(3)});
    CHECK(std::holds_alternative<ipc::Done>(bench.ask(ipc::Rescan{reply.sid})));
    CHECK(bench.units() == std::vector<Unit>{running(0), running(3), running(5)});
}

TEST_CASE("a unit in the place of another one gets nothing", "[spc-4-7.8.6][SCSI-UA-05][F-13]") {
    const Sense sense = GENERATE(values<Sense>({{6, 0x3f, 0x03}, {6, 0x29, 0x00}, {5, 0x25, 0x00}}));
    Bench bench(disks({0, 1}));
    bench.log_in();
    // The last byte of the name in page 83h.
    bench.server.with([](Target& target) {
        const auto is_page_83 = [](const Pdu& pdu) {
            return pdu.data.size() == 16 && pdu.data[1] == std::byte{0x83};
        };
        target.sending(data_in.when(is_page_83)).edit([](Pdu& pdu) { pdu.data[15] ^= std::byte{0x40}; });
    });
    bench.attention(sense, 1);
    bench.until_units({running(0), offline(1)});
}

TEST_CASE("a unit that is listed and is not there is not looked for without end", "[SCSI-UA-06]") {
    Bench bench(disks({0, 1}));
    bench.server.with([](Target& target) {
        target.executing(command(inquiry).with(field::lun, lun_field(1)))
            .reply(Target::check_condition({5, 0x25, 0x00}));
    });
    CHECK(units_of(bench.log_in().luns) == std::vector<Unit>{running(0)});
    bench.turn_for(std::chrono::milliseconds(400));
    CHECK(bench.seen(command(report_luns)) == 1);
}

TEST_CASE("a storm of attentions is answered with few scans and looks", "[SCSI-UA-06]") {
    Bench bench(disks({0, 1}));
    bench.log_in();
    const Match names = command(inquiry).when([](const Pdu& pdu) { return pdu.cdb()[2] == std::byte{0x83}; });
    const std::size_t lists_before = bench.seen(command(report_luns));
    const std::size_t names_before = bench.seen(names);
    const base::TimePoint until = ring::monotonic_now() + std::chrono::seconds(6);
    for (std::uint8_t unit = 0; ring::monotonic_now() < until; unit ^= 1U) {
        // A turn for each two: the session keeps a few that come together.
        bench.attention({6, 0x3f, 0x0e}, unit);
        bench.attention({6, 0x2a, 0x09}, unit);
        bench.fixture.turn();
    }
    // After 0.1, 1.1 and 3.1 s.
    const std::size_t lists = bench.seen(command(report_luns)) - lists_before;
    CHECK(lists >= 2);
    CHECK(lists <= 4);
    // Of each unit: with each list, and for the doubt at pauses that have grown to a second.
    const std::size_t looks = bench.seen(names) - names_before;
    CHECK(looks >= 10);
    CHECK(looks <= 60);
    CHECK(bench.units() == std::vector<Unit>{running(0), running(1)});
}

TEST_CASE("a logout in the middle of a storm ends", "[SCSI-UA-06]") {
    Bench bench(disks({0, 1, 2}));
    const ipc::LoginReply reply = bench.log_in();
    for (int i = 0; i < 200; ++i) {
        bench.attention({6, 0x3f, 0x0e}, static_cast<std::uint8_t>(i % 3));
        bench.attention({6, 0x29, 0x00}, static_cast<std::uint8_t>(i % 3));
    }
    for (int i = 0; i < 3; ++i) {
        bench.fixture.turn();
    }
    CHECK(std::holds_alternative<ipc::Done>(bench.ask(ipc::Logout{reply.sid})));
    ipc::Reply left = bench.ask(ipc::Sessions());
    CHECK(std::get<ipc::SessionsReply>(left).sessions.empty());
}

#include "control/scan_agenda.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <utility>

using namespace iscsi;
using control::ScanAgenda;
using enum scsi::Effect;
using namespace std::chrono_literals;

namespace {

const base::TimePoint start{1000s};
const base::Lun one(0x0001000000000000);
const base::Lun two(0x0002000000000000);

/// Rounds in `duration` when `effects` come every millisecond.
struct Storm {
    unsigned rounds = 0;
    unsigned list_rounds = 0;
    base::Duration longest{};
};

Storm storm(scsi::Effects effects, bool of_list, base::Duration duration) {
    ScanAgenda agenda;
    Storm out;
    base::TimePoint last = start;
    for (base::TimePoint now = start; now < start + duration; now += 1ms) {
        agenda.note(one, effects, now);
        if (of_list) {
            agenda.note_luns(now);
        }
        if (!base::is_due(agenda.due(), now)) {
            continue;
        }
        const ScanAgenda::Work work = agenda.take(now);
        out.rounds += work.units.empty() && !work.luns ? 0 : 1;
        out.list_rounds += work.luns ? 1 : 0;
        out.longest = std::max(out.longest, now - last);
        last = now;
        agenda.done(one, now);
    }
    return out;
}

} // namespace

TEST_CASE("what needs a look is looked at, what does not is left alone", "[SCSI-UA-01][SCSI-UA-06]") {
    for (scsi::Effect effect : {capacity_changed, mode_changed, inquiry_changed, power_on_reset,
                                asymmetric_access_changed, needs_start, unit_gone}) {
        ScanAgenda agenda;
        agenda.note(one, attention | scsi::Effects(effect), start);
        REQUIRE(agenda.due());
        const ScanAgenda::Work work = agenda.take(*agenda.due());
        REQUIRE(work.units.size() == 1);
        CHECK(work.units[0].lun == one);
        CHECK_FALSE(work.units[0].in_doubt);
        CHECK_FALSE(work.luns);
        CHECK_FALSE(agenda.due());
    }
    for (scsi::Effect effect :
         {attention, thin_threshold, thin_exhausted, queue_full, deferred_error, our_fault}) {
        ScanAgenda agenda;
        agenda.note(one, effect, start);
        CHECK_FALSE(agenda.due());
    }
}

TEST_CASE("many news of one change are one round", "[SCSI-UA-06]") {
    ScanAgenda agenda;
    for (int i = 0; i < 100; ++i) {
        agenda.note(i % 2 == 0 ? one : two, capacity_changed | mode_changed, start + i * 1us);
    }
    REQUIRE(agenda.due());
    CHECK(*agenda.due() > start);
    CHECK(*agenda.due() <= start + 100ms);
    CHECK(agenda.take(start).units.empty());
    CHECK(agenda.take(*agenda.due()).units.size() == 2);
    CHECK_FALSE(agenda.due());
}

TEST_CASE("a list of units that has changed is one round for all who say so", "[SCSI-LUN-07][SCSI-UA-06]") {
    ScanAgenda agenda;
    agenda.note_luns(start);
    agenda.note_luns(start + 1ms);
    const ScanAgenda::Work work = agenda.take(*agenda.due());
    CHECK(work.luns);
    CHECK(work.units.empty());
}

TEST_CASE("who waits for a comparison does not wait for the round of the others", "[SCSI-UA-05]") {
    ScanAgenda agenda;
    agenda.note(one, capacity_changed, start);
    agenda.note(two, inquiry_changed | identity_doubt, start);
    CHECK(agenda.due() == start);
    ScanAgenda::Work work = agenda.take(start);
    REQUIRE(work.units.size() == 1);
    CHECK(work.units[0].lun == two);
    CHECK(work.units[0].in_doubt);
    // A unit that was on the list already goes ahead.
    agenda.note(one, scsi::Effects(identity_doubt), start + 1s);
    work = agenda.take(start + 1s);
    REQUIRE(work.units.size() == 1);
    CHECK(work.units[0].in_doubt);
    CHECK(agenda.take(start + 1h).units.empty());
}

TEST_CASE("a unit is looked at by one at a time, and again for what came meanwhile", "[SCSI-UA-06]") {
    const scsi::Effects first = GENERATE(scsi::Effects(capacity_changed), scsi::Effects(identity_doubt));
    ScanAgenda agenda;
    agenda.note(one, first, start);
    CHECK(agenda.take(start + 1s).units.size() == 1);
    agenda.note(one, scsi::Effects(capacity_changed), start + 2s);
    agenda.note(one, scsi::Effects(identity_doubt), start + 2s);
    CHECK_FALSE(agenda.due());
    CHECK(agenda.take(start + 1h).units.empty());
    agenda.done(one, start + 2h);
    REQUIRE(agenda.due());
    CHECK(*agenda.due() <= start + 2h);
    const ScanAgenda::Work work = agenda.take(start + 2h);
    REQUIRE(work.units.size() == 1);
    CHECK(work.units[0].in_doubt);
    agenda.done(one, start + 3h);
    CHECK_FALSE(agenda.due());
}

TEST_CASE("looks that take their time hold up no unit that somebody waits for", "[SCSI-UA-05][SCSI-UA-06]") {
    const auto lun = [](std::uint64_t number) { return base::Lun(number << 48); };
    ScanAgenda agenda;
    for (std::uint64_t number = 1; number <= 40; ++number) {
        agenda.note(lun(number), scsi::Effects(capacity_changed), start);
    }
    ScanAgenda::Work work = agenda.take(start + 1s);
    CHECK(work.units.size() == 16);
    CHECK_FALSE(agenda.due()); // before the end of one of them
    for (std::uint64_t number = 101; number <= 140; ++number) {
        agenda.note(lun(number), scsi::Effects(identity_doubt), start + 2s);
    }
    CHECK(agenda.take(start + 2s).units.size() == 40);
    agenda.note(lun(40), scsi::Effects(identity_doubt), start + 20s); // had to wait so far
    CHECK(agenda.due() == start + 20s);
    CHECK(agenda.take(start + 20s).units.size() == 1);
    // The rest of the round, one for each that ends; those in doubt made no room.
    agenda.done(lun(101), start + 30s);
    CHECK_FALSE(agenda.due());
    std::size_t looks = work.units.size();
    while (!work.units.empty()) {
        agenda.done(work.units.back().lun, start + 30s);
        work.units.pop_back();
        REQUIRE((looks == 39 || base::is_due(agenda.due(), start + 30s)));
        for (const ScanAgenda::Unit& unit : agenda.take(start + 30s).units) {
            CHECK_FALSE(unit.in_doubt);
            work.units.push_back(unit);
            ++looks;
        }
    }
    CHECK(looks == 39);
    CHECK_FALSE(agenda.due());
}

TEST_CASE("units that are noted again and again do not go before those that wait in line", "[SCSI-UA-06]") {
    const base::Lun last(std::uint64_t{100} << 48);
    ScanAgenda agenda;
    base::TimePoint now = start;
    std::vector<base::Lun> looks;
    agenda.note(last, scsi::Effects(capacity_changed), now);
    for (int hour = 0; hour < 10; ++hour, now += 1h) {
        for (std::uint64_t number = 1; number <= 32; ++number) {
            agenda.note(base::Lun(number << 48), scsi::Effects(mode_changed), now);
        }
        for (base::Lun lun : std::exchange(looks, {})) {
            agenda.done(lun, now);
        }
        for (const ScanAgenda::Unit& unit : agenda.take(now + 1min).units) {
            looks.push_back(unit.lun);
        }
        if (std::ranges::find(looks, last) != looks.end()) {
            break;
        }
    }
    CHECK(now <= start + 2h);
}

TEST_CASE("a storm of attentions costs ever fewer rounds", "[SCSI-UA-06]") {
    const Storm lists = storm(capacity_changed, true, 10min);
    CHECK(lists.list_rounds >= 30);
    CHECK(lists.list_rounds <= 50);
    CHECK(lists.longest <= 16s);
    const Storm doubts = storm(inquiry_changed | identity_doubt, false, 10min);
    CHECK(doubts.rounds >= 550);
    CHECK(doubts.rounds <= 620);
    CHECK(doubts.longest <= 1100ms);
}

TEST_CASE("after a quiet time the first round is soon again", "[SCSI-UA-06]") {
    ScanAgenda agenda;
    base::TimePoint now = start;
    for (int i = 0; i < 10; ++i) {
        agenda.note_luns(now);
        now = *agenda.due();
        CHECK(agenda.take(now).luns);
    }
    agenda.note_luns(now);
    CHECK(*agenda.due() > now + 10s);
    now = *agenda.due();
    CHECK(agenda.take(now).luns);
    now += 60s;
    agenda.note_luns(now);
    CHECK(*agenda.due() <= now + 100ms);
}

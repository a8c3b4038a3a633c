// What a Lun does when the target says more than how one command ended: that it is full, that another unit
// may be in the place of this one, that there is news for control.
#include "bench.hpp"
#include "shard/lun_news.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cerrno>

using namespace iscsi;
using namespace iscsi::test;
using block::Verb;
using Operations = std::vector<unsigned>;

namespace {

Bent sense(std::uint8_t key, std::uint8_t asc, std::uint8_t ascq) {
    return {0x02, {key, asc, ascq}, {}};
}

Bent full() {
    return {0x28, {}, {}};
}

void turns(Bench& bench, int count) {
    for (int i = 0; i < count; ++i) {
        bench.turn();
    }
}

std::vector<std::unique_ptr<Io>> start_writes(Bench& bench, unsigned count) {
    std::vector<std::unique_ptr<Io>> ios;
    for (unsigned i = 0; i < count; ++i) {
        ios.push_back(bench.write(std::uint64_t{i} * 512, 512, i + 1));
        bench.lun->start(*ios.back());
    }
    return ios;
}

/// A bench whose first command has met `attention`, and nobody has looked at the unit yet.
struct Doubtful {
    explicit Doubtful(Bent attention = sense(6, 0x29, 0x00)) {
        bench.inspected.reset();
        start_session(bench);
        bend_first(bench, 1, attention);
        first = bench.write(0, 512, 7);
        bench.lun->start(*first);
        bench.run_until([&] { return bench.lun->in_doubt(); });
    }
    /// Blocks of the disk that were written.
    bool untouched() const {
        return std::ranges::all_of(bench.target.disk, [](std::byte b) { return b == std::byte{0}; });
    }

    Bench bench;
    std::unique_ptr<Io> first;
};

} // namespace

TEST_CASE("where another unit may answer, nothing is sent until it was compared", "[spc-4-6.4][SCSI-UA-05]") {
    const auto attention = GENERATE(values<std::array<std::uint8_t, 3>>(
        {{6, 0x29, 0x00}, {6, 0x29, 0x01}, {6, 0x28, 0x00}, {6, 0x3f, 0x03}, {6, 0x3f, 0x0e}}));
    Doubtful scene(sense(attention[0], attention[1], attention[2]));
    Bench& bench = scene.bench;
    auto second = bench.write(1024, 512, 9);
    bench.lun->start(*second);
    turns(bench, 20);
    CHECK(bench.target.seen.size() == 1);
    CHECK(scene.untouched());
    CHECK_FALSE(scene.first->done);
    CHECK_FALSE(second->done);
    SECTION("the same: the writes go on") {
        bench.lun->update(Bench::disk_facts(), ring::monotonic_now());
        bench.run_until([&] { return bench.lun->idle(); });
        CHECK(scene.first->error_number == 0);
        CHECK(second->error_number == 0);
        CHECK_FALSE(scene.untouched());
    }
    SECTION("another one: not a byte is written to it") {
        bench.lun->bar();
        bench.run_until([&] { return bench.lun->idle(); });
        CHECK(scene.first->error_number == ENODEV);
        CHECK(second->error_number == ENODEV);
        CHECK(bench.execute(Verb::read, 0, 512) == ENODEV);
        CHECK(scene.untouched());
        CHECK(bench.target.seen.size() == 1);
    }
    SECTION("it gets smaller: what lies behind its end is not sent") {
        scsi::LunFacts facts = Bench::disk_facts();
        facts.blocks = base::BlockCount(2);
        bench.lun->update(facts, ring::monotonic_now());
        bench.run_until([&] { return bench.lun->idle(); });
        CHECK(scene.first->error_number == 0);
        CHECK(second->error_number == EINVAL);
    }
}

TEST_CASE("what somebody else's command hears of the unit holds its users up at once",
          "[spc-4-6.4][SCSI-UA-05]") {
    Bench bench;
    bench.inspected.reset();
    start_session(bench);
    SECTION("a command of the scan") {
        bend_first(bench, 1, sense(6, 0x29, 0x00));
        shard::PassThrough test;
        test.lun = Bench::disk_facts().lun;
        test.cdb_bytes = 6;
        CHECK(bench.run(bench.nexus->execute(test)).status == 2);
    }
    SECTION("the target, unasked") {
        wire::AsyncMessage message; // event 0
        message.lun = Bench::disk_facts().lun.value();
        std::vector<std::byte> data(20);
        data[1] = std::byte{18};
        data[2] = std::byte{0x70};
        data[4] = std::byte{6};
        data[9] = std::byte{10};
        data[14] = std::byte{0x29};
        testing::FakeTarget& judge = bench.target.judge();
        judge.send(judge.stamped(message), data);
        bench.run_until([&] { return bench.lun->in_doubt(); });
    }
    CHECK(bench.lun->in_doubt());
    auto write = bench.write(0, 512, 9);
    bench.lun->start(*write);
    turns(bench, 20);
    CHECK_FALSE(write->done);
    bench.lun->bar();
    CHECK(write->error_number == ENODEV);
    CHECK(std::ranges::all_of(bench.target.disk, [](std::byte b) { return b == std::byte{0}; }));
}

TEST_CASE("a look that began before the latest doubt does not end it", "[spc-4-6.4][SCSI-UA-05]") {
    Doubtful scene;
    Bench& bench = scene.bench;
    const base::TimePoint looked_at = ring::monotonic_now();
    bend_first(bench, 1, sense(6, 0x3f, 0x0e));
    shard::PassThrough test;
    test.lun = Bench::disk_facts().lun;
    test.cdb_bytes = 6;
    CHECK(bench.run(bench.nexus->execute(test)).status == 2);
    bench.lun->update(Bench::disk_facts(), looked_at);
    turns(bench, 20);
    CHECK(bench.lun->in_doubt());
    CHECK(scene.untouched());
    bench.lun->update(Bench::disk_facts(), ring::monotonic_now());
    bench.run_until([&] { return scene.first->done; });
    CHECK(scene.first->error_number == 0);
}

TEST_CASE("a look that began before the latest doubt does not bring a unit back", "[spc-4-6.4][SCSI-UA-05]") {
    Doubtful scene;
    Bench& bench = scene.bench;
    bench.lun->bar();
    CHECK(scene.first->error_number == ENODEV);
    const base::TimePoint looked_at = ring::monotonic_now();
    bend_first(bench, 1, sense(6, 0x3f, 0x0e));
    shard::PassThrough test;
    test.lun = Bench::disk_facts().lun;
    test.cdb_bytes = 6;
    CHECK(bench.run(bench.nexus->execute(test)).status == 2);
    bench.lun->update(Bench::disk_facts(), looked_at);
    CHECK(bench.lun->in_doubt());
    auto second = bench.write(1024, 512, 9);
    bench.lun->start(*second);
    turns(bench, 20);
    CHECK(scene.untouched());
    bench.lun->update(Bench::disk_facts(), ring::monotonic_now());
    bench.run_until([&] { return second->done; });
    CHECK(second->error_number == 0);
}

TEST_CASE("a doubt that lasts too long is given up, and control is told", "[SCSI-UA-05]") {
    Bench bench;
    bench.inspected.reset();
    bench.lun->set_doubt_max(std::chrono::milliseconds(50));
    start_session(bench);
    bend_first(bench, 1, sense(6, 0x29, 0x00));
    CHECK(bench.execute(Verb::write, 0, 512) == ENODEV);
    bench.run_until([&] { return bench.news.has(scsi::Effect::not_compared); });
}

TEST_CASE("other attentions are absorbed without waiting for anybody", "[SCSI-UA-01][SCSI-UA-07]") {
    const auto attention = GENERATE(values<std::array<std::uint8_t, 3>>({{6, 0x29, 0x03},
                                                                         {6, 0x29, 0x07},
                                                                         {6, 0x2a, 0x01},
                                                                         {6, 0x2a, 0x06},
                                                                         {6, 0x2a, 0x09},
                                                                         {6, 0x2f, 0x00},
                                                                         {6, 0x38, 0x07},
                                                                         {6, 0x47, 0x7f}}));
    Bench bench;
    bench.inspected.reset();
    start_session(bench);
    bend_first(bench, 3, sense(attention[0], attention[1], attention[2]));
    CHECK(bench.execute(Verb::read, 0, 512) == 0);
    CHECK(bench.target.seen.size() == 4);
    CHECK_FALSE(bench.lun->in_doubt());
}

TEST_CASE("a unit that is not there any more fails its command and is compared before the next",
          "[sam5-4.7][SCSI-UA-05][SCSI-LUN-08]") {
    Doubtful scene(sense(5, 0x25, 0x00));
    Bench& bench = scene.bench;
    bench.run_until([&] { return scene.first->done; });
    CHECK(scene.first->error_number == ENODEV);
    auto second = bench.write(1024, 512, 9);
    bench.lun->start(*second);
    turns(bench, 20);
    CHECK(bench.target.seen.size() == 1);
    bench.lun->bar();
    CHECK(second->error_number == ENODEV);
    CHECK(scene.untouched());
}

TEST_CASE("a queue that takes requests back does not help an endless storm to more tries", "[SCSI-UA-01]") {
    Bench bench;
    bench.holds = true;
    start_session(bench);
    bend_first(bench, 1000, sense(6, 0x29, 0x00));
    CHECK(bench.execute(Verb::read, 0, 512) == EIO);
    CHECK(bench.target.seen.size() == 11);
}

TEST_CASE("requests that come while a unit is in doubt go back to a queue that can hold them",
          "[SCSI-UA-05]") {
    Bench bench;
    bench.holds = true;
    bench.inspected.reset();
    start_session(bench);
    bend_first(bench, 1, sense(6, 0x29, 0x00));
    auto first = bench.write(0, 512, 7);
    auto second = bench.write(512, 512, 8);
    bench.lun->start(*first);
    bench.run_until([&] { return bench.lun->in_doubt(); });
    bench.lun->start(*second);
    CHECK(bench.held.size() == 1);
    bench.lun->update(Bench::disk_facts(), ring::monotonic_now());
    bench.run_until([&] { return first->done && second->done; });
    CHECK(first->error_number == 0);
    CHECK(second->error_number == 0);
    CHECK(bench.target.seen.size() == 3);
}

TEST_CASE("a doubt that a drop finds is settled by the login after it", "[SCSI-UA-05]") {
    Doubtful scene;
    Bench& bench = scene.bench;
    bench.target.die();
    bench.run_until([&] { return bench.drops == 1; });
    bench.open();
    bench.lun->update(Bench::disk_facts(), ring::monotonic_now());
    turns(bench, 5);
    CHECK_FALSE(scene.first->done);
    bench.nexus->resume();
    bench.run_until([&] { return bench.lun->idle(); });
    CHECK(scene.first->error_number == 0);
}

TEST_CASE("a session that ends does not wait for a doubt", "[SCSI-UA-05]") {
    Doubtful scene;
    scene.bench.nexus->seal();
    CHECK(scene.first->error_number == ENOLINK);
    CHECK(scene.untouched());
}

TEST_CASE("a full target gets half as many commands at a time, and every request ends well",
          "[sam5-5.3.1][SCSI-STATUS-04][F-11]") {
    Bench bench(Bench::disk_facts(), 16);
    start_session(bench);
    bend_first(bench, 16, full());
    auto ios = start_writes(bench, 64);
    CHECK(bench.lun->allowed_depth() == 16);
    std::size_t most = 0;
    std::size_t seen = 0;
    bench.run_until([&] {
        const std::size_t now = bench.target.seen.size();
        if (seen >= 16) {
            most = std::max(most, now - seen); // the target answers everything in each of its turns
        }
        seen = now;
        return bench.lun->idle();
    });
    CHECK(bench.lun->allowed_depth() == 8);
    CHECK(most > 0);
    CHECK(most <= 8);
    CHECK(bench.target.seen.size() == 80);
    for (const auto& io : ios) {
        CHECK(io->error_number == 0);
    }
    CHECK(bench.effects == 0); // nobody but the unit has to act on it
}

TEST_CASE("one command at a time goes on when the target has room for no more", "[SCSI-STATUS-04]") {
    Bench bench(Bench::disk_facts(), 8);
    start_session(bench);
    bend_first(bench, 60, full());
    auto ios = start_writes(bench, 20);
    bench.run_until([&] { return bench.lun->idle(); });
    CHECK(bench.lun->allowed_depth() == 1);
    for (const auto& io : ios) {
        CHECK(io->error_number == 0);
    }
}

TEST_CASE("requests that wait for room fail with their path and come back after a drop", "[SCSI-STATUS-04]") {
    const bool drops = GENERATE(true, false);
    Bench bench(Bench::disk_facts(), 8);
    start_session(bench);
    bend_first(bench, 30, full());
    std::vector<std::unique_ptr<Io>> ios;
    for (unsigned round = 0; bench.lun->allowed_depth() > 1; ++round) {
        REQUIRE(round < 100);
        auto more = start_writes(bench, 8);
        std::ranges::move(more, std::back_inserter(ios));
        turns(bench, 5);
    }
    bench.target.bend = [](const SeenCommand&) {
        Bent bent;
        bent.silent = true;
        return std::optional(bent);
    };
    turns(bench, 30);
    CHECK_FALSE(bench.lun->idle());
    if (drops) {
        bench.target.die();
        bench.target.bend = {};
        bench.run_until([&] { return bench.drops == 1; });
        start_session(bench);
    } else {
        bench.nexus->seal();
        // At once, but for what the target has.
        CHECK(std::ranges::count_if(ios, [](const auto& io) { return !io->done; }) <= 1);
        bench.target.die();
    }
    bench.run_until([&] { return bench.lun->idle(); });
    for (const auto& io : ios) {
        REQUIRE(io->done);
        CHECK((io->error_number == (drops ? 0 : ENOLINK) || (!drops && io->error_number == 0)));
    }
}

TEST_CASE("news of a unit that is gone bother nobody", "[SCSI-UA-06]") {
    Bench bench;
    start_session(bench);
    scsi::Disposition told;
    told.effects = scsi::Effect::capacity_changed;
    {
        shard::LunNews news(*bench.nexus, Bench::disk_facts().lun);
        news.tell(told);
        news.tell(told);
    }
    shard::LunNews silent(*bench.nexus, Bench::disk_facts().lun);
    turns(bench, 3);
    CHECK(bench.effects == 0);
}

TEST_CASE("news that come together are told together, with the sense data of the last", "[SCSI-UA-06]") {
    Bench bench;
    start_session(bench);
    shard::LunNews news(*bench.nexus, Bench::disk_facts().lun);
    scsi::Disposition told;
    told.effects = scsi::Effect::capacity_changed;
    news.tell(told);
    told.effects = scsi::Effect::mode_changed;
    news.tell(told);
    turns(bench, 3);
    CHECK(bench.effects == 1);
    CHECK(bench.news == (scsi::Effect::capacity_changed | scsi::Effect::mode_changed));
    bench.news = {};
    news.tell(told);
    turns(bench, 3);
    CHECK(bench.effects == 2);
    CHECK(bench.news == scsi::Effects(scsi::Effect::mode_changed));
}

TEST_CASE("no space left is one command, one errno and one piece of news", "[sbc3-4.7.3.6][SCSI-THIN-01]") {
    Bench bench;
    start_session(bench);
    bend_first(bench, 1000, sense(7, 0x27, 0x07));
    auto ios = start_writes(bench, 8);
    bench.run_until([&] { return bench.lun->idle(); });
    turns(bench, 2);
    for (const auto& io : ios) {
        CHECK(io->error_number == ENOSPC);
    }
    CHECK(bench.target.seen.size() == 8);
    CHECK(bench.effects >= 1);
    CHECK(bench.effects < 8);
    CHECK(bench.news == scsi::Effects(scsi::Effect::thin_exhausted));
}

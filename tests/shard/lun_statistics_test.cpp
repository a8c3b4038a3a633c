// What a unit's requests are counted as, and how long they took.
#include "bench.hpp"

#include <catch2/catch.hpp>

using namespace iscsi;
using namespace iscsi::test;
using block::Verb;
using Kind = shard::LunStatistics::Kind;

namespace {

struct Counted {
    shard::LunStatistics statistics; // outlives the Lun
    Bench bench;

    Counted() {
        bench.lun->count_in(statistics);
        start_session(bench);
    }

    void run(const std::vector<Io*>& ios) {
        for (Io* io : ios) {
            bench.lun->start(*io);
        }
        bench.run_until([&] { return bench.lun->idle(); });
    }
};

std::optional<Bent> silence(const SeenCommand&) {
    Bent silent;
    silent.silent = true;
    return silent;
}

} // namespace

TEST_CASE("reads, writes and the others are counted apart, with their bytes") {
    Counted scene;
    auto read = scene.bench.request(Verb::read, 0, 4096);
    auto write = scene.bench.write(4096, 8192, 1);
    auto flush = scene.bench.request(Verb::flush, 0, 0);
    scene.run({read.get(), write.get(), flush.get()});
    CHECK(scene.statistics.of(Kind::read).bytes.value() == 4096);
    CHECK(scene.statistics.of(Kind::write).bytes.value() == 8192);
    for (Kind kind : {Kind::read, Kind::write, Kind::other}) {
        CHECK(scene.statistics.of(kind).latency.read().count() == 1);
        CHECK(scene.statistics.of(kind).failures.value() == 0);
    }
    CHECK(scene.statistics.in_hand() == 0);
}

TEST_CASE("one that fails is a failure and has no bytes, also one that is never sent") {
    Counted scene;
    auto beyond = scene.bench.request(Verb::read, scene.bench.target.disk.size(), 4096);
    scene.run({beyond.get()});
    scene.bench.target.bend = [](const SeenCommand&) {
        return std::optional(Bent{0x02, {3, 0x11, 0x00}, {}});
    };
    auto medium_error = scene.bench.request(Verb::read, 0, 4096);
    scene.run({medium_error.get()});
    CHECK(scene.statistics.of(Kind::read).failures.value() == 2);
    CHECK(scene.statistics.of(Kind::read).bytes.value() == 0);
    CHECK(scene.statistics.of(Kind::read).latency.read().count() == 2);
}

TEST_CASE(
    "a request of a lost session is in hand and counted once, held by its queue or not, and its time is "
    "that of its user") {
    Counted scene;
    Bench& bench = scene.bench;
    bench.holds = GENERATE(true, false);
    bench.target.bend = silence;
    auto lost = bench.request(Verb::read, 0, 512);
    bench.lun->start(*lost);
    bench.run_until([&] { return bench.target.seen.size() == 1; });
    const base::TimePoint dropped_at = ring::monotonic_now();
    bench.target.die();
    bench.run_until([&] { return bench.nexus->state() == shard::PathState::down; });
    CHECK(scene.statistics.in_hand() == 1);
    const base::Duration outage = ring::monotonic_now() - dropped_at;
    bench.target.bend = {};
    start_session(bench);
    bench.run_until([&] { return lost->done; });
    const base::LatencyCounts latency = scene.statistics.of(Kind::read).latency.read();
    CHECK(scene.statistics.in_hand() == 0);
    CHECK(latency.count() == 1);
    CHECK(latency.sum_us >= base::latency::whole_us(outage));
}

TEST_CASE("what waits for a slot is counted as having waited") {
    Counted scene;
    std::vector<std::unique_ptr<Io>> ios;
    std::vector<Io*> all;
    for (unsigned i = 0; i < 40; ++i) {
        all.push_back(ios.emplace_back(scene.bench.request(Verb::read, std::uint64_t{i} * 4096, 4096)).get());
    }
    scene.run(all);
    CHECK(scene.statistics.waits() > 0);
    CHECK(scene.statistics.waits() < 40);
    CHECK(scene.statistics.of(Kind::read).latency.read().count() == 40);
}

TEST_CASE("a flush that waits while the cache is lost has ended, and is a failure") {
    Counted scene;
    scene.bench.target.bend = silence;
    std::vector<std::unique_ptr<Io>> ios;
    for (unsigned i = 0; i < 8; ++i) {
        ios.push_back(scene.bench.request(Verb::read, std::uint64_t{i} * 4096, 4096));
        scene.bench.lun->start(*ios.back());
    }
    auto flush = scene.bench.request(Verb::flush, 0, 0);
    scene.bench.lun->start(*flush);
    CHECK(scene.statistics.in_hand() == 9);
    scene.bench.lun->assume_unflushed();
    scene.bench.lun->lose_cache();
    CHECK(flush->done);
    CHECK(scene.statistics.in_hand() == 8);
    CHECK(scene.statistics.of(Kind::other).failures.value() == 1);
    scene.bench.target.die();
    scene.bench.run_until([&] { return scene.bench.nexus->state() == shard::PathState::down; });
    scene.bench.nexus->fail();
    scene.bench.run_until([&] { return scene.bench.lun->idle(); });
}

// Requests that cannot go on, and a queue that takes such back: which are given to it, and when. What is held
// begins anew and is without memory meanwhile; what is kept goes on where it was.
#include "bench.hpp"

#include <catch2/catch.hpp>

using namespace iscsi;
using namespace iscsi::test;
using block::Verb;
using Operations = std::vector<unsigned>;

namespace {

constexpr std::array<std::uint8_t, 3> power_on = {6, 0x29, 0x00};

scsi::LunFacts facts_of_small_pieces() {
    scsi::LunFacts facts = Bench::disk_facts();
    facts.limits.max_transfer_blocks = 8;
    return facts;
}

/// A bench whose queue holds and where nobody looks at a unit in doubt.
struct Holding {
    explicit Holding(const scsi::LunFacts& facts = Bench::disk_facts()) : bench(facts) {
        bench.holds = true;
        bench.inspected.reset();
        start_session(bench);
    }
    void drop() {
        bench.target.die();
        bench.run_until([&] { return bench.drops == 1; });
    }
    bool holds(const Io& io) const { return std::ranges::find(bench.held, &io) != bench.held.end(); }

    Bench bench;
};

/// The first command meets a doubt; a read of two pieces has done its first one when it is told of that.
struct HalfDone : Holding {
    HalfDone() : Holding(facts_of_small_pieces()) {
        bend_first(bench, 1, {0x02, power_on, {}});
        doubtful = bench.request(Verb::read, 1 << 20, 512);
        bench.lun->start(*doubtful);
        bench.lun->start(*half_done);
        bench.run_until([&] { return bench.lun->in_doubt(); });
        for (int i = 0; i < 5; ++i) {
            bench.turn();
        }
        REQUIRE(bench.target.seen.size() == 2);
    }
    std::unique_ptr<Io> doubtful;
    std::unique_ptr<Io> half_done = bench.request(Verb::read, 0, 16 * 512);
};

} // namespace

TEST_CASE_METHOD(HalfDone, "a request that a doubt finds half done is not begun anew for that") {
    CHECK_FALSE(holds(*half_done));
    bench.target.seen.clear();
    bench.lun->update(bench.disk_facts(), ring::monotonic_now());
    bench.run_until([&] { return half_done->done && doubtful->done; });
    CHECK(half_done->error_number == 0);
    CHECK(std::ranges::count(bench.operations(), 0x28U) == 2); // of the one, and the rest of the other
}

TEST_CASE_METHOD(HalfDone, "what waits for a look gives its memory back when its path goes down") {
    CHECK(bench.held.empty());
    drop();
    CHECK(holds(*half_done));
    CHECK(holds(*doubtful));
    CHECK(bench.lun->idle());
    bench.open();
    bench.lun->update(bench.disk_facts(), ring::monotonic_now());
    bench.nexus->resume();
    bench.run_until([&] { return half_done->done && doubtful->done; });
    CHECK(half_done->error_number == 0);
    CHECK(doubtful->error_number == 0);
}

TEST_CASE("a request that has met an attention is kept while its path is up") {
    Holding scene;
    Bench& bench = scene.bench;
    bend_first(bench, 1, {0x02, power_on, {}});
    auto read = bench.request(Verb::read, 0, 512);
    bench.lun->start(*read);
    bench.run_until([&] { return bench.lun->in_doubt(); });
    CHECK(bench.held.empty());
    scene.drop();
    CHECK(scene.holds(*read));
    bench.nexus->fail();
    bench.run_until([&] { return bench.lun->idle() && read->done; });
}

TEST_CASE("counted as sent again is what was lost, not what waited meanwhile") {
    Holding scene;
    Bench& bench = scene.bench;
    bench.holds = GENERATE(true, false);
    bench.target.bend = [](const SeenCommand&) {
        Bent silent;
        silent.silent = true;
        return std::optional(silent);
    };
    auto lost = bench.request(Verb::read, 0, 512);
    bench.lun->start(*lost);
    bench.run_until([&] { return bench.target.seen.size() == 1; });
    scene.drop();
    auto meanwhile = bench.request(Verb::read, 512, 512);
    bench.lun->start(*meanwhile);
    CHECK(bench.lun->counters().replays == 1);
    bench.target.bend = {};
    start_session(bench);
    bench.run_until([&] { return lost->done && meanwhile->done; });
    CHECK(bench.lun->counters().replays == 1);
}

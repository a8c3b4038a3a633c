// Writes that were acknowledged, not flushed, and went with the unit's cache: who is told, how often, and
// when nothing is lost.
#include "bench.hpp"

#include <catch2/catch.hpp>
#include <cerrno>

using namespace iscsi;
using namespace iscsi::test;
using block::Verb;
using Sense = std::array<std::uint8_t, 3>;

namespace {

constexpr Sense power_on_or_reset = {6, 0x29, 0x00};
constexpr Sense power_on = {6, 0x29, 0x01};
constexpr Sense bus_reset = {6, 0x29, 0x02};
constexpr Sense unit_reset = {6, 0x29, 0x03};
constexpr Sense internal_reset = {6, 0x29, 0x04};
constexpr Sense nexus_loss = {6, 0x29, 0x07};
constexpr unsigned synchronize_cache = 0x35;

int write(Bench& bench, bool fua = false) {
    return bench.execute(Verb::write, 0, 512, fua);
}

int flush(Bench& bench) {
    return bench.execute(Verb::flush, 0, 0);
}

/// The next command, a read, brings the news.
void say(Bench& bench, const Sense& sense) {
    bend_first(bench, 1, {0x02, sense, {}});
    CHECK(bench.execute(Verb::read, 0, 512) == 0);
}

/// A bench with a session.
struct LossBench {
    explicit LossBench(const scsi::LunFacts& facts = Bench::disk_facts()) : bench(facts) {
        start_session(bench);
    }
    void drop() {
        bench.target.die();
        bench.run_until([&] { return bench.drops == 1; });
    }
    Bench bench;
};

Bent silence() {
    Bent silent;
    silent.silent = true;
    return silent;
}

} // namespace

TEST_CASE("a flush behind a loss of power fails, once", "[sbc3-4.15][F-03]") {
    LossBench scene;
    Bench& bench = scene.bench;
    const Sense sense = GENERATE(power_on_or_reset, power_on, internal_reset);
    CHECK(write(bench) == 0);
    CHECK(write(bench) == 0);
    say(bench, sense);
    CHECK(flush(bench) == EREMOTEIO);
    CHECK(flush(bench) == 0);
    CHECK(bench.lun->counters().cache_losses == 1);
    CHECK(bench.lun->counters().lost == shard::VolatileWrites::Amount{2, 1024});
    CHECK(bench.news.has(scsi::Effect::writes_lost));
}

TEST_CASE("a reset or the loss of a nexus costs no cache", "[sam5-6.3][F-03]") {
    LossBench scene;
    Bench& bench = scene.bench;
    const Sense sense = GENERATE(bus_reset, unit_reset, nexus_loss);
    CHECK(write(bench) == 0);
    say(bench, sense);
    CHECK(flush(bench) == 0);
    CHECK(bench.lun->counters().cache_losses == 0);
}

TEST_CASE("where nothing is in the cache alone nothing is lost", "[sbc3-4.15][F-03]") {
    scsi::LunFacts facts = Bench::disk_facts();
    SECTION("nothing was written") {
        LossBench scene(facts);
        Bench& bench = scene.bench;
        say(bench, power_on);
        CHECK(flush(bench) == 0);
    }
    SECTION("a flush was behind the write") {
        LossBench scene(facts);
        Bench& bench = scene.bench;
        CHECK(write(bench) == 0);
        CHECK(flush(bench) == 0);
        say(bench, power_on);
        CHECK(flush(bench) == 0);
    }
    SECTION("the write was through the cache") {
        LossBench scene(facts);
        Bench& bench = scene.bench;
        CHECK(write(bench, true) == 0);
        say(bench, power_on);
        CHECK(flush(bench) == 0);
    }
    SECTION("the write brought its own flush, which covers what was before it") {
        facts.dpofua = false;
        LossBench scene(facts);
        Bench& bench = scene.bench;
        CHECK(write(bench) == 0);
        CHECK(write(bench, true) == 0);
        say(bench, power_on);
        CHECK(flush(bench) == 0);
    }
    SECTION("a discard promises nothing") {
        facts.lbpu = facts.provisioned = facts.provisioning_page = true;
        facts.limits.max_unmap_blocks = 1024;
        facts.limits.max_unmap_descriptors = 1;
        LossBench scene(facts);
        Bench& bench = scene.bench;
        CHECK(bench.execute(Verb::discard, 0, 4096) == 0);
        say(bench, power_on);
        CHECK(flush(bench) == 0);
    }
    SECTION("the unit has no volatile cache") {
        SECTION("but none at all") {
            facts.write_cache = false;
        }
        SECTION("but one that lasts") {
            facts.cache_survives = true;
        }
        LossBench scene(facts);
        Bench& bench = scene.bench;
        CHECK(write(bench) == 0);
        say(bench, power_on);
        CHECK(flush(bench) == 0);
    }
}

TEST_CASE("a flush covers what had ended when it was sent, not what ended meanwhile", "[sbc3-4.15][F-03]") {
    LossBench scene;
    Bench& bench = scene.bench;
    // It is answered when another one comes.
    bench.target.bend = [done = false](const SeenCommand& command) mutable {
        const bool now = command.operation() == synchronize_cache && !std::exchange(done, true);
        return now ? std::optional(Bent{0x28, {}, {}})
                   : std::nullopt; // a full task set: again, a little later
    };
    auto flush = bench.request(Verb::flush, 0, 0);
    bench.lun->start(*flush);
    CHECK(write(bench) == 0);
    bench.run_until([&] { return flush->done; });
    CHECK_FALSE(bench.lun->has_unflushed()); // the one that ended well was sent behind the write
    CHECK(write(bench) == 0);
    CHECK(bench.lun->has_unflushed());
}

TEST_CASE("every flush that is in hand when a cache is lost fails, and no other", "[sbc3-4.15][F-03]") {
    LossBench scene;
    Bench& bench = scene.bench;
    CHECK(write(bench) == 0);
    bench.target.bend = [](const SeenCommand&) { return std::optional(silence()); };
    std::vector<std::unique_ptr<Io>> flushes;
    for (int i = 0; i < 20; ++i) { // more than there are slots
        flushes.push_back(bench.request(Verb::flush, 0, 0));
        bench.lun->start(*flushes.back());
    }
    bench.holds = GENERATE(false, true);
    scene.drop();
    bench.target.bend = {};
    bench.open();
    bench.lun->lose_cache();
    bench.nexus->resume();
    for (auto& flush : flushes) {
        bench.run_until([&] { return flush->done; });
        CHECK(flush->error_number == EREMOTEIO);
    }
    CHECK(flush(bench) == 0);
}

TEST_CASE("what is said while the path is not open is for control to judge", "[sam5-5.14][F-03]") {
    LossBench scene;
    Bench& bench = scene.bench;
    CHECK(write(bench) == 0);
    scene.drop();
    bench.open();
    bend_first(bench, 1, {0x02, power_on_or_reset, {}});
    shard::PassThrough ready;
    ready.lun = Bench::disk_facts().lun;
    ready.cdb_bytes = 6;
    const shard::PassThroughReply reply = bench.run(bench.nexus->execute(ready));
    REQUIRE(reply.status == 0x02);
    CHECK(bench.lun->has_unflushed());
    SECTION("and was a greeting") {
        bench.lun->update(Bench::disk_facts(), ring::monotonic_now());
        bench.nexus->resume();
        CHECK(flush(bench) == 0);
    }
    SECTION("and was news") {
        bench.lun->lose_cache();
        bench.lun->update(Bench::disk_facts(), ring::monotonic_now());
        bench.nexus->resume();
        // It writes what it has to say again if need be: nothing of its own is lost.
        CHECK(write(bench, true) == 0);
        CHECK(flush(bench) == EREMOTEIO);
        CHECK(flush(bench) == 0);
    }
}

TEST_CASE("a Lun of a daemon that has just started takes it that its unit holds writes", "[F-03]") {
    LossBench scene;
    Bench& bench = scene.bench;
    bench.lun->assume_unflushed();
    SECTION("until a flush") {
        CHECK(flush(bench) == 0);
        say(bench, power_on);
        CHECK(flush(bench) == 0);
    }
    SECTION("and they are lost") {
        say(bench, power_on);
        CHECK(flush(bench) == EREMOTEIO);
        CHECK(bench.lun->counters().lost == shard::VolatileWrites::Amount());
    }
}

/// A read is not answered; the unit is reset for it, and says `first` of that.
void reset_by_us(Bench& bench, const Sense& first) {
    bench.target.bend = [first, seen = 0](const SeenCommand&) mutable {
        ++seen;
        return seen == 1   ? std::optional(silence())
               : seen == 2 ? std::optional(Bent{0x02, first, {}})
                           : std::nullopt;
    };
    CHECK(bench.execute(Verb::read, 0, 512) == 0);
    CHECK(bench.nexus->statistics().tmfcmd_pdus == 1);
}

TEST_CASE("an attention behind a reset that the session asked for is its echo", "[sam5-6.3.3][F-03]") {
    scsi::LunFacts facts = Bench::disk_facts();
    Bench bench(facts);
    shard::OpenRequest request = bench.open_request();
    request.recovery.command = std::chrono::milliseconds(50);
    request.recovery.lun_reset = std::chrono::seconds(20);
    start_session(bench, request);
    CHECK(write(bench) == 0);
    SECTION("unless it names the loss of power") {
        reset_by_us(bench, power_on);
        CHECK(flush(bench) == EREMOTEIO);
    }
    SECTION("once, whichever code it is") {
        reset_by_us(bench, GENERATE(unit_reset, power_on_or_reset));
        CHECK(bench.lun->has_unflushed());
        say(bench, power_on_or_reset);
        CHECK(flush(bench) == EREMOTEIO);
    }
}

TEST_CASE(
    "a reset by another host, which a program that holds the cache itself tells as 29/00, loses nothing",
    "[sam5-6.3.3][F-03]") {
    scsi::LunFacts facts = Bench::disk_facts();
    facts.vendor = GENERATE("IET", "LIO-ORG", "FreeBSD");
    LossBench scene(facts);
    CHECK(write(scene.bench) == 0);
    say(scene.bench, power_on_or_reset);
    CHECK(flush(scene.bench) == 0);
    CHECK(write(scene.bench) == 0);
    say(scene.bench, power_on);
    CHECK(flush(scene.bench) == EREMOTEIO);
}

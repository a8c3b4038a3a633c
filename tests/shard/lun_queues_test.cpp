// One unit served by two queues, each through a nexus of its own: what is flushed, and what was lost, is
// known to both.
#include "bench.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cerrno>
#include <thread>
#include <utility>

using namespace iscsi;
using namespace iscsi::test;
using block::Verb;
using shard::VolatileWrites;
using Sense = std::array<std::uint8_t, 3>;

namespace {

constexpr Sense power_on = {6, 0x29, 0x01};
constexpr Sense power_on_or_reset = {6, 0x29, 0x00};
constexpr unsigned write10 = 0x2a;
constexpr unsigned synchronize_cache = 0x35;

int write(Bench& bench) {
    return bench.execute(Verb::write, 0, 512);
}

int flush(Bench& bench) {
    return bench.execute(Verb::flush, 0, 0);
}

void say(Bench& bench, const Sense& sense) {
    bend_first(bench, 1, {0x02, sense, {}});
    CHECK(bench.execute(Verb::read, 0, 512) == 0);
}

/// The benches' targets stand for two ports of one.
struct TwoQueues {
    explicit TwoQueues(const scsi::LunFacts& facts = Bench::disk_facts()) : first(facts), second(facts) {
        first.lun->share_cache(cache, 0);
        second.lun->share_cache(cache, 1);
        start_session(first);
        start_session(second);
    }

    std::shared_ptr<shard::UnitCache> cache = std::make_shared<shard::UnitCache>(2);
    Bench first;
    Bench second;
};

/// Starts it, and the target keeps silent until its session ends.
void start_in_vain(Bench& bench, Io& io, unsigned operation) {
    bench.target.bend = [operation](const SeenCommand& command) {
        Bent silent;
        silent.silent = true;
        return command.operation() == operation ? std::optional(silent) : std::nullopt;
    };
    bench.lun->start(io);
    bench.run_until(
        [&] { return !bench.target.seen.empty() && bench.target.seen.back().operation() == operation; });
}

/// The session ends, and a new one answers.
void come_back(Bench& bench) {
    bench.target.die();
    bench.run_until([&] { return bench.drops == 1; });
    bench.target.bend = {};
    start_session(bench);
}

} // namespace

TEST_CASE("a flush through one queue is for what the other has acknowledged", "[sbc3-4.15]") {
    TwoQueues unit;
    CHECK(write(unit.first) == 0);
    CHECK(unit.second.lun->has_unflushed());
    CHECK(flush(unit.second) == 0);
    CHECK_FALSE(unit.first.lun->has_unflushed());
    say(unit.first, power_on);
    say(unit.second, power_on);
    CHECK(flush(unit.first) == 0);
    CHECK(flush(unit.second) == 0);
}

TEST_CASE("a flush that was sent before a write of another queue ended does not cover it", "[sbc3-4.15]") {
    TwoQueues unit;
    auto begun = unit.second.request(Verb::flush, 0, 0);
    start_in_vain(unit.second, *begun, synchronize_cache);
    const VolatileWrites::Amount covered = unit.cache->unflushed.acknowledged();
    CHECK(write(unit.first) == 0);
    unit.cache->unflushed.on_flushed(covered);
    CHECK(unit.first.lun->has_unflushed());
    come_back(unit.second); // it is sent again, behind the write
    unit.second.run_until([&] { return begun->done; });
    CHECK(begun->error_number == 0);
    CHECK_FALSE(unit.first.lun->has_unflushed());
}

TEST_CASE("a flush is sent for what another queue knows to be in a cache that was turned on meanwhile") {
    scsi::LunFacts facts = Bench::disk_facts();
    TwoQueues unit(facts);
    facts.write_cache = false;
    unit.second.lun->update(facts, ring::monotonic_now());
    CHECK(flush(unit.second) == 0);
    CHECK(unit.second.operations().empty());
    CHECK(write(unit.first) == 0);
    CHECK(flush(unit.second) == 0);
    CHECK(unit.second.operations() == std::vector<unsigned>{synchronize_cache});
    CHECK_FALSE(unit.first.lun->has_unflushed());
}

TEST_CASE("a loss that one queue hears of fails the next flush, by whichever queue it comes, once",
          "[sbc3-4.15]") {
    TwoQueues unit;
    const bool is_same_queue = GENERATE(true, false);
    CHECK(write(unit.first) == 0);
    CHECK(write(unit.second) == 0);
    say(unit.first, power_on);
    Bench& flushed = is_same_queue ? unit.first : unit.second;
    CHECK(flush(flushed) == EREMOTEIO);
    CHECK(flush(unit.first) == 0);
    CHECK(flush(unit.second) == 0);
    CHECK(unit.first.lun->counters().lost == VolatileWrites::Amount{2, 1024});
}

TEST_CASE("a loss that is said to every nexus is told, and no more often than it was said") {
    TwoQueues unit;
    CHECK(write(unit.first) == 0);
    say(unit.first, power_on);
    say(unit.second, power_on);
    CHECK(flush(unit.second) == EREMOTEIO);
    CHECK(flush(unit.first) == 0);
    CHECK(unit.first.lun->counters().cache_losses + unit.second.lun->counters().cache_losses == 1);
}

TEST_CASE("a flush in hand of one queue fails when another hears that the cache was lost") {
    TwoQueues unit;
    CHECK(write(unit.first) == 0);
    auto begun = unit.second.request(Verb::flush, 0, 0);
    start_in_vain(unit.second, *begun, synchronize_cache);
    say(unit.first, power_on);
    come_back(unit.second);
    unit.second.run_until([&] { return begun->done; });
    CHECK(begun->error_number == EREMOTEIO);
}

TEST_CASE("a flush in hand tells of a loss that another queue has heard of, and no other flush does") {
    TwoQueues unit;
    CHECK(write(unit.first) == 0);
    auto begun = unit.second.request(Verb::flush, 0, 0);
    start_in_vain(unit.second, *begun, synchronize_cache);
    say(unit.first, power_on);
    const bool another_comes_behind_it = GENERATE(false, true);
    auto behind = unit.second.request(Verb::flush, 0, 0);
    if (another_comes_behind_it) {
        unit.second.lun->start(*behind);
    }
    come_back(unit.second);
    unit.second.run_until([&] { return begun->done && (!another_comes_behind_it || behind->done); });
    CHECK(begun->error_number == EREMOTEIO);
    CHECK((!another_comes_behind_it || behind->error_number == 0));
    CHECK(flush(unit.first) == 0);
    CHECK(flush(unit.second) == 0);
}

TEST_CASE("a flush that is to tell of a loss tells of it when its path is lost for good, too") {
    TwoQueues unit;
    CHECK(write(unit.second) == 0);
    auto begun = unit.first.request(Verb::flush, 0, 0);
    start_in_vain(unit.first, *begun, synchronize_cache);
    bend_first(unit.first, 1, {0x02, power_on, {}});
    CHECK(unit.first.execute(Verb::read, 0, 512) == 0);
    unit.first.target.die();
    unit.first.run_until([&] { return unit.first.drops == 1; });
    unit.first.nexus->fail();
    CHECK(begun->done);
    CHECK(begun->error_number == EREMOTEIO);
    CHECK(flush(unit.second) == 0);
}

TEST_CASE("a loss that no flush could tell of, as its path was lost, is told by the next one") {
    TwoQueues unit;
    CHECK(write(unit.first) == 0);
    auto begun = unit.second.request(Verb::flush, 0, 0);
    start_in_vain(unit.second, *begun, synchronize_cache);
    say(unit.first, power_on);
    unit.second.target.die();
    unit.second.run_until([&] { return unit.second.drops == 1; });
    unit.second.nexus->fail();
    CHECK(begun->error_number == ENOLINK);
    CHECK(flush(unit.first) == EREMOTEIO);
    CHECK(flush(unit.first) == 0);
}

TEST_CASE("a queue knows whether what it is told of a loss may be what another one has heard", "[F-03]") {
    TwoQueues unit;
    CHECK(write(unit.first) == 0);
    CHECK_FALSE(unit.second.lun->has_news_of_loss());
    unit.second.target.die();
    unit.second.run_until([&] { return unit.second.drops == 1; });
    say(unit.first, power_on);
    CHECK(unit.second.lun->has_news_of_loss());
    CHECK_FALSE(unit.first.lun->has_news_of_loss());
    CHECK_FALSE(unit.first.lun->has_written_since_loss());
    CHECK(flush(unit.first) == EREMOTEIO);
    CHECK(write(unit.first) == 0);
    CHECK(unit.first.lun->has_written_since_loss());
    CHECK_FALSE(unit.second.lun->has_written_since_loss());
    // Another one takes what was written since.
    unit.second.lun->lose_cache();
    CHECK_FALSE(unit.second.lun->has_news_of_loss());
    CHECK(flush(unit.first) == EREMOTEIO);
    start_session(unit.second);
    CHECK(unit.second.execute(Verb::read, 0, 512) == 0);
    say(unit.first, power_on); // nothing is lost
    CHECK_FALSE(unit.second.lun->has_news_of_loss());
}

TEST_CASE("a write in hand of one queue is sent again when another hears that the cache was lost") {
    scsi::LunFacts facts = Bench::disk_facts();
    facts.limits.max_transfer_blocks = 8;
    TwoQueues unit(facts);
    CHECK(write(unit.first) == 0);
    auto written = unit.second.write(0, 16 * 512, 1);
    unit.second.target.bend = [&](const SeenCommand& command) -> std::optional<Bent> {
        if (command.operation() == write10 && command.lba() == 8 && unit.cache->losses == 0) {
            say(unit.first, power_on);
        }
        return std::nullopt;
    };
    CHECK(unit.second.finish(*written) == 0);
    CHECK(unit.second.operations() == std::vector<unsigned>{write10, write10, write10, write10});
    CHECK(unit.second.lun->has_unflushed());
}

TEST_CASE("a write whose answer is not read yet is sent again, too, when there was nothing else to lose",
          "[sbc3-4.15]") {
    TwoQueues unit;
    auto written = unit.second.write(0, 512, 1);
    unit.second.target.bend = [&, is_told = false](const SeenCommand&) mutable -> std::optional<Bent> {
        if (!std::exchange(is_told, true)) {
            say(unit.first, power_on);
        }
        return std::nullopt;
    };
    CHECK(unit.second.finish(*written) == 0);
    CHECK(unit.second.operations() == std::vector<unsigned>{write10, write10});
    CHECK(unit.first.lun->has_unflushed());
    CHECK(flush(unit.first) == 0);
    CHECK_FALSE(unit.second.lun->has_unflushed());
    CHECK(unit.first.lun->counters().cache_losses == 0);
}

TEST_CASE("a flush in hand does not fail when another queue hears that an empty cache was lost") {
    TwoQueues unit;
    auto begun = unit.second.request(Verb::flush, 0, 0);
    start_in_vain(unit.second, *begun, synchronize_cache);
    say(unit.first, power_on);
    come_back(unit.second);
    unit.second.run_until([&] { return begun->done; });
    CHECK(begun->error_number == 0);
    CHECK_FALSE(unit.second.lun->has_news_of_loss());
}

TEST_CASE("a write that failed after it was acknowledged fails the next flush of any queue, once",
          "[spc4-4.5.5]") {
    TwoQueues unit;
    CHECK(write(unit.first) == 0);
    Bent deferred;
    deferred.status = 0x02;
    deferred.sense = {0x03, 0x0c, 0x00};
    deferred.deferred = true;
    bend_first(unit.first, 1, deferred);
    CHECK(unit.first.execute(Verb::read, 0, 512) == 0);
    CHECK(flush(unit.second) == ENODATA);
    CHECK(flush(unit.first) == 0);
}

TEST_CASE("a reset that one queue's session has asked for is no loss to the other", "[sam5-6.3]") {
    TwoQueues unit;
    CHECK(write(unit.first) == 0);
    CHECK(write(unit.second) == 0);
    ++unit.cache->resets; // as Lun::on_reset_by_us does, see lun_lost_cache_test.cpp
    say(unit.second, power_on_or_reset);
    CHECK(flush(unit.first) == 0);
    say(unit.first, power_on_or_reset);
    CHECK(flush(unit.second) == 0);
}

TEST_CASE("queues count at the same time, and nothing counts as flushed that was not", "[sbc3-4.15]") {
    constexpr std::uint64_t writes = 20000;
    VolatileWrites counts(2);
    auto writer = [&counts](unsigned queue) {
        for (std::uint64_t i = 0; i < writes; ++i) {
            counts.on_acknowledged(4096, queue);
        }
    };
    std::thread first(writer, 0);
    std::thread second(writer, 1);
    VolatileWrites::Amount last;
    bool is_sound = true;
    for (int i = 0; i < 2000; ++i) {
        const VolatileWrites::Amount covered = counts.acknowledged();
        is_sound = is_sound && covered.writes >= last.writes && covered.writes <= 2 * writes;
        last = covered;
        counts.on_flushed(covered);
    }
    first.join();
    second.join();
    CHECK(is_sound);
    CHECK(counts.acknowledged() == VolatileWrites::Amount{2 * writes, 2 * writes * 4096});
    counts.on_flushed(counts.acknowledged());
    CHECK_FALSE(counts.any());
    counts.on_acknowledged(512, 1);
    CHECK(counts.any());
    counts.on_flushed(last); // one that was sent long ago ends late
    CHECK(counts.lose() == VolatileWrites::Amount{1, 512});
    CHECK_FALSE(counts.any());
}

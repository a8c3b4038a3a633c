// A cache that is lost while a request still has to make sure of what it wrote: all of it is written again.
#include "bench.hpp"

#include <catch2/catch.hpp>
#include <cerrno>

using namespace iscsi;
using namespace iscsi::test;
using block::Verb;
using Operations = std::vector<unsigned>;

namespace {

constexpr unsigned write10 = 0x2a;
constexpr unsigned write_same16 = 0x93;
constexpr unsigned synchronize_cache = 0x35;

/// A unit with a cache and without the FUA bit.
scsi::LunFacts facts_without_fua() {
    scsi::LunFacts facts = Bench::disk_facts();
    facts.dpofua = false;
    return facts;
}

/// Never answers the first command with this operation.
void keep_silent_once(Bench& bench, unsigned operation) {
    bench.target.bend = [operation, done = false](const SeenCommand& command) mutable {
        Bent silent;
        silent.silent = true;
        const bool now = command.operation() == operation && !std::exchange(done, true);
        return now ? std::optional(silent) : std::nullopt;
    };
}

void lose_session_at(Bench& bench, unsigned operation) {
    keep_silent_once(bench, operation);
    bench.run_until(
        [&] { return !bench.target.seen.empty() && bench.target.seen.back().operation() == operation; });
    bench.target.die();
    bench.run_until([&] { return bench.drops == 1; });
    bench.target.seen.clear();
}

/// Pieces of 8 blocks.
scsi::LunFacts facts_of_small_pieces() {
    scsi::LunFacts facts = facts_without_fua();
    facts.limits.max_transfer_blocks = 8;
    return facts;
}

/// The session ends when the second piece has been sent; after it the write comes to its end. Seen is what a
/// new session sends.
void lose_second_piece_of(Bench& bench, Io& written) {
    bench.target.bend = [&](const SeenCommand& command) {
        Bent silent;
        silent.silent = true;
        return command.lba() == 8 && bench.drops == 0 ? std::optional(silent) : std::nullopt;
    };
    bench.lun->start(written);
    bench.run_until([&] { return bench.target.seen.size() == 2; });
    bench.target.die();
    bench.run_until([&] { return bench.drops == 1; });
    bench.target.seen.clear();
    start_session(bench);
    bench.run_until([&] { return written.done; });
}

} // namespace

TEST_CASE("a write that waits for its flush when the session is lost is written again before the flush") {
    Bench bench(facts_without_fua());
    start_session(bench);
    auto written = bench.write(0, 512, 1, true);
    bench.lun->start(*written);
    lose_session_at(bench, synchronize_cache);
    start_session(bench);
    bench.run_until([&] { return written->done; });
    CHECK(written->error_number == 0);
    CHECK(bench.operations() == Operations{write10, synchronize_cache});
}

TEST_CASE("of a long write that has to last every piece is written again after a drop") {
    Bench bench(facts_of_small_pieces());
    start_session(bench);
    auto written = bench.write(0, 16 * 512, 1, true);
    lose_second_piece_of(bench, *written);
    CHECK(written->error_number == 0);
    REQUIRE(bench.operations() == Operations{write10, write10, synchronize_cache});
    CHECK(bench.target.seen[0].lba() == 0);
    CHECK(bench.target.seen[1].lba() == 8);
}

TEST_CASE(
    "a write whose first part may have gone with the cache is written again, also when it need not last",
    "[F-03]") {
    Bench bench(facts_of_small_pieces());
    start_session(bench);
    auto written = bench.write(0, 16 * 512, 1);
    lose_second_piece_of(bench, *written);
    CHECK(written->error_number == 0);
    REQUIRE(bench.operations() == Operations{write10, write10});
    CHECK(bench.target.seen[0].lba() == 0);
    CHECK(bench.target.seen[1].lba() == 8);
}

TEST_CASE("a unit that says that its cache may be gone is written to again by who waits for the flush") {
    Bench bench(facts_without_fua());
    start_session(bench);
    bench.target.bend = [done = false](const SeenCommand& command) mutable {
        Bent reset;
        reset.status = 0x02;
        reset.sense = {0x06, 0x29, 0x04}; // device internal reset
        const bool now = command.operation() == synchronize_cache && !std::exchange(done, true);
        return now ? std::optional(reset) : std::nullopt;
    };
    CHECK(bench.execute(Verb::write_zeroes, 0, 512, true) == 0);
    CHECK(bench.operations() == Operations{write_same16, synchronize_cache, write_same16, synchronize_cache});
}

TEST_CASE("a unit that says so again and again fails the write in the end") {
    Bench bench(facts_of_small_pieces());
    start_session(bench);
    bench.target.bend = [attention = false](const SeenCommand& command) mutable {
        Bent reset;
        reset.status = 0x02;
        reset.sense = {0x06, 0x29, 0x04};
        attention = command.lba() == 8 && !attention;
        return attention ? std::optional(reset) : std::nullopt;
    };
    CHECK(bench.execute(Verb::write, 0, 16 * 512, true) == EIO);
    CHECK(bench.target.seen.size() < 60);
}

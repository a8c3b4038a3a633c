// Reads that lend no memory: what arrives goes to a sink.
#include "bench.hpp"

#include <catch2/catch.hpp>
#include <cerrno>

using namespace iscsi;
using namespace iscsi::test;
using block::Verb;

TEST_CASE("a read without memory is given its data in their places, by each of its commands, also again") {
    scsi::LunFacts facts = Bench::disk_facts();
    facts.limits.max_transfer_blocks = 24;
    Bench bench(facts);
    start_session(bench);
    auto written = bench.write(512, 60 * 512, 5);
    CHECK(bench.finish(*written) == 0);
    auto read = bench.request(Verb::read, 512, 60 * 512);
    read->read_into_sink();
    unsigned reads = 0;
    bench.target.bend = [&reads](const SeenCommand& command) -> std::optional<Bent> {
        // The second command brings half of its data, and is sent again.
        const bool is_short = command.operation() == 0x28 && ++reads == 2;
        return is_short ? std::optional(Bent{.read_bytes = 12 * 512}) : std::nullopt;
    };
    CHECK(bench.finish(*read) == 0);
    CHECK(reads == 4);
    CHECK(read->memory == written->memory);
}

TEST_CASE("a read without memory that brings too little fails in the end") {
    Bench bench;
    start_session(bench);
    auto read = bench.request(Verb::read, 0, 4096);
    read->read_into_sink();
    bench.target.bend = [](const SeenCommand&) { return std::optional(Bent{.read_bytes = 512}); };
    CHECK(bench.finish(*read) == EREMOTEIO);
}

// Block requests to SCSI commands and back, over a real connection.
#include "bench.hpp"

#include <catch2/catch.hpp>
#include <cerrno>

using namespace iscsi;
using namespace iscsi::test;
using block::Verb;
using Operations = std::vector<unsigned>;

namespace {

constexpr std::uint8_t check_condition = 0x02;
constexpr std::uint8_t busy = 0x08;
constexpr std::uint8_t reservation_conflict = 0x18;
constexpr std::uint8_t task_set_full = 0x28;

} // namespace

TEST_CASE("what is written is read back, each with the CDB of its range", "[sbc3-5]") {
    Bench bench;
    start_session(bench);
    auto written = bench.write(4096, 8192, 3);
    CHECK(bench.finish(*written) == 0);
    auto read = bench.request(Verb::read, 4096, 8192);
    CHECK(bench.finish(*read) == 0);
    CHECK(read->memory == written->memory);
    REQUIRE(bench.operations() == Operations{0x2a, 0x28});
    for (const SeenCommand& command : bench.target.seen) {
        CHECK(command.lba() == 8);
        CHECK(command.blocks() == 16);
        CHECK_FALSE(command.fua());
        CHECK(command.lun == Bench::disk_facts().lun);
    }
}

TEST_CASE("a long request is cut into commands that fit the unit") {
    scsi::LunFacts facts = Bench::disk_facts();
    facts.limits.max_transfer_blocks = 24;
    Bench bench(facts);
    start_session(bench);
    auto written = bench.write(512, 60 * 512, 5);
    CHECK(bench.finish(*written) == 0);
    REQUIRE(bench.target.seen.size() == 3);
    CHECK(bench.target.seen[0].blocks() == 24);
    CHECK(bench.target.seen[1].lba() == 25);
    CHECK(bench.target.seen[2].blocks() == 12);
    auto read = bench.request(Verb::read, 512, 60 * 512);
    CHECK(bench.finish(*read) == 0);
    CHECK(read->memory == written->memory);
}

TEST_CASE("more requests than commands wait and end in order") {
    Bench bench(Bench::disk_facts(), 2);
    start_session(bench);
    std::vector<std::unique_ptr<Io>> ios;
    for (unsigned i = 0; i < 20; ++i) {
        ios.push_back(bench.write(std::uint64_t{i} * 512, 512, i));
        bench.lun->start(*ios.back());
    }
    bench.run_until([&] { return bench.lun->idle(); });
    REQUIRE(bench.target.seen.size() == 20);
    for (unsigned i = 0; i < 20; ++i) {
        CHECK(ios[i]->error_number == 0);
        CHECK(bench.target.seen[i].lba() == i);
    }
}

TEST_CASE("a flush is SYNCHRONIZE CACHE, and nothing where there is no cache") {
    Bench bench;
    start_session(bench);
    CHECK(bench.execute(Verb::flush, 0, 0) == 0);
    CHECK(bench.operations() == Operations{0x35});
    scsi::LunFacts facts = Bench::disk_facts();
    facts.write_cache = false;
    bench.lun->update(facts, ring::monotonic_now());
    CHECK(bench.execute(Verb::flush, 0, 0) == 0);
    CHECK(bench.target.seen.size() == 1);
}

TEST_CASE("forced unit access is a bit where the unit knows it, else a flush behind the write") {
    Bench bench;
    start_session(bench);
    CHECK(bench.finish(*bench.write(0, 512, 1, true)) == 0);
    CHECK(bench.operations() == Operations{0x2a});
    CHECK(bench.target.seen[0].fua());

    scsi::LunFacts facts = Bench::disk_facts();
    facts.dpofua = false;
    bench.lun->update(facts, ring::monotonic_now());
    bench.target.seen.clear();
    CHECK(bench.finish(*bench.write(0, 512, 1, true)) == 0);
    CHECK(bench.operations() == Operations{0x2a, 0x35});
    CHECK_FALSE(bench.target.seen[0].fua());
}

TEST_CASE("where users know of no cache, every write is durable when it ends, should the unit have one now") {
    scsi::LunFacts facts = Bench::disk_facts();
    facts.write_cache = false;
    facts.lbpu = facts.provisioned = facts.provisioning_page = true;
    facts.limits.max_unmap_blocks = 100;
    facts.limits.max_unmap_descriptors = 1;
    facts.dpofua = GENERATE(true, false);
    Bench bench(facts);
    start_session(bench);
    CHECK(bench.finish(*bench.write(0, 512, 1)) == 0);
    CHECK(bench.execute(Verb::write_zeroes, 0, 512) == 0);
    CHECK(bench.operations() == Operations{0x2a, 0x93});
    CHECK_FALSE(bench.target.seen[0].fua());

    bench.target.seen.clear();
    facts.write_cache = true;
    bench.lun->update(facts, ring::monotonic_now());
    CHECK(bench.finish(*bench.write(0, 512, 1)) == 0);
    CHECK(bench.operations() == (facts.dpofua ? Operations{0x2a} : Operations{0x2a, 0x35}));
    CHECK(bench.target.seen[0].fua() == facts.dpofua);

    bench.target.seen.clear();
    CHECK(bench.execute(Verb::write_zeroes, 0, 512) == 0);
    CHECK(bench.execute(Verb::read, 0, 512) == 0);
    CHECK(bench.execute(Verb::discard, 0, 512) == 0);
    CHECK(bench.operations() == Operations{0x93, 0x35, 0x28, 0x42});
    CHECK_FALSE(bench.target.seen[2].fua());

    bench.target.seen.clear();
    facts.write_cache = false;
    bench.lun->update(facts, ring::monotonic_now());
    CHECK(bench.finish(*bench.write(0, 512, 1)) == 0);
    CHECK(bench.operations() == Operations{0x2a});
    CHECK_FALSE(bench.target.seen[0].fua());
}

TEST_CASE("a cache that was turned on while a write was on its way is flushed behind it") {
    scsi::LunFacts facts = Bench::disk_facts();
    facts.write_cache = false;
    Bench bench(facts);
    start_session(bench);
    bench.target.bend = [&](const SeenCommand& command) -> std::optional<Bent> {
        facts.write_cache = true;
        if (command.operation() == 0x2a) {
            bench.lun->update(facts, ring::monotonic_now());
        }
        return std::nullopt;
    };
    CHECK(bench.finish(*bench.write(0, 512, 1)) == 0);
    CHECK(bench.operations() == Operations{0x2a, 0x35});
}

TEST_CASE("a restored device's users know what they were told by the daemon before") {
    bool shown = GENERATE(true, false);
    Bench bench;
    bench.lun->set_shown_cache(shown);
    start_session(bench);
    CHECK(bench.finish(*bench.write(0, 512, 1)) == 0);
    REQUIRE(bench.operations() == Operations{0x2a});
    CHECK(bench.target.seen[0].fua() == !shown);
}

TEST_CASE("a discard is what the unit understands", "[sbc3-4.7][SCSI-THIN-03]") {
    scsi::LunFacts facts = Bench::disk_facts();
    facts.provisioned = true;
    facts.provisioning_page = true;
    SECTION("UNMAP, cut by its limit") {
        facts.lbpu = true;
        facts.limits.max_unmap_blocks = 100;
        facts.limits.max_unmap_descriptors = 1;
        Bench bench(facts);
        start_session(bench);
        CHECK(bench.execute(Verb::discard, 512, 150 * 512) == 0);
        REQUIRE(bench.operations() == Operations{0x42, 0x42});
        CHECK(bench.target.seen[0].data.size() == 24);
        CHECK(bench.target.seen[1].data[15] == std::byte{101});
        CHECK(bench.target.seen[1].data[19] == std::byte{50});
    }
    SECTION("WRITE SAME(16) with UNMAP") {
        facts.lbpws = true;
        Bench bench(facts);
        start_session(bench);
        CHECK(bench.execute(Verb::discard, 512, 1024) == 0);
        REQUIRE(bench.operations() == Operations{0x93});
        CHECK(bench.target.seen[0].byte(1) == 0x08);
        CHECK(bench.target.seen[0].blocks() == 2);
    }
    SECTION("WRITE SAME(10) reaches only the first 2^32 blocks") {
        facts.lbpws10 = true;
        facts.blocks = base::BlockCount(std::uint64_t{1} << 33);
        Bench bench(facts);
        start_session(bench);
        std::uint64_t far = (std::uint64_t{1} << 32) * 512;
        CHECK(bench.execute(Verb::discard, 0, 1024) == 0);
        CHECK(bench.execute(Verb::discard, far, 1024) == EOPNOTSUPP);
        CHECK(bench.operations() == Operations{0x41});
    }
    SECTION("nothing") {
        Bench bench;
        start_session(bench);
        CHECK(bench.execute(Verb::discard, 512, 1024) == EOPNOTSUPP);
        CHECK(bench.target.seen.empty());
    }
}

TEST_CASE("zeroes are WRITE SAME, and data once the target refused that", "[SCSI-SENSE-09]") {
    Bench bench;
    start_session(bench);
    std::fill(bench.target.disk.begin(), bench.target.disk.end(), std::byte{0xaa});
    CHECK(bench.execute(Verb::write_zeroes, 512, 1024) == 0);
    CHECK(bench.operations() == Operations{0x93});
    CHECK(bench.target.seen[0].byte(1) == 0);

    bench.target.seen.clear();
    bench.target.bend = [](const SeenCommand& command) -> std::optional<Bent> {
        Bent refused;
        refused.status = check_condition;
        refused.sense = {5, 0x20, 0};
        return command.operation() == 0x93 ? std::optional(refused) : std::nullopt;
    };
    // Two at once: the second was on its way when the first was refused.
    auto first = bench.request(Verb::write_zeroes, 2048, 300 * 1024);
    auto second = bench.request(Verb::write_zeroes, 1 << 20, 1024);
    bench.lun->start(*first);
    bench.lun->start(*second);
    bench.run_until([&] { return bench.lun->idle(); });
    CHECK(first->error_number == 0);
    CHECK(second->error_number == 0);
    CHECK(bench.operations() == Operations{0x93, 0x93, 0x2a, 0x2a, 0x2a});
    auto zero = [&](std::size_t at) { return bench.target.disk[at] == std::byte{0}; };
    CHECK(zero(512));
    CHECK(zero(2048));
    CHECK(zero(2048 + 300 * 1024 - 1));
    CHECK(zero((1 << 20) + 1023));
    CHECK_FALSE(zero((1 << 20) + 1024));
    CHECK(bench.execute(Verb::write_zeroes, 0, 512) == 0);
    CHECK(bench.operations().back() == 0x2a);
}

TEST_CASE("unit attentions are news, not errors", "[sam5-5.14][SCSI-UA-01]") {
    Bench bench;
    start_session(bench);
    bend_first(bench, 3, {check_condition, {6, 0x29, 0}, {}});
    CHECK(bench.execute(Verb::read, 0, 512) == 0);
    CHECK(bench.target.seen.size() == 4);
    bench.turn();
    CHECK(bench.effects == 3);
}

TEST_CASE("a target that has nothing but unit attentions fails the request in the end", "[SCSI-UA-01]") {
    Bench bench;
    start_session(bench);
    bend_first(bench, 1000, {check_condition, {6, 0x29, 0}, {}});
    CHECK(bench.execute(Verb::read, 0, 512) == EIO);
    CHECK(bench.target.seen.size() == 11);
}

TEST_CASE("each command of a long request has retries and attentions of its own") {
    struct Case {
        std::array<std::uint8_t, 3> sense;
        int most;
    };
    auto one = GENERATE(values<Case>({{{6, 0x29, 2}, 10}, {{0xb, 0x47, 3}, 5}}));
    auto verb = GENERATE(Verb::write, Verb::write_zeroes);
    scsi::LunFacts facts = Bench::disk_facts();
    facts.limits.max_transfer_blocks = 8;
    facts.limits.max_write_same_blocks = 8;
    facts.dpofua = false;
    Bench bench(facts);
    start_session(bench);
    int left = one.most;
    bench.target.bend = [&](const SeenCommand&) -> std::optional<Bent> {
        if (left-- > 0) {
            return Bent{check_condition, one.sense, {}};
        }
        left = one.most;
        return std::nullopt;
    };
    // Three pieces, and the flush behind them.
    CHECK(bench.execute(verb, 0, 24 * 512, true) == 0);
    CHECK(bench.target.seen.size() == 4 * (static_cast<unsigned>(one.most) + 1));
    CHECK(bench.operations().back() == 0x35);
}

TEST_CASE("a busy target is asked again later", "[sam5-5.3.1][SCSI-STATUS-01][SCSI-STATUS-02][F-11]") {
    std::uint8_t status = GENERATE(busy, task_set_full);
    Bench bench;
    start_session(bench);
    bend_first(bench, 2, {status, {}, {}});
    base::TimePoint begin = ring::monotonic_now();
    CHECK(bench.execute(Verb::read, 0, 512) == 0);
    CHECK(ring::monotonic_now() - begin >= std::chrono::milliseconds(20));
    CHECK(bench.target.seen.size() == 3);
}

TEST_CASE("errors become the errno that multipath acts on",
          "[SCSI-SENSE-04][SCSI-SENSE-05][SCSI-SENSE-06][SCSI-STATUS-03][SCSI-THIN-01][SCSI-ALUA-02]") {
    struct Case {
        Bent bent;
        int error_number;
        std::size_t commands;
    };
    auto one = GENERATE(values<Case>({
        {{check_condition, {3, 0x11, 0}, {}}, ENODATA, 1},
        {{check_condition, {4, 0x44, 0}, {}}, EREMOTEIO, 1},
        {{check_condition, {7, 0x27, 7}, {}}, ENOSPC, 1},
        {{check_condition, {5, 0x25, 0}, {}}, ENODEV, 1},
        {{reservation_conflict, {}, {}}, EBADE, 1},
        {{check_condition, {2, 0x04, 0x0b}, {}}, ENOLINK, 1},
        {{check_condition, {2, 0x04, 0x0c}, {}}, ENOLINK, 1},
        {{check_condition, {7, 0x27, 0}, {}}, EREMOTEIO, 1},
        {{check_condition, {0xb, 0x47, 3}, {}}, EIO, 6},
    }));
    Bench bench;
    start_session(bench);
    bend_first(bench, 1000, one.bent);
    CHECK(bench.execute(Verb::read, 0, 512) == one.error_number);
    CHECK(bench.target.seen.size() == one.commands);
    bench.target.bend = {};
    CHECK(bench.execute(Verb::read, 0, 512) == 0);
}

TEST_CASE("what does not fit the unit is refused without a command") {
    Bench bench;
    start_session(bench);
    CHECK(bench.execute(Verb::read, Bench::disk_bytes, 512) == EINVAL);
    CHECK(bench.execute(Verb::read, Bench::disk_bytes - 512, 1024) == EINVAL);
    CHECK(bench.execute(Verb::read, UINT64_MAX - 511, 1024) == EINVAL);
    CHECK(bench.execute(Verb::read, 1, 512) == EINVAL);
    CHECK(bench.execute(Verb::read, 0, 100) == EINVAL);
    CHECK(bench.execute(Verb::read, 0, 0) == EINVAL);
    scsi::LunFacts facts = Bench::disk_facts();
    facts.read_only = true;
    bench.lun->update(facts, ring::monotonic_now());
    CHECK(bench.finish(*bench.write(0, 512, 1)) == EPERM);
    CHECK(bench.target.seen.empty());
}

TEST_CASE("a unit that shrank gets nothing beyond its new end, whenever the request came", "[SCSI-UA-02]") {
    Bench bench;
    start_session(bench);
    bench.target.die();
    bench.run_until([&] { return bench.drops == 1; });
    auto beyond = bench.write(Bench::disk_bytes - 512, 512, 1);
    auto inside = bench.write(0, 512, 2);
    bench.lun->start(*beyond);
    bench.lun->start(*inside);
    bench.open();
    scsi::LunFacts facts = Bench::disk_facts();
    facts.blocks = base::BlockCount(facts.blocks.value() - 1);
    bench.lun->update(facts, ring::monotonic_now());
    bench.nexus->resume();
    bench.run_until([&] { return bench.lun->idle(); });
    CHECK(beyond->error_number == EINVAL);
    CHECK(inside->error_number == 0);
    CHECK(bench.target.seen.size() == 1);
}

TEST_CASE("nothing is sent to a barred unit until it is the right one again") {
    Bench bench;
    start_session(bench);
    bench.lun->bar();
    CHECK(bench.execute(Verb::read, 0, 512) == ENODEV);
    CHECK(bench.target.seen.empty());
    bench.lun->update(Bench::disk_facts(), ring::monotonic_now());
    CHECK(bench.execute(Verb::read, 0, 512) == 0);
}

TEST_CASE("the error of an acknowledged write is told by the next flush", "[spc4-4.5.5][SCSI-SENSE-07]") {
    Bench bench;
    start_session(bench);
    Bent earlier{check_condition, {3, 0x11, 0}, {}};
    earlier.deferred = true;
    bend_first(bench, 1, earlier);
    CHECK(bench.execute(Verb::read, 0, 512) == 0);
    CHECK(bench.target.seen.size() == 2);
    CHECK(bench.execute(Verb::flush, 0, 0) == ENODATA);
    CHECK(bench.execute(Verb::flush, 0, 0) == 0);
}

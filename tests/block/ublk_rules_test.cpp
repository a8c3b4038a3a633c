#include "block/ublk_probe.hpp"
#include "block/ublk_rules.hpp"

#include <catch2/catch.hpp>
#include <cerrno>

using namespace iscsi;
using block::Attributes;
using block::Request;
using block::Verb;
namespace ublk = block::ublk;

namespace {

Attributes disk() {
    Attributes attributes;
    attributes.size_bytes = std::uint64_t{8} << 30;
    attributes.max_request_bytes = 32U << 20;
    return attributes;
}

} // namespace

TEST_CASE("the driver's numbers are those of its header", "[ublk]") {
    // What the macros of include/uapi/linux/ublk_cmd.h come to.
    CHECK(ublk::get_dev_info == 0x80207502);
    CHECK(ublk::add_dev == 0xc0207504);
    CHECK(ublk::start_dev == 0xc0207506);
    CHECK(ublk::get_features == 0x80207513);
    CHECK(ublk::del_dev_async == 0x80207514);
    CHECK(ublk::fetch_req == 0xc0107520);
    CHECK(ublk::commit_and_fetch_req == 0xc0107521);
    CHECK(ublk::data_offset(0) == 0x80000000);
    CHECK(ublk::data_offset(33) == 0x80000000 + (std::uint64_t{33} << 25));
}

TEST_CASE("a plain disk is described with its size and sectors of 512 bytes", "[ublk]") {
    const ublk::Parameters told = ublk::parameters(disk());
    CHECK(told.types == ublk::has_basic);
    CHECK(told.basic.attributes == 0);
    CHECK(told.basic.sectors == std::uint64_t{8} << 21);
    CHECK(told.basic.logical_block_shift == 9);
    CHECK(told.basic.physical_block_shift == 9);
    CHECK(told.basic.max_sectors == 2048);
    CHECK(told.basic.chunk_sectors == 0);
    CHECK(told.basic.virtual_boundary_mask == 0);
}

TEST_CASE("attributes become the driver's bits, force unit access only beside a volatile cache", "[ublk]") {
    struct Row {
        bool read_only, rotational, cache, fua;
        std::uint32_t bits;
    };
    const Row row = GENERATE(Row{true, false, false, false, 1}, Row{false, true, false, false, 2},
                             Row{false, false, true, false, 4}, Row{false, false, true, true, 12},
                             Row{false, false, false, true, 0}, Row{true, true, true, true, 15});
    Attributes attributes = disk();
    attributes.read_only = row.read_only;
    attributes.rotational = row.rotational;
    attributes.volatile_cache = row.cache;
    attributes.fua = row.fua;
    CHECK(ublk::parameters(attributes).basic.attributes == row.bits);
}

TEST_CASE("block sizes and the optimal size become shifts; what is no power of two is left out", "[ublk]") {
    struct Row {
        std::uint32_t logical, physical, optimal;
        unsigned logical_shift, physical_shift, optimal_shift;
    };
    const Row row = GENERATE(Row{512, 4096, 0, 9, 12, 12}, Row{4096, 4096, 1U << 20, 12, 12, 20},
                             Row{4096, 512, 0, 12, 12, 12}, Row{512, 512, 192U << 10, 9, 9, 9},
                             Row{512, 4096, 512, 9, 12, 12}, Row{512, 0, 65536, 9, 9, 16});
    Attributes attributes = disk();
    attributes.logical_block_bytes = row.logical;
    attributes.physical_block_bytes = row.physical;
    attributes.optimal_io_bytes = row.optimal;
    const ublk::BasicParameters told = ublk::parameters(attributes).basic;
    CHECK(told.logical_block_shift == row.logical_shift);
    CHECK(told.physical_block_shift == row.physical_shift);
    CHECK(told.io_min_shift == row.physical_shift);
    CHECK(told.io_opt_shift == row.optimal_shift);
}

TEST_CASE("the longest request is the disk's or ours, and never less than the driver takes", "[ublk]") {
    struct Row {
        std::uint32_t max_request, block, sectors;
    };
    const Row row = GENERATE(Row{0, 512, 2048}, Row{65536, 512, 128}, Row{32U << 20, 512, 2048},
                             Row{512, 512, 8}, Row{65536 + 512, 4096, 128});
    Attributes attributes = disk();
    attributes.max_request_bytes = row.max_request;
    attributes.logical_block_bytes = row.block;
    CHECK(ublk::parameters(attributes).basic.max_sectors == row.sectors);
}

TEST_CASE("discard and zeroes are offered each for itself, in whole blocks and 32 bits", "[ublk]") {
    Attributes attributes = disk();
    attributes.logical_block_bytes = 4096;
    attributes.max_discard_bytes = (1U << 20) + 512;
    ublk::Parameters told = ublk::parameters(attributes);
    CHECK(told.types == (ublk::has_basic | ublk::has_discard));
    CHECK(told.discard.max_discard_sectors == 2048);
    CHECK(told.discard.max_discard_segments == 1);
    CHECK(told.discard.granularity_bytes == 4096);
    CHECK(told.discard.max_write_zeroes_sectors == 0);

    attributes.max_discard_bytes = 0;
    attributes.max_write_zeroes_bytes = std::uint64_t{1} << 40;
    attributes.discard_granularity_bytes = 1U << 20;
    told = ublk::parameters(attributes);
    CHECK(told.types == (ublk::has_basic | ublk::has_discard));
    CHECK(told.discard.max_discard_sectors == 0);
    CHECK(told.discard.max_write_zeroes_sectors == (0xffffffffU - 4095) / 512);
    CHECK(told.discard.granularity_bytes == 1U << 20);
}

TEST_CASE("a descriptor becomes a request in bytes, with the flags that its verb has", "[ublk]") {
    struct Row {
        std::uint32_t operation, sectors;
        Verb verb;
        bool fua, may_unmap;
        std::uint64_t offset, length;
    };
    const std::uint32_t fua = 1U << 13;
    const std::uint32_t no_unmap = 1U << 15;
    const std::uint32_t failfast_and_meta = 0xf00;
    const Row row = GENERATE_COPY(Row{0, 8, Verb::read, false, true, 5120, 4096},
                                  Row{0 | fua, 8, Verb::read, false, true, 5120, 4096},
                                  Row{1, 2048, Verb::write, false, true, 5120, 1 << 20},
                                  Row{1 | fua | failfast_and_meta, 1, Verb::write, true, true, 5120, 512},
                                  Row{2, 0, Verb::flush, false, true, 0, 0},
                                  Row{3, 0x800000, Verb::discard, false, true, 5120, std::uint64_t{4} << 30},
                                  Row{5, 16, Verb::write_zeroes, false, true, 5120, 8192},
                                  Row{5 | fua | no_unmap, 16, Verb::write_zeroes, true, false, 5120, 8192});
    Request request;
    request.fua = true;
    request.may_unmap = false;
    REQUIRE(ublk::describe({row.operation, row.sectors, 10, 0}, request));
    CHECK(request.verb == row.verb);
    CHECK(request.fua == row.fua);
    CHECK(request.may_unmap == row.may_unmap);
    CHECK(request.offset_bytes == row.offset);
    CHECK(request.length_bytes == row.length);
}

TEST_CASE("what we do not do, and data longer than we asked for, is no request", "[ublk]") {
    Request request;
    for (std::uint32_t operation : {4U, 6U, 10U, 11U, 15U, 18U, 255U}) {
        CHECK_FALSE(ublk::describe({operation, 8, 0, 0}, request));
    }
    for (std::uint32_t operation : {0U, 1U}) {
        CHECK_FALSE(ublk::describe({operation, 2049, 0, 0}, request));
        CHECK_FALSE(ublk::describe({operation, 0, 0, 0}, request));
    }
}

TEST_CASE("a request ends with its bytes, with nothing, or with its errno as it is", "[ublk]") {
    Request request;
    request.length_bytes = 8192;
    for (Verb verb : {Verb::read, Verb::write}) {
        request.verb = verb;
        CHECK(ublk::commit_result(request, 0) == 8192);
    }
    for (Verb verb : {Verb::flush, Verb::discard, Verb::write_zeroes}) {
        request.verb = verb;
        CHECK(ublk::commit_result(request, 0) == 0);
    }
    for (int error : {EIO, ENOSPC, EBADE, ENOLINK, ENODATA, EREMOTEIO, EOPNOTSUPP, EILSEQ, ENODEV}) {
        CHECK(ublk::commit_result(request, error) == -error);
    }
}

TEST_CASE("a kernel that lacks what recovery needs is judged by name", "[ublk]") {
    auto words = block::judge_ublk_features(0x1fe); // Linux 6.12
    REQUIRE(words);
    CHECK(*words == "USER_COPY, recovery, no online resize (features 0x1fe)");
    words = block::judge_ublk_features(0xfffff); // Linux 7.2
    REQUIRE(words);
    CHECK(*words == "USER_COPY, recovery, online resize (features 0xfffff)");
    words = block::judge_ublk_features(0x1f);
    REQUIRE_FALSE(words);
    CHECK(words.error().code == base::Errc::not_supported);
    CHECK(words.error().detail == "ublk has no USER_COPY (features 0x1f)");
    CHECK_FALSE(block::judge_ublk_features(0x1ee));
}

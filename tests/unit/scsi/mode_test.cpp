#include "scsi/mode.hpp"

#include "unit/scsi/parameter_bytes.hpp"

#include <catch2/catch.hpp>

using namespace iscsi::scsi;
using iscsi::base::Bytes;
using iscsi::test::ByteVector;
using iscsi::test::hex;
using iscsi::test::join;

namespace {

const ByteVector caching = hex("88 12 04 00 ff ff 00 00 ff ff ff ff 80 14 00 00 00 00 00 00");
const ByteVector control = hex("0a 0a 06 10 08 40 00 00 00 00 00 00");
const ByteVector subpage = hex("4a 01 00 04 ff ff ff ff");
const ByteVector block_descriptor = hex("00 10 00 00 00 00 02 00");

const ByteVector sense6 = join({hex("31 00 90 08"), block_descriptor, subpage, caching, control});
const ByteVector sense10 =
    join({hex("00 36 00 10 00 00 00 08"), block_descriptor, subpage, caching, control});

} // namespace

TEST_CASE("MODE SENSE(6) with block descriptor and pages", "[spc-4-7.5]") {
    auto adjusted = sense6;
    adjusted[0] = static_cast<std::byte>(sense6.size() - 1);
    auto mode = read_mode_sense6(adjusted);
    REQUIRE(mode);
    CHECK(mode->write_protected);
    CHECK(mode->dpofua);
    REQUIRE(mode->block_descriptor);
    CHECK(mode->block_descriptor->blocks == 0x100000);
    CHECK(mode->block_descriptor->block_bytes == 512);
    REQUIRE(mode->caching);
    CHECK(mode->caching->write_cache);
    CHECK_FALSE(mode->caching->read_cache_disabled);
    REQUIRE(mode->control);
    CHECK(mode->control->software_write_protect);
    CHECK(mode->control->descriptor_sense);
    CHECK(mode->control->task_aborted_status);
}

TEST_CASE("MODE SENSE(10) with block descriptor and pages", "[spc-4-7.5]") {
    auto mode = read_mode_sense10(sense10);
    REQUIRE(mode);
    CHECK_FALSE(mode->write_protected);
    CHECK(mode->dpofua);
    REQUIRE(mode->block_descriptor);
    CHECK(mode->block_descriptor->blocks == 0x100000);
    REQUIRE(mode->caching);
    CHECK(mode->caching->write_cache);
    REQUIRE(mode->control);
}

TEST_CASE("long block descriptors have sixteen bytes", "[sbc-3-6.5.2.3]") {
    auto mode = read_mode_sense10(join(
        {hex("00 2a 00 00 01 00 00 10"), hex("00 00 00 02 00 00 00 00 00 00 00 00 00 00 10 00"), caching}));
    REQUIRE(mode);
    REQUIRE(mode->block_descriptor);
    CHECK(mode->block_descriptor->blocks == 0x200000000);
    CHECK(mode->block_descriptor->block_bytes == 4096);
    CHECK(mode->caching);
}

TEST_CASE("a header alone is enough, and less is not", "[spc-4-7.5]") {
    auto mode = read_mode_sense6(hex("03 00 80 00"));
    REQUIRE(mode);
    CHECK(mode->write_protected);
    CHECK_FALSE(mode->dpofua);
    CHECK_FALSE(mode->block_descriptor);
    CHECK_FALSE(mode->caching);
    CHECK_FALSE(read_mode_sense6(hex("03 00 80")));
    CHECK(read_mode_sense10(hex("00 06 00 80 00 00 00 00"))->write_protected);
    CHECK_FALSE(read_mode_sense10(hex("00 06 00 80 00 00 00")));
}

TEST_CASE("a subpage is not taken for the page of the same code", "[spc-4-7.5]") {
    auto mode = read_mode_sense10(join({hex("00 0e 00 00 00 00 00 00"), subpage}));
    REQUIRE(mode);
    CHECK_FALSE(mode->control);
}

TEST_CASE("pages behind the told length, or cut off, are left out", "[spc-4-7.5]") {
    ByteVector told_short = sense10;
    told_short[1] = std::byte{6 + 8 + 8};
    auto mode = read_mode_sense10(told_short);
    REQUIRE(mode);
    CHECK(mode->block_descriptor);
    CHECK_FALSE(mode->caching);
    mode = read_mode_sense10(Bytes(sense10).first(sense10.size() - 1));
    REQUIRE(mode);
    CHECK(mode->caching);
    CHECK_FALSE(mode->control);
}

TEST_CASE("block descriptors longer than the answer hide the pages, not the header", "[spc-4-7.5]") {
    ByteVector data = sense10;
    data[6] = std::byte{0xff};
    auto mode = read_mode_sense10(data);
    REQUIRE(mode);
    CHECK(mode->dpofua);
    CHECK_FALSE(mode->caching);
}

TEST_CASE("mode data may be damaged anywhere", "[spc-4-7.5]") {
    iscsi::test::parse_damaged(
        sense6, [](Bytes data) { REQUIRE(read_mode_sense6(data).has_value() == (data.size() >= 4)); });
    iscsi::test::parse_damaged(
        sense10, [](Bytes data) { REQUIRE(read_mode_sense10(data).has_value() == (data.size() >= 8)); });
}

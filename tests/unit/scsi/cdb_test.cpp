#include "scsi/cdb.hpp"

#include "unit/scsi/parameter_bytes.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace iscsi::scsi;
using iscsi::base::BlockCount;
using iscsi::base::Lba;
using iscsi::test::ByteVector;
using iscsi::test::hex;

namespace {

ByteVector bytes_of(const Cdb& cdb) {
    return {cdb.bytes.begin(), cdb.bytes.begin() + cdb.length};
}

bool rest_is_zero(const Cdb& cdb) {
    return std::all_of(cdb.bytes.begin() + cdb.length, cdb.bytes.end(),
                       [](std::byte b) { return b == std::byte{0}; });
}

} // namespace

TEST_CASE("commands are laid out as their standards draw them", "[spc-4-6][sbc-3-5]") {
    struct Row {
        Cdb cdb;
        const char* bytes;
        const char* name;
    };
    const Lba lba(0x01020304);
    const Lba far(0x0102030405060708);
    const std::vector<Row> rows{
        {test_unit_ready(), "00 00 00 00 00 00", "TEST UNIT READY"},
        {request_sense(252), "03 00 00 00 fc 00", "REQUEST SENSE"},
        {request_sense(18, true), "03 01 00 00 12 00", "REQUEST SENSE"},
        {inquiry(0x1234), "12 00 00 12 34 00", "INQUIRY"},
        {inquiry_vpd(0x83, 0x00ff), "12 01 83 00 ff 00", "INQUIRY"},
        {mode_sense6(ModePage::caching, 192), "1a 00 08 00 c0 00", "MODE SENSE(6)"},
        {mode_sense10(ModePage::all, 0x1234), "5a 00 3f 00 00 00 00 12 34 00", "MODE SENSE(10)"},
        {start_stop_unit(true), "1b 00 00 00 01 00", "START STOP UNIT"},
        {start_stop_unit(false), "1b 00 00 00 00 00", "START STOP UNIT"},
        {report_luns(LunReport::addressable, 0x4008), "a0 00 00 00 00 00 00 00 40 08 00 00", "REPORT LUNS"},
        {report_luns(LunReport::all, 16), "a0 00 02 00 00 00 00 00 00 10 00 00", "REPORT LUNS"},
        {report_target_port_groups(0x1000, false), "a3 0a 00 00 00 00 00 00 10 00 00 00",
         "REPORT TARGET PORT GROUPS"},
        {report_target_port_groups(0x1000, true), "a3 2a 00 00 00 00 00 00 10 00 00 00",
         "REPORT TARGET PORT GROUPS"},
        {read_capacity10(), "25 00 00 00 00 00 00 00 00 00", "READ CAPACITY(10)"},
        {read_capacity16(32), "9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00", "READ CAPACITY(16)"},
        {read10(lba, BlockCount(8), false), "28 00 01 02 03 04 00 00 08 00", "READ(10)"},
        {read10(lba, BlockCount(8), true), "28 08 01 02 03 04 00 00 08 00", "READ(10)"},
        {write10(lba, BlockCount(0xffff), true), "2a 08 01 02 03 04 00 ff ff 00", "WRITE(10)"},
        {read16(far, BlockCount(0x0a0b0c0d), false), "88 00 01 02 03 04 05 06 07 08 0a 0b 0c 0d 00 00",
         "READ(16)"},
        {write16(far, BlockCount(1), true), "8a 08 01 02 03 04 05 06 07 08 00 00 00 01 00 00", "WRITE(16)"},
        {synchronize_cache10(), "35 00 00 00 00 00 00 00 00 00", "SYNCHRONIZE CACHE(10)"},
        {synchronize_cache16(), "91 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00", "SYNCHRONIZE CACHE(16)"},
        {unmap(24), "42 00 00 00 00 00 00 00 18 00", "UNMAP"},
        {write_same10(lba, BlockCount(2), {.unmap = true}), "41 08 01 02 03 04 00 00 02 00",
         "WRITE SAME(10)"},
        {write_same16(far, BlockCount(2), {}), "93 00 01 02 03 04 05 06 07 08 00 00 00 02 00 00",
         "WRITE SAME(16)"},
        {write_same16(far, BlockCount(2), {.unmap = true, .ndob = true}),
         "93 09 01 02 03 04 05 06 07 08 00 00 00 02 00 00", "WRITE SAME(16)"},
    };
    for (const Row& row : rows) {
        INFO(row.bytes);
        CHECK(bytes_of(row.cdb) == hex(row.bytes));
        CHECK(rest_is_zero(row.cdb));
        CHECK(std::string(command_name(row.cdb.bytes)) == row.name);
    }
}

TEST_CASE("a command that nobody here sends has a name all the same", "[logs]") {
    CHECK(std::string(command_name({})) == "SCSI command");
    CHECK(std::string(command_name(hex("ff"))) == "SCSI command");
}

TEST_CASE("reads and writes take ten bytes as long as the range fits them", "[sbc-3-5.10]") {
    struct Row {
        std::uint64_t lba;
        std::uint64_t blocks;
        std::uint8_t length;
    };
    constexpr std::array rows{
        Row{0, 1, 10},           Row{0xffffffff, 1, 10}, Row{0xffffffff, 0xffff, 10},
        Row{0x100000000, 1, 16}, Row{0, 0x10000, 16},    Row{UINT64_MAX, UINT32_MAX, 16}};
    for (const Row& row : rows) {
        Lba lba(row.lba);
        BlockCount blocks(row.blocks);
        INFO(row.lba << " " << row.blocks);
        CHECK(read_blocks(lba, blocks, true).length == row.length);
        CHECK(write_blocks(lba, blocks, true).length == row.length);
        CHECK(read_blocks(lba, blocks, true) ==
              (row.length == 10 ? read10(lba, blocks, true) : read16(lba, blocks, true)));
        CHECK(write_blocks(lba, blocks, false) ==
              (row.length == 10 ? write10(lba, blocks, false) : write16(lba, blocks, false)));
    }
}

TEST_CASE("an UNMAP parameter list tells its lengths and ranges", "[sbc-3-5.28]") {
    const std::array ranges{BlockRange{Lba(0x1122334455667788), BlockCount(0x99aabbcc)},
                            BlockRange{Lba(1), BlockCount(2)}};
    ByteVector buffer(unmap_parameter_bytes(ranges.size()) + 5, std::byte{0xee});
    auto list = unmap_parameter_list(ranges, buffer);
    CHECK(ByteVector(list.begin(), list.end()) == hex("00 26 00 20 00 00 00 00"
                                                      "11 22 33 44 55 66 77 88 99 aa bb cc 00 00 00 00"
                                                      "00 00 00 00 00 00 00 01 00 00 00 02 00 00 00 00"));
    CHECK(list.data() == buffer.data());
    CHECK(buffer[list.size()] == std::byte{0xee});
}

TEST_CASE("the longest UNMAP parameter list fits its 16-bit length", "[sbc-3-5.28]") {
    std::vector<BlockRange> ranges(unmap_ranges_max);
    ByteVector buffer(unmap_parameter_bytes(ranges.size()));
    CHECK(buffer.size() <= 0xffff);
    CHECK(buffer.size() + 16 > 0xffff);
    auto list = unmap_parameter_list(ranges, buffer);
    CHECK(ByteVector(list.begin(), list.begin() + 4) == hex("ff f6 ff f0"));
}

#include "scsi/capacity.hpp"

#include "base/limits.hpp"
#include "unit/scsi/parameter_bytes.hpp"

#include <bit>
#include <catch2/catch.hpp>
#include <random>

using namespace iscsi::scsi;
using iscsi::base::Bytes;
using iscsi::base::Lun;
using iscsi::test::ByteVector;
using iscsi::test::hex;
using iscsi::test::parse_damaged;

namespace {

const ByteVector capacity16 = hex("00 00 00 01 ff ff ff ff 00 00 02 00 03 03 c0 02 00 00 00 00 00 00 00 00"
                                  "00 00 00 00 00 00 00 00");

ByteVector lun_list(std::initializer_list<std::uint64_t> luns, int told_bytes = -1) {
    ByteVector data(8);
    std::size_t bytes = told_bytes >= 0 ? static_cast<std::size_t>(told_bytes) : luns.size() * 8;
    for (int i = 0; i < 4; ++i) {
        data[static_cast<std::size_t>(3 - i)] = static_cast<std::byte>(bytes >> (8 * i));
    }
    for (std::uint64_t lun : luns) {
        for (int shift = 56; shift >= 0; shift -= 8) {
            data.push_back(static_cast<std::byte>(lun >> shift));
        }
    }
    return data;
}

bool sane(const Capacity& capacity) {
    return std::has_single_bit(capacity.block_bytes) && capacity.block_bytes >= 512 &&
           capacity.block_bytes <= 65536 && std::has_single_bit(capacity.physical_block_bytes) &&
           capacity.physical_block_bytes >= capacity.block_bytes && capacity.physical_block_bytes <= 65536 &&
           capacity.lowest_aligned_lba < capacity.physical_block_bytes / capacity.block_bytes &&
           capacity.blocks.value() <= static_cast<std::uint64_t>(INT64_MAX) / capacity.block_bytes;
}

} // namespace

TEST_CASE("READ CAPACITY(10)", "[sbc-3-5.15]") {
    auto capacity = read_capacity10_data(hex("00 1f ff ff 00 00 02 00"));
    REQUIRE(capacity);
    CHECK(capacity->blocks.value() == 0x200000);
    CHECK(capacity->block_bytes == 512);
    CHECK(capacity->physical_block_bytes == 512);
    CHECK_FALSE(capacity->needs_read_capacity16);
    CHECK_FALSE(capacity->provisioned);
}

TEST_CASE("READ CAPACITY(10) tells when the size does not fit it", "[sbc-3-5.15]") {
    CHECK(read_capacity10_data(hex("ff ff ff ff 00 00 02 00"))->needs_read_capacity16);
    CHECK_FALSE(read_capacity10_data(hex("ff ff ff fe 00 00 02 00"))->needs_read_capacity16);
}

TEST_CASE("READ CAPACITY(16)", "[sbc-3-5.16]") {
    auto capacity = read_capacity16_data(capacity16);
    REQUIRE(capacity);
    CHECK(capacity->blocks.value() == 0x200000000);
    CHECK(capacity->block_bytes == 512);
    CHECK(capacity->physical_block_bytes == 4096);
    CHECK(capacity->lowest_aligned_lba == 2);
    CHECK(capacity->protection_type == 2);
    CHECK(capacity->provisioned);
    CHECK(capacity->reads_zeroes);
}

TEST_CASE("READ CAPACITY(16) cut behind the block size has no flags", "[sbc-3-5.16]") {
    CHECK_FALSE(read_capacity16_data(Bytes(capacity16).first(11)));
    auto capacity = read_capacity16_data(Bytes(capacity16).first(12));
    REQUIRE(capacity);
    CHECK(capacity->blocks.value() == 0x200000000);
    CHECK(capacity->physical_block_bytes == 512);
    CHECK_FALSE(capacity->provisioned);
}

TEST_CASE("only block sizes from 512 to 65536 that are powers of two are served", "[sbc-3-4.5]") {
    for (const char* good : {"00 00 02 00", "00 00 10 00", "00 01 00 00"}) {
        CHECK(read_capacity10_data(hex(std::string("00 00 00 07 ") + good)));
    }
    for (const char* bad : {"00 00 00 00", "00 00 01 00", "00 00 02 08", "00 00 02 01", "00 02 00 00",
                            "80 00 00 00", "ff ff ff ff"}) {
        INFO(bad);
        CHECK_FALSE(read_capacity10_data(hex(std::string("00 00 00 07 ") + bad)));
        CHECK_FALSE(read_capacity16_data(hex(std::string("00 00 00 00 00 00 00 07 ") + bad)));
    }
}

TEST_CASE("sizes that overflow a signed count of bytes are not believed", "[sbc-3-5.16]") {
    CHECK(read_capacity16_data(hex("00 3f ff ff ff ff ff fe 00 00 02 00")).has_value());
    CHECK_FALSE(read_capacity16_data(hex("00 3f ff ff ff ff ff ff 00 00 02 00")));
    CHECK_FALSE(read_capacity16_data(hex("ff ff ff ff ff ff ff ff 00 00 02 00")));
    CHECK_FALSE(read_capacity16_data(hex("7f ff ff ff ff ff ff ff 00 01 00 00")));
}

TEST_CASE("a physical block beyond belief is ignored", "[sbc-3-5.16]") {
    ByteVector data = capacity16;
    data[13] = std::byte{0x0f};
    auto capacity = read_capacity16_data(data);
    REQUIRE(capacity);
    CHECK(capacity->physical_block_bytes == 512);
    CHECK(capacity->lowest_aligned_lba == 0);
}

TEST_CASE("protection information counts only when it is switched on", "[sbc-3-5.16]") {
    ByteVector data = capacity16;
    data[12] = std::byte{0x02};
    CHECK(read_capacity16_data(data)->protection_type == 0);
    data[12] = std::byte{0x01};
    CHECK(read_capacity16_data(data)->protection_type == 1);
    data[12] = std::byte{0x0f};
    CHECK(read_capacity16_data(data)->protection_type == 3);
}

TEST_CASE("REPORT LUNS gives the units in order, each once", "[spc-4-6.33][SCSI-LUN-01]") {
    auto list =
        read_report_luns(lun_list({0, 0x0001000000000000, 0x4100000000000000, 0, 0xc101000000000000}));
    REQUIRE(list);
    CHECK(list->complete);
    CHECK(list->needed_bytes == 48);
    CHECK(list->luns ==
          std::vector{Lun(0), Lun(0x0001000000000000), Lun(0x4100000000000000), Lun(0xc101000000000000)});
}

TEST_CASE("a LUN list that goes on behind the buffer says how much it needs", "[spc-4-6.33][SCSI-LUN-04]") {
    auto list = read_report_luns(lun_list({0, 1, 2}, 80));
    REQUIRE(list);
    CHECK_FALSE(list->complete);
    CHECK(list->needed_bytes == 88);
    CHECK(list->luns.size() == 3);
    ByteVector half = lun_list({0, 1, 2});
    half.resize(8 + 8 + 5);
    list = read_report_luns(half);
    REQUIRE(list);
    CHECK_FALSE(list->complete);
    CHECK(list->luns.size() == 1);
}

TEST_CASE("units behind the told length do not count", "[spc-4-6.33]") {
    auto list = read_report_luns(lun_list({5, 6, 7}, 8));
    REQUIRE(list);
    CHECK(list->complete);
    CHECK(list->luns == std::vector{Lun(5)});
    CHECK(read_report_luns(lun_list({}))->luns.empty());
}

TEST_CASE("LUN lists of broken or boundless length are refused", "[spc-4-6.33][SCSI-LUN-04]") {
    CHECK_FALSE(read_report_luns({}));
    CHECK_FALSE(read_report_luns(hex("00 00 00 00 00 00 00")));
    CHECK_FALSE(read_report_luns(lun_list({0}, 7)));
    CHECK_FALSE(read_report_luns(hex("ff ff ff f8 00 00 00 00")));
    constexpr int most = static_cast<int>(iscsi::base::limits::luns_max * 8);
    CHECK(read_report_luns(lun_list({0}, most)));
    CHECK_FALSE(read_report_luns(lun_list({0}, most + 8)));
}

TEST_CASE("capacity and LUN data may be damaged anywhere", "[sbc-3-5.15][sbc-3-5.16][spc-4-6.33]") {
    parse_damaged(hex("00 1f ff ff 00 00 02 00"), [](Bytes data) {
        auto capacity = read_capacity10_data(data);
        REQUIRE((!capacity || sane(*capacity)));
    });
    parse_damaged(capacity16, [](Bytes data) {
        auto capacity = read_capacity16_data(data);
        REQUIRE((!capacity || sane(*capacity)));
    });
    parse_damaged(lun_list({0, 1, 2, 3}), [](Bytes data) {
        auto list = read_report_luns(data);
        REQUIRE((!list || list->luns.size() <= data.size() / 8));
        REQUIRE((!list || list->needed_bytes <= 8 + 8 * iscsi::base::limits::luns_max));
    });
}

TEST_CASE("unit numbers are the kernel's", "[sam-5-4.7][SCSI-LUN-01][SCSI-LUN-02]") {
    struct Row {
        std::uint64_t lun;
        std::uint64_t number;
        LunMethod method;
        const char* text;
    };
    const std::vector<Row> rows{
        {0, 0, LunMethod::peripheral, "0"},
        {0x0005000000000000, 5, LunMethod::peripheral, "5"},
        {0x00ff000000000000, 255, LunMethod::peripheral, "255"},
        {0x012c000000000000, 300, LunMethod::peripheral, "300 (peripheral 012c000000000000)"},
        {0x0001000200000000, 0x20001, LunMethod::peripheral, "131073 (peripheral 0001000200000000)"},
        {0x4001000000000000, 16385, LunMethod::flat_space, "16385 (flat space 1)"},
        {0x4100000000000000, 16640, LunMethod::flat_space, "16640 (flat space 256)"},
        {0x8765000000000000, 0x8765, LunMethod::logical_unit, "34661 (target 7 bus 3 unit 5)"},
        {0xc101000000000000, 0xc101, LunMethod::extended, "49409 (well known 1)"},
        {0xd201000200000000, 0x2d201, LunMethod::extended, "184833 (extended flat space 65538)"},
        {0xd123456789abcdef, 0xcdef89ab4567d123, LunMethod::extended,
         "14839230665905918243 (LUN d123456789abcdef)"},
        {0x412c000000000000, 0x412c, LunMethod::flat_space, "16684 (flat space 300)"},
        {0xe201000200030000, 0x30002e201, LunMethod::extended, "12885090817 (LUN e201000200030000)"},
    };
    for (const Row& row : rows) {
        INFO(row.text);
        CHECK(lun_number(Lun(row.lun)) == row.number);
        CHECK(lun_from_number(row.number) == Lun(row.lun));
        CHECK(lun_method(Lun(row.lun)) == row.method);
        CHECK(describe_lun(Lun(row.lun)) == row.text);
    }
}

TEST_CASE("no two units share a number", "[sam-5-4.7][SCSI-LUN-02]") {
    std::mt19937_64 random(3);
    for (int round = 0; round < 1000; ++round) {
        std::uint64_t value = random();
        REQUIRE(lun_from_number(lun_number(Lun(value))) == Lun(value));
        REQUIRE(lun_number(lun_from_number(value)) == value);
    }
}

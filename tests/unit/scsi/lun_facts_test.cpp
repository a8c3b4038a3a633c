#include "scsi/lun_facts.hpp"

#include "unit/scsi/parameter_bytes.hpp"

#include <catch2/catch.hpp>

using namespace iscsi::scsi;
using iscsi::base::BlockCount;
using iscsi::base::Bytes;
using iscsi::test::ByteVector;
using iscsi::test::chars;
using iscsi::test::hex;
using iscsi::test::join;

namespace {

const ByteVector standard =
    join({hex("00 00 06 12 1f 10 00 02"), chars("LIO-ORG "), chars("a disk          "), chars("4.0 ")});
const ByteVector naa_page = hex("00 83 00 14 01 03 00 10 60 01 40 5a bc de f0 12 34 56 78 9a bc de f0 12");
const ByteVector serial_page = join({hex("00 80 00 08"), chars(" s/n 42 ")});
const ByteVector capacity16 = hex("00 00 00 00 00 0f ff ff 00 00 02 00 00 03 c0 00");

Designator named(DesignatorType type, std::string value) {
    return {type, Association::logical_unit, std::move(value)};
}

LunFacts disk() {
    LunFacts facts;
    facts.peripheral_type = peripheral::disk;
    facts.vendor = "IET";
    facts.product = "VIRTUAL-DISK";
    facts.block_bytes = 512;
    facts.blocks = BlockCount(2048);
    return facts;
}

LunFacts named_disk(DesignatorType type, std::string value) {
    LunFacts facts = disk();
    facts.identification.unit.push_back(named(type, std::move(value)));
    return facts;
}

/// A thin unit with every command to unmap.
LunFacts thin_disk() {
    LunFacts facts = disk();
    facts.provisioned = true;
    facts.provisioning_page = true;
    facts.lbpu = facts.lbpws = facts.lbpws10 = true;
    facts.limits.max_unmap_blocks = 0x400000;
    facts.limits.max_unmap_descriptors = 1;
    return facts;
}

} // namespace

TEST_CASE("the answers of a scan fold into the facts of a unit", "[spc-4][sbc-3]") {
    LunFacts facts;
    CHECK_FALSE(is_disk(facts));
    REQUIRE(apply_inquiry(facts, standard));
    REQUIRE(apply_supported_pages(facts, hex("00 00 00 03 00 80 83")));
    REQUIRE(apply_unit_serial_number(facts, serial_page));
    REQUIRE(apply_device_identification(facts, naa_page));
    CHECK_FALSE(is_disk(facts));
    REQUIRE(apply_read_capacity16(facts, capacity16));
    REQUIRE(apply_mode_sense6(
        facts, hex("17 00 10 00 08 12 04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00")));
    REQUIRE(apply_block_limits(facts, join({hex("00 b0 00 3c 01 00 00 00 00 00 20 00"), ByteVector(52)})));
    REQUIRE(apply_block_characteristics(facts, hex("00 b1 00 02 00 01")));
    REQUIRE(apply_logical_block_provisioning(facts, hex("00 b2 00 04 00 40 02 00")));
    CHECK(is_disk(facts));
    CHECK(facts.vendor == "LIO-ORG");
    CHECK(facts.product == "a disk");
    CHECK(facts.scsi_version == 6);
    CHECK(facts.target_port_groups == 1);
    CHECK(facts.vpd_pages.test(vpd::device_identification));
    CHECK(facts.serial == "s/n 42");
    CHECK(facts.blocks == BlockCount(0x100000));
    CHECK(facts.physical_block_bytes == 4096);
    CHECK(facts.write_cache);
    CHECK(facts.dpofua);
    CHECK_FALSE(facts.read_only);
    CHECK(facts.limits.max_transfer_blocks == 0x2000);
    CHECK_FALSE(facts.rotational);
    CHECK(facts.lbpws);
    CHECK(facts.lbprz);
    CHECK(identity(facts) == "naa.6001405abcdef0123456789abcdef012");
}

TEST_CASE("a write cache is volatile unless the unit has none but a non-volatile one", "[spc4-7.8.7][F-03]") {
    LunFacts facts;
    CHECK_FALSE(has_volatile_cache(facts));
    facts.write_cache = true;
    CHECK(has_volatile_cache(facts));
    REQUIRE(apply_extended_inquiry(facts, hex("00 86 00 3c 00 00 02 00"))); // NV_SUP
    CHECK_FALSE(has_volatile_cache(facts));
    REQUIRE(apply_extended_inquiry(facts, hex("00 86 00 3c 00 00 03 00"))); // and V_SUP
    CHECK(has_volatile_cache(facts));
    REQUIRE(apply_extended_inquiry(facts, hex("00 86 00 3c 00 00 00 00"))); // not told
    CHECK(has_volatile_cache(facts));
    REQUIRE(apply_extended_inquiry(facts, hex("00 86 00 00"))); // nothing is
    CHECK(has_volatile_cache(facts));
}

TEST_CASE("a malformed answer leaves the facts as they were", "[spc-4]") {
    LunFacts facts;
    REQUIRE(apply_inquiry(facts, standard));
    REQUIRE(apply_read_capacity16(facts, capacity16));
    REQUIRE(apply_device_identification(facts, naa_page));
    CHECK_FALSE(apply_inquiry(facts, hex("00")));
    CHECK_FALSE(apply_read_capacity16(facts, hex("00 00 00 00 00 00 00 00 00 00 00 07")));
    CHECK_FALSE(apply_read_capacity10(facts, hex("00 00 00 00")));
    CHECK_FALSE(apply_device_identification(facts, serial_page));
    CHECK_FALSE(apply_supported_pages(facts, serial_page));
    CHECK_FALSE(apply_unit_serial_number(facts, naa_page));
    CHECK_FALSE(apply_block_limits(facts, naa_page));
    CHECK_FALSE(apply_block_characteristics(facts, naa_page));
    CHECK_FALSE(apply_logical_block_provisioning(facts, naa_page));
    CHECK_FALSE(apply_mode_sense6(facts, hex("00")));
    CHECK_FALSE(apply_mode_sense10(facts, hex("00")));
    CHECK(facts.vendor == "LIO-ORG");
    CHECK(facts.block_bytes == 512);
    CHECK(facts.identification.unit.size() == 1);
}

TEST_CASE("READ CAPACITY(10) sets the size, or asks for the longer command", "[sbc-3-5.15]") {
    LunFacts facts;
    auto longer = apply_read_capacity10(facts, hex("ff ff ff ff 00 00 02 00"));
    REQUIRE(longer);
    CHECK(*longer);
    CHECK(facts.block_bytes == 0);
    longer = apply_read_capacity10(facts, hex("00 00 00 07 00 00 10 00"));
    REQUIRE(longer);
    CHECK_FALSE(*longer);
    CHECK(facts.block_bytes == 4096);
    CHECK(facts.blocks == BlockCount(8));
}

TEST_CASE("a unit is read-only by the header or by software, and writable again", "[spc-4-7.5]") {
    const ByteVector protected_header = hex("03 00 80 00");
    const ByteVector writable_header = hex("03 00 00 00");
    const ByteVector software = hex("0f 00 00 00 0a 0a 00 00 08 00 00 00 00 00 00 00");
    const ByteVector no_software = hex("0f 00 00 00 0a 0a 00 00 00 00 00 00 00 00 00 00");
    LunFacts facts;
    REQUIRE(apply_mode_sense6(facts, protected_header));
    CHECK(facts.read_only);
    REQUIRE(apply_mode_sense6(facts, writable_header));
    CHECK_FALSE(facts.read_only);
    REQUIRE(apply_mode_sense6(facts, software));
    CHECK(facts.read_only);
    REQUIRE(apply_mode_sense6(facts, writable_header)); // the caching page's answer knows nothing of SWP
    CHECK(facts.read_only);
    REQUIRE(apply_mode_sense6(facts, no_software));
    CHECK_FALSE(facts.read_only);
}

TEST_CASE("only a disk that is there and has a size is served", "[spc-4-6.4.2]") {
    LunFacts facts = disk();
    CHECK(is_disk(facts));
    facts.peripheral_type = peripheral::simplified_disk;
    CHECK(is_disk(facts));
    for (int type : {0x01, 0x05, 0x0c, 0x14, 0x1e, 0x1f}) {
        facts.peripheral_type = static_cast<std::uint8_t>(type);
        CHECK_FALSE(is_disk(facts));
    }
    facts = disk();
    facts.peripheral_qualifier = 1;
    CHECK_FALSE(is_disk(facts));
    facts = disk();
    facts.blocks = BlockCount(0);
    CHECK_FALSE(is_disk(facts));
}

TEST_CASE("a unit's identity and udev serial come from its best name", "[spc-4-7.8.6]") {
    struct Row {
        DesignatorType type;
        const char* value;
        const char* identity;
        const char* udev;
        const char* wwn;
    };
    const std::vector<Row> rows{
        {DesignatorType::naa, "6001405abc", "naa.6001405abc", "36001405abc", "6001405abc"},
        {DesignatorType::eui64, "0011223344556677", "eui.0011223344556677", "20011223344556677",
         "0011223344556677"},
        {DesignatorType::scsi_name, "iqn.2003-01.org:u", "iqn.2003-01.org:u", "8iqn.2003-01.org:u", ""},
        {DesignatorType::t10_vendor, "IET   a/b  01", "t10.IET   a/b  01", "1IET_a_b_01", ""},
        {DesignatorType::uuid, "0123", "uuid.0123", "", ""},
    };
    for (const Row& row : rows) {
        LunFacts facts = named_disk(row.type, row.value);
        CHECK(identity(facts) == row.identity);
        CHECK(udev_serial(facts) == row.udev);
        CHECK(world_wide_name(facts) == row.wwn);
    }
}

TEST_CASE("without designators the serial number names the unit", "[spc-4-7.8.17]") {
    LunFacts facts = disk();
    CHECK(identity(facts).empty());
    CHECK(udev_serial(facts).empty());
    facts.serial = "beaf 11";
    CHECK(identity(facts) == "serial.IET.VIRTUAL-DISK.beaf 11");
    CHECK(udev_serial(facts) == "SIET_VIRTUAL-DISK_beaf_11");
    facts.vendor = "EIGHT.CH";
    facts.product = "SIXTEEN.CHARS.XX";
    CHECK(udev_serial(facts) == "SEIGHT.CHSIXTEEN.CHARS.XXbeaf_11");
}

TEST_CASE("no character of a target's reaches a device link unchecked", "[udev]") {
    LunFacts facts = named_disk(DesignatorType::scsi_name, "../../etc/passwd\\x0a$(x)\"';\t ");
    CHECK(udev_serial(facts) == "8.._.._etc_passwd_x0a__x____");
}

TEST_CASE("a unit is the same after a relogin only if every name agrees", "[relogin]") {
    LunFacts before = named_disk(DesignatorType::naa, "6001405abc");
    before.serial = "1";
    LunFacts now = before;
    CHECK(same_unit(before, now));
    now.blocks = BlockCount(4096); // grown meanwhile
    CHECK(same_unit(before, now));
    now = before;
    now.identification.unit[0].value = "6001405abd";
    CHECK_FALSE(same_unit(before, now));
    now = before;
    now.serial = "2";
    CHECK_FALSE(same_unit(before, now));
    now = before;
    now.block_bytes = 4096;
    CHECK_FALSE(same_unit(before, now));
    now = before;
    now.identification.unit.clear();
    CHECK_FALSE(same_unit(before, now));
    CHECK_FALSE(same_unit(now, before));
}

TEST_CASE("a unit without a name must at least look the same", "[relogin]") {
    LunFacts before = disk();
    LunFacts now = disk();
    CHECK(same_unit(before, now));
    now.blocks = BlockCount(2047);
    CHECK_FALSE(same_unit(before, now));
    now = disk();
    now.product = "OTHER";
    CHECK_FALSE(same_unit(before, now));
}

TEST_CASE("blocks are deallocated by the best command that the unit has", "[sbc-3-4.7.3]") {
    LunFacts facts = thin_disk();
    CHECK(discard_method(facts) == DiscardMethod::unmap);
    CHECK(max_discard_blocks(facts) == 0x400000);
    facts.limits.max_unmap_descriptors = 0;
    CHECK(discard_method(facts) == DiscardMethod::write_same16);
    CHECK(max_discard_blocks(facts) == 0x7fffff);
    facts.limits.max_write_same_blocks = UINT64_MAX;
    CHECK(max_discard_blocks(facts) == UINT32_MAX);
    facts.limits.max_write_same_blocks = 100;
    CHECK(max_discard_blocks(facts) == 100);
    facts.lbpws = false;
    CHECK(discard_method(facts) == DiscardMethod::write_same10);
    CHECK(max_discard_blocks(facts) == 100);
    facts.limits.max_write_same_blocks = 0;
    CHECK(max_discard_blocks(facts) == UINT16_MAX);
    facts.lbpws10 = false;
    CHECK(discard_method(facts) == DiscardMethod::none);
    CHECK(max_discard_blocks(facts) == 0);
}

TEST_CASE("a fully provisioned unit is never unmapped", "[sbc-3-4.7.2]") {
    LunFacts facts = thin_disk();
    facts.provisioned = false;
    CHECK(discard_method(facts) == DiscardMethod::none);
}

TEST_CASE("a thin unit without page B2h is judged by its unmap limits", "[sbc-3-4.7.3]") {
    LunFacts facts = thin_disk();
    facts.provisioning_page = facts.lbpu = facts.lbpws = facts.lbpws10 = false;
    CHECK(discard_method(facts) == DiscardMethod::unmap);
    facts.limits.max_unmap_blocks = 0;
    CHECK(discard_method(facts) == DiscardMethod::write_same16);
}

TEST_CASE("a transfer is whole blocks within what the unit takes", "[sbc-3-b0]") {
    LunFacts facts = disk();
    CHECK(max_transfer_bytes(facts, 1U << 20) == 1U << 20);
    CHECK(max_transfer_bytes(facts, 1000) == 512);
    CHECK(max_transfer_bytes(facts, 0) == 512);
    facts.limits.max_transfer_blocks = 8;
    CHECK(max_transfer_bytes(facts, 1U << 20) == 4096);
    CHECK(max_transfer_bytes(facts, 1024) == 1024);
    facts.block_bytes = 65536;
    CHECK(max_transfer_bytes(facts, UINT32_MAX) == 8 * 65536);
    facts.limits.max_transfer_blocks = UINT32_MAX;
    CHECK(max_transfer_bytes(facts, UINT32_MAX) == 0xffff0000U);
}

TEST_CASE("programs are known by the vendor that they name", "[spc4-6.6.2]") {
    LunFacts facts = disk();
    facts.vendor = "OEM";
    CHECK(target_program(facts) == TargetProgram::not_known);
    facts.vendor = "IET";
    CHECK(target_program(facts) == TargetProgram::tgtd);
    facts.vendor = "LIO-ORG";
    CHECK(target_program(facts) == TargetProgram::lio);
    facts.vendor = "FreeBSD";
    CHECK(target_program(facts) == TargetProgram::istgt);
    facts.vendor = "FREEBSD";
    CHECK(target_program(facts) == TargetProgram::not_known);
}

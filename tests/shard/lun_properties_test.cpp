#include "shard/lun_properties.hpp"
#include "unit/scsi/parameter_bytes.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <string>

using namespace iscsi;
using scsi::Designator;
using scsi::DesignatorType;
using scsi::LunFacts;

namespace {

block::DeviceIdentity identity() {
    block::DeviceIdentity out;
    out.address = "192.0.2.7";
    out.target = "iqn.2003-01.org.example:disk";
    return out;
}

LunFacts facts() {
    LunFacts out;
    out.vendor = "LIO-ORG";
    out.product = "ram disk";
    out.revision = "4.0";
    out.serial = "8ad7a5f1-5a8c";
    return out;
}

Designator unit(DesignatorType type, std::string value) {
    Designator out;
    out.type = type;
    out.value = std::move(value);
    return out;
}

std::string value(const block::UdevProperties& properties, const std::string& key) {
    auto has_key = [&](const auto& property) { return property.first == key; };
    CHECK(std::ranges::count_if(properties, has_key) <= 1);
    auto found = std::ranges::find_if(properties, has_key);
    return found == properties.end() ? "-" : found->second;
}

/// INQUIRY data and pages as a target sent them.
struct Answers {
    test::ByteVector inquiry, serial, identification;
};

/// Ours for a unit with these answers, but for what only our own rules read.
std::map<std::string, std::string> properties_of(const Answers& answers, std::uint64_t lun) {
    LunFacts out;
    REQUIRE(scsi::apply_inquiry(out, answers.inquiry));
    if (!answers.serial.empty()) {
        REQUIRE(scsi::apply_unit_serial_number(out, answers.serial));
        REQUIRE(scsi::apply_device_identification(out, answers.identification));
    }
    block::DeviceIdentity where = identity();
    where.address = "127.0.0.1";
    where.lun = base::Lun(lun << 48);
    const block::UdevProperties properties = shard::udev_properties(out, where);
    std::map<std::string, std::string> map(properties.begin(), properties.end());
    map.erase("ISCSI_ROTATIONAL");
    return map;
}

} // namespace

// What follows is what `udevadm info` said of the disks of open-iscsi 2.1.8 on Linux 6.12 with systemd 252.

TEST_CASE("LIO's disk has the properties that udev finds through the kernel's initiator") {
    Answers answers;
    answers.inquiry =
        test::join({test::hex("00 00 06 02 5b b8 00 02"), test::chars("LIO-ORG RAMDISK-MCP     4.0 ")});
    answers.serial = test::join(
        {test::hex("00 80 00 25"), test::chars("8ad7a5f1-5a8c-4cd4-b1e9-d1f2a3b4c5d6"), test::hex("00")});
    answers.identification = test::join(
        {test::hex("00 83 00 b9 01 03 00 10 60 01 40 58 ad 7a 5f 15 a8 c4 cd 4b 1e 9d 1f 2a 02 01 00 39"),
         test::chars("LIO-ORG RAMDISK-MCP:8ad7a5f1-5a8c-4cd4-b1e9-d1f2a3b4c5d6"), test::hex("00"),
         test::hex("51 94 00 04 00 00 00 01 51 95 00 04 00 00 00 00 01 06 00 04 00 00 00 00 53 98 00 28"),
         test::chars("iqn.2003-01.org.example:disk,t,0x0001"), test::hex("00 00 00 53 a8 00 20"),
         test::chars("iqn.2003-01.org.example:disk"), test::hex("00 00 00 00")});
    const std::map<std::string, std::string> expected{
        {"ID_SCSI", "1"},
        {"ID_VENDOR", "LIO-ORG"},
        {"ID_VENDOR_ENC", "LIO-ORG\\x20"},
        {"ID_MODEL", "RAMDISK-MCP"},
        {"ID_MODEL_ENC", "RAMDISK-MCP\\x20\\x20\\x20\\x20\\x20"},
        {"ID_REVISION", "4.0"},
        {"ID_TYPE", "disk"},
        {"ID_SERIAL", "360014058ad7a5f15a8c4cd4b1e9d1f2a"},
        {"ID_SERIAL_SHORT", "60014058ad7a5f15a8c4cd4b1e9d1f2a"},
        {"ID_WWN", "0x60014058ad7a5f15"},
        {"ID_WWN_VENDOR_EXTENSION", "0xa8c4cd4b1e9d1f2a"},
        {"ID_WWN_WITH_EXTENSION", "0x60014058ad7a5f15a8c4cd4b1e9d1f2a"},
        {"ID_TARGET_PORT", "0"},
        {"ID_SCSI_SERIAL", "8ad7a5f1-5a8c-4cd4-b1e9-d1f2a3b4c5d6"},
        {"ID_BUS", "scsi"},
        {"ID_PATH", "ip-127.0.0.1:3260-iscsi-iqn.2003-01.org.example:disk-lun-0"},
        {"ID_PATH_TAG", "ip-127_0_0_1_3260-iscsi-iqn_2003-01_org_example_disk-lun-0"},
    };
    CHECK(properties_of(answers, 0) == expected);
}

TEST_CASE("LIO's disk without a serial number has the few properties that udev finds") {
    Answers answers;
    answers.inquiry =
        test::join({test::hex("00 00 06 02 5b b8 00 02"), test::chars("LIO-ORG FILEIO          4.0 ")});
    const std::map<std::string, std::string> expected{
        {"ID_SCSI", "1"},
        {"ID_VENDOR", "LIO-ORG"},
        {"ID_VENDOR_ENC", "LIO-ORG\\x20"},
        {"ID_MODEL", "FILEIO"},
        {"ID_MODEL_ENC", "FILEIO\\x20\\x20\\x20\\x20\\x20\\x20\\x20\\x20\\x20\\x20"},
        {"ID_REVISION", "4.0"},
        {"ID_TYPE", "disk"},
        {"ID_BUS", "scsi"},
        {"ID_PATH", "ip-127.0.0.1:3260-iscsi-iqn.2003-01.org.example:disk-lun-3"},
        {"ID_PATH_TAG", "ip-127_0_0_1_3260-iscsi-iqn_2003-01_org_example_disk-lun-3"},
    };
    CHECK(properties_of(answers, 3) == expected);
}

TEST_CASE("tgtd's disk has the properties that udev finds through the kernel's initiator") {
    Answers answers;
    answers.inquiry =
        test::join({test::hex("00 00 05 12 3d 00 00 02"), test::chars("IET     VIRTUAL-DISK    0001")});
    answers.serial = test::join({test::hex("00 80 00 24"), test::chars(std::string(30, ' ') + "beaf11")});
    answers.identification =
        test::join({test::hex("00 83 00 48 02 01 00 24"), test::chars("IET     00010001"),
                    test::ByteVector(20), test::hex("01 03 00 08 30 00 00 01 00 00 00 01"),
                    test::hex("01 03 00 10 60 00 00 00 00 00 00 00 0e 00 00 00 00 01 00 01")});
    const std::map<std::string, std::string> expected{
        {"ID_SCSI", "1"},
        {"ID_VENDOR", "IET"},
        {"ID_VENDOR_ENC", "IET\\x20\\x20\\x20\\x20\\x20"},
        {"ID_MODEL", "VIRTUAL-DISK"},
        {"ID_MODEL_ENC", "VIRTUAL-DISK\\x20\\x20\\x20\\x20"},
        {"ID_REVISION", "0001"},
        {"ID_TYPE", "disk"},
        {"ID_SERIAL", "360000000000000000e00000000010001"},
        {"ID_SERIAL_SHORT", "60000000000000000e00000000010001"},
        {"ID_WWN", "0x6000000000000000"},
        {"ID_WWN_VENDOR_EXTENSION", "0x0e00000000010001"},
        {"ID_WWN_WITH_EXTENSION", "0x60000000000000000e00000000010001"},
        {"ID_SCSI_SERIAL", "beaf11"},
        {"ID_BUS", "scsi"},
        {"ID_PATH", "ip-127.0.0.1:3260-iscsi-iqn.2003-01.org.example:disk-lun-1"},
        {"ID_PATH_TAG", "ip-127_0_0_1_3260-iscsi-iqn_2003-01_org_example_disk-lun-1"},
    };
    CHECK(properties_of(answers, 1) == expected);
}

TEST_CASE("a unit with an NAA name has the properties that scsi_id prints") {
    LunFacts unit_facts = facts();
    unit_facts.identification.unit = {unit(DesignatorType::naa, "6001405f18ad7a5a8cd4c1e9d1f2a3b4"),
                                      unit(DesignatorType::t10_vendor, "LIO-ORG ram disk:8ad7a5f1")};
    unit_facts.identification.target_port_group = 0x1f;
    const block::UdevProperties p = shard::udev_properties(unit_facts, identity());
    CHECK(value(p, "ID_SCSI") == "1");
    CHECK(value(p, "ID_BUS") == "scsi");
    CHECK(value(p, "ID_TYPE") == "disk");
    CHECK(value(p, "ID_VENDOR") == "LIO-ORG");
    CHECK(value(p, "ID_VENDOR_ENC") == "LIO-ORG\\x20");
    CHECK(value(p, "ID_MODEL") == "ram_disk");
    CHECK(value(p, "ID_MODEL_ENC") == "ram\\x20disk\\x20\\x20\\x20\\x20\\x20\\x20\\x20\\x20");
    CHECK(value(p, "ID_REVISION") == "4.0");
    CHECK(value(p, "ID_SERIAL") == "36001405f18ad7a5a8cd4c1e9d1f2a3b4");
    CHECK(value(p, "ID_SERIAL_SHORT") == "6001405f18ad7a5a8cd4c1e9d1f2a3b4");
    CHECK(value(p, "ID_WWN") == "0x6001405f18ad7a5a");
    CHECK(value(p, "ID_WWN_VENDOR_EXTENSION") == "0x8cd4c1e9d1f2a3b4");
    CHECK(value(p, "ID_WWN_WITH_EXTENSION") == "0x6001405f18ad7a5a8cd4c1e9d1f2a3b4");
    CHECK(value(p, "ID_TARGET_PORT") == "1f");
    CHECK(value(p, "ID_SCSI_SERIAL") == "8ad7a5f1-5a8c");
    CHECK(value(p, "ISCSI_ROTATIONAL") == "1");
}

TEST_CASE("a short NAA name has no vendor extension") {
    LunFacts unit_facts = facts();
    unit_facts.identification.unit = {unit(DesignatorType::naa, "5000c500a1b2c3d4")};
    unit_facts.rotational = false;
    const block::UdevProperties p = shard::udev_properties(unit_facts, identity());
    CHECK(value(p, "ID_WWN") == "0x5000c500a1b2c3d4");
    CHECK(value(p, "ID_WWN_VENDOR_EXTENSION") == "-");
    CHECK(value(p, "ID_WWN_WITH_EXTENSION") == "0x5000c500a1b2c3d4");
    CHECK(value(p, "ISCSI_ROTATIONAL") == "0");
}

TEST_CASE("a unit without designators is named by vendor, model and serial number") {
    const block::UdevProperties p = shard::udev_properties(facts(), identity());
    CHECK(value(p, "ID_SERIAL") == "SLIO-ORG_ram_disk_8ad7a5f1-5a8c");
    CHECK(value(p, "ID_SERIAL_SHORT") == "8ad7a5f1-5a8c");
    CHECK(value(p, "ID_WWN") == "-");
    CHECK(value(p, "ID_TARGET_PORT") == "-");
}

TEST_CASE("a unit without any name has no serial properties") {
    LunFacts unit_facts = facts();
    unit_facts.serial.clear();
    const block::UdevProperties p = shard::udev_properties(unit_facts, identity());
    for (const char* key : {"ID_SERIAL", "ID_SERIAL_SHORT", "ID_SCSI_SERIAL", "ID_WWN"}) {
        CHECK(value(p, key) == "-");
    }
}

TEST_CASE("the path properties are those of path_id") {
    block::DeviceIdentity where = identity();
    where.lun = base::Lun(0x0003000000000000);
    block::UdevProperties p = shard::udev_properties(facts(), where);
    CHECK(value(p, "ID_PATH") == "ip-192.0.2.7:3260-iscsi-iqn.2003-01.org.example:disk-lun-3");
    CHECK(value(p, "ID_PATH_TAG") == "ip-192_0_2_7_3260-iscsi-iqn_2003-01_org_example_disk-lun-3");

    where.address = "fd00::1";
    p = shard::udev_properties(facts(), where);
    CHECK(value(p, "ID_PATH_TAG") == "ip-fd00_1_3260-iscsi-iqn_2003-01_org_example_disk-lun-3");

    where.target = "iqn.2003-01.org.example:" + std::string(199, 'x');
    p = shard::udev_properties(facts(), where);
    CHECK(value(p, "ID_PATH").size() == 247);

    where.target = "../../evil";
    p = shard::udev_properties(facts(), where);
    CHECK(value(p, "ID_PATH") == "-");
    CHECK(value(p, "ID_PATH_TAG") == "-");
}

TEST_CASE("texts of a target cannot be more than a name") {
    LunFacts unit_facts = facts();
    unit_facts.vendor = "../$x/y";
    unit_facts.product = "a  b\"\n'c";
    const block::UdevProperties p = shard::udev_properties(unit_facts, identity());
    CHECK(value(p, "ID_VENDOR") == "..__x_y");
    CHECK(value(p, "ID_VENDOR_ENC") == "..\\x2f\\x24x\\x2fy\\x20");
    CHECK(value(p, "ID_MODEL") == "a_b___c");
    CHECK(value(p, "ID_MODEL_ENC").starts_with("a\\x20\\x20b\\x22\\x0a\\x27c"));
}

#include "scsi/target_port_groups.hpp"

#include "scsi/cdb.hpp"
#include "scsi/lun_facts.hpp"
#include "unit/scsi/parameter_bytes.hpp"

#include <catch2/catch.hpp>

using namespace iscsi::scsi;
using iscsi::base::Bytes;
using iscsi::test::ByteVector;
using iscsi::test::hex;
using iscsi::test::parse_damaged;

namespace {

// Two groups: 1, preferred and optimized, with one port; 258, standby, with two ports.
const ByteVector groups = hex("80 8f 00 01 00 00 00 01 00 00 00 01"
                              "02 8f 01 02 00 00 00 02 00 00 00 02 00 00 00 03");

ByteVector short_form() {
    return iscsi::test::join({hex("00 00 00 1c"), groups});
}

ByteVector extended_form() {
    return iscsi::test::join({hex("00 00 00 20 10 3c 00 00"), groups});
}

LunFacts facts_of_group(std::uint16_t group) {
    LunFacts facts;
    facts.identification.target_port_group = group;
    return facts;
}

} // namespace

TEST_CASE("target port groups are read from both forms of header", "[spc-4-6.37][SCSI-ALUA-01]") {
    for (const ByteVector& data : {short_form(), extended_form()}) {
        auto told = read_target_port_groups(data);
        REQUIRE(told);
        CHECK(told->groups == std::vector<TargetPortGroup>{{1, AccessState::active_optimized, true},
                                                           {258, AccessState::standby, false}});
    }
    CHECK(read_target_port_groups(short_form())->transition_s == 0);
    CHECK(read_target_port_groups(extended_form())->transition_s == 60);
}

TEST_CASE("groups behind the told length, or cut off, do not count", "[spc-4-6.37][SCSI-ALUA-01]") {
    ByteVector data = short_form();
    data[3] = std::byte{12};
    CHECK(read_target_port_groups(data)->groups.size() == 1);
    data = short_form();
    data.resize(4 + 12 + 7);
    CHECK(read_target_port_groups(data)->groups.size() == 1);
    CHECK(read_target_port_groups(hex("00 00 00 00"))->groups.empty());
    CHECK(read_target_port_groups(hex("ff ff ff ff"))->groups.empty());
    CHECK_FALSE(read_target_port_groups(hex("00 00 00")));
    parse_damaged(extended_form(), [](Bytes bytes) {
        auto told = read_target_port_groups(bytes);
        REQUIRE((!told || told->groups.size() <= bytes.size() / 8));
    });
}

TEST_CASE("a unit's access is that of the group of the port that answered", "[spc-4-5.15][SCSI-ALUA-01]") {
    LunFacts facts = facts_of_group(258);
    REQUIRE(apply_target_port_groups(facts, extended_form()));
    CHECK(facts.access == PortAccess{AccessState::standby, false, 60});
    facts = facts_of_group(1);
    REQUIRE(apply_target_port_groups(facts, short_form()));
    CHECK(facts.access == PortAccess{AccessState::active_optimized, true, 0});
    facts = facts_of_group(7);
    REQUIRE(apply_target_port_groups(facts, short_form()));
    CHECK(facts.access == PortAccess());
    CHECK_FALSE(apply_target_port_groups(facts, hex("00")));
}

TEST_CASE("each access state has a name, and some answer inquiries only", "[spc-4-5.15.2][SCSI-ALUA-02]") {
    CHECK(text(AccessState::standby) == "standby");
    CHECK(text(static_cast<AccessState>(5)) == "reserved");
    for (std::uint8_t state = 0; state < 16; ++state) {
        CHECK_FALSE(text(static_cast<AccessState>(state)).empty());
        const bool no_data = state == 2 || state == 3 || state == 0xe || state == 0xf;
        CHECK(only_answers_inquiries(static_cast<AccessState>(state)) == no_data);
    }
}

TEST_CASE("a unit in standby keeps the size it had, one that answers does not",
          "[spc-4-5.15][SCSI-ALUA-04]") {
    LunFacts before;
    before.serial = "a";
    before.blocks = iscsi::base::BlockCount(100);
    before.block_bytes = 512;
    before.write_cache = true;
    LunFacts now;
    now.serial = "a";
    now.access.state = AccessState::standby;
    CHECK(same_unit(before, with_known_size(now, before)));
    CHECK(with_known_size(now, before).blocks == before.blocks);
    CHECK(with_known_size(now, before).write_cache);
    now.serial = "b";
    CHECK_FALSE(same_unit(before, with_known_size(now, before)));
    now.serial = "a";
    now.access.state = AccessState::active_optimized;
    CHECK(with_known_size(now, before).block_bytes == 0);
    now.access.state = AccessState::standby;
    now.blocks = iscsi::base::BlockCount(50);
    now.block_bytes = 512;
    CHECK(with_known_size(now, before).blocks == now.blocks);
}

TEST_CASE("types of devices have names", "[spc-4-6.4.2][SCSI-LUN-05]") {
    CHECK(peripheral::text(peripheral::disk) == "disk");
    CHECK(peripheral::text(0x01) == "tape");
    CHECK(peripheral::text(0x05) == "CD/DVD");
    CHECK(peripheral::text(peripheral::storage_array) == "storage array controller");
    CHECK(peripheral::text(0x0d) == "enclosure");
    CHECK(peripheral::text(peripheral::zoned_disk) == "zoned disk");
    CHECK(peripheral::text(0x15) == "type 15h");
    CHECK(peripheral::text(peripheral::well_known) == "well known unit");
    CHECK(peripheral::text(peripheral::unknown) == "no device");
    for (int type = 0; type < 256; ++type) {
        CHECK_FALSE(peripheral::text(static_cast<std::uint8_t>(type)).empty());
    }
}

TEST_CASE("no command of ours asks for an ACA condition", "[sam-5-5.10][SCSI-STATUS-05]") {
    const auto lba = iscsi::base::Lba(1);
    const auto blocks = iscsi::base::BlockCount(1);
    for (const Cdb& cdb :
         {test_unit_ready(), inquiry(36), report_luns(LunReport::addressable, 16), read_capacity10(),
          read_capacity16(32), mode_sense6(ModePage::caching, 252), start_stop_unit(true),
          read10(lba, blocks, true), write10(lba, blocks, true), read16(lba, blocks, true),
          write16(lba, blocks, true), synchronize_cache10(), synchronize_cache16(), unmap(24),
          write_same16(lba, blocks, {}), report_target_port_groups(1024, true)}) {
        CHECK(cdb.bytes[cdb.length - 1U] == std::byte{0}); // CONTROL, with NACA
    }
}

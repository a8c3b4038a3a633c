#include "control/scan_words.hpp"

#include <catch2/catch.hpp>

using namespace iscsi;
using control::why_not_shown;
using control::why_nothing;

namespace {

scsi::LunFacts disk() {
    scsi::LunFacts facts;
    facts.peripheral_type = scsi::peripheral::disk;
    facts.block_bytes = 512;
    facts.blocks = base::BlockCount(8);
    return facts;
}

const std::string me = "iqn.2026-01.example:me";

} // namespace

TEST_CASE("a unit that is not shown is named with the reason", "[spc-4-6.4.2][SCSI-LUN-05]") {
    CHECK(why_not_shown(disk()).empty());
    scsi::LunFacts facts = disk();
    facts.peripheral_type = scsi::peripheral::storage_array;
    CHECK(why_not_shown(facts) == "LUN 0 (storage array controller)");
    facts.peripheral_type = 0x01;
    facts.lun = base::Lun(0x4100000000000000);
    CHECK(why_not_shown(facts) == "LUN 16640 (flat space 256) (tape)");
    facts = disk();
    facts.peripheral_qualifier = 1;
    CHECK(why_not_shown(facts) == "LUN 0 (nothing connected)");
    facts = disk();
    facts.blocks = base::BlockCount(0);
    CHECK(why_not_shown(facts) == "LUN 0 (disk without a size)");
    facts.access.state = scsi::AccessState::standby;
    CHECK(why_not_shown(facts) == "LUN 0 (a disk whose port is in state standby)");
}

TEST_CASE("a login that shows nothing says why, and who asked", "[SCSI-LUN-06]") {
    CHECK(why_nothing(me, 0, {}) ==
          "the target shows no logical unit to this initiator; is a volume mapped to "
          "iqn.2026-01.example:me?");
    CHECK(
        why_nothing(me, 1, {"LUN 0 (storage array controller)"}) ==
        "none of the 1 logical unit(s) that the target shows is a disk: LUN 0 (storage array controller); is "
        "a volume mapped to iqn.2026-01.example:me?");
    const std::string many = why_nothing(me, 9, std::vector<std::string>(9, "LUN 1 (tape)"));
    CHECK(many.find("LUN 1 (tape), LUN 1 (tape), LUN 1 (tape), LUN 1 (tape), ...;") != std::string::npos);
    // They are disks perhaps: the log has said what is wrong with them.
    CHECK(why_nothing(me, 2, {}) == "none of the 2 logical unit(s) that the target shows could be used");
}

#include "block/device_names.hpp"

#include <catch2/catch.hpp>

using namespace iscsi;
using block::DeviceIdentity;

namespace {

DeviceIdentity identity(std::string target = "iqn.2003-01.org.example:disk") {
    return {"192.0.2.7", 3260, std::move(target), base::Lun(0x0001000000000000)};
}

} // namespace

TEST_CASE("a LUN is written as udev writes it: decimal below 256, else sixteen digits") {
    CHECK(block::lun_text(base::Lun(0)) == "0");
    CHECK(block::lun_text(base::Lun(0x0001000000000000)) == "1");
    CHECK(block::lun_text(base::Lun(0x00ff000000000000)) == "255");
    CHECK(block::lun_text(base::Lun(0x4100000000000000)) == "0x4100000000000000");
    CHECK(block::lun_text(base::Lun(0x0001000200000000)) == "0x0001000200000000");
}

TEST_CASE("the by-path name tells portal, target and LUN") {
    CHECK(block::by_path_name(identity()).value() ==
          "ip-192.0.2.7:3260-iscsi-iqn.2003-01.org.example:disk-lun-1");
    DeviceIdentity v6 = identity();
    v6.address = "2001:db8::1";
    CHECK(block::by_path_name(v6).value() == "ip-2001:db8::1:3260-iscsi-iqn.2003-01.org.example:disk-lun-1");
}

TEST_CASE("what cannot be part of a file name is refused") {
    using namespace std::string_literals;
    for (const std::string& bad :
         {""s, "iqn.a/b"s, "iqn.a\0b"s, "iqn.a\nb"s, "iqn.a b"s, std::string(224, 'a')}) {
        CAPTURE(bad);
        CHECK(block::by_path_name(identity(bad)).error().code == base::Errc::invalid);
        CHECK(block::by_path_file_name(identity(bad), 60).error().code == base::Errc::invalid);
        DeviceIdentity place = identity();
        place.address = bad;
        if (bad.size() != 224) {
            CHECK(block::by_path_name(place).error().code == base::Errc::invalid);
        }
    }
}

TEST_CASE("a name that is too long keeps what tells it from others") {
    const std::string long_target = "iqn.2003-01.org.example:" + std::string(180, 'x');
    const std::string full = block::by_path_name(identity(long_target)).value();
    const std::string cut = block::by_path_file_name(identity(long_target), 90).value();
    CHECK(cut.size() == 90);
    CHECK(cut.find("ip-192.0.2.7:3260-iscsi-iqn.2003-01.org.example:x") == 0);
    CHECK(cut.substr(cut.size() - 6) == "-lun-1");
    CHECK(block::by_path_file_name(identity(long_target), full.size()).value() == full);

    CHECK(block::by_path_file_name(identity(long_target), 90).value() == cut);
    CHECK(block::by_path_file_name(identity(long_target + "y"), 90).value() != cut);
    DeviceIdentity other_lun = identity(long_target);
    other_lun.lun = base::Lun(0);
    CHECK(block::by_path_file_name(other_lun, 90).value() != cut);
}

TEST_CASE("a name is as short as it can be where nothing fits") {
    const std::string shortest = block::by_path_file_name(identity(), 0).value();
    CHECK(shortest.size() == std::string("ip-192.0.2.7:3260-iscsi--lun-1").size() + 16);
    for (std::size_t room = shortest.size(); room <= 60; ++room) {
        CHECK(block::by_path_file_name(identity(), room).value().size() <= room);
    }
}

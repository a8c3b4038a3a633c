#include "block/udev.hpp"
#include "block/udev_text.hpp"

#include <catch2/catch.hpp>
#include <string>

using namespace iscsi;
using block::UdevProperties;

namespace {

std::string file_text(const UdevProperties& properties) {
    auto text = block::udev_file_text(0xabc, properties);
    REQUIRE(text.has_value());
    return *text;
}

constexpr const char* cookie_line = "ISCSI_COOKIE=0000000000000abc\n";

} // namespace

TEST_CASE("the file for udev has a line for each property and the cookie at its end") {
    CHECK(file_text({{"ID_SERIAL", "36001405"}, {"ID_PATH", "ip-192.0.2.1:3260-iscsi-iqn.x-lun-0"}}) ==
          std::string("ID_SERIAL=36001405\nID_PATH=ip-192.0.2.1:3260-iscsi-iqn.x-lun-0\n") + cookie_line);
    CHECK(file_text({}) == cookie_line);
}

TEST_CASE("a value of the target's cannot become a second line or lose its quotes") {
    CHECK(file_text({{"ID_MODEL", "disk\nSYSTEMD_WANTS=evil.service"}}) ==
          std::string("ID_MODEL=disk_SYSTEMD_WANTS=evil.service\n") + cookie_line);
    CHECK(file_text({{"ID_MODEL", "a\r\vb\x7f"}}) == std::string("ID_MODEL=a__b_\n") + cookie_line);
    CHECK(file_text({{"ID_MODEL", "\"a'"}}) == std::string("ID_MODEL=_a_\n") + cookie_line);
    CHECK(file_text({{"ID_MODEL", std::string("a\0b", 3)}}) == std::string("ID_MODEL=a_b\n") + cookie_line);
}

TEST_CASE("a value keeps UTF-8, and loses bytes that are none") {
    CHECK(file_text({{"ID_PATH", "iqn.x:d\xc3\xbcse"}}) ==
          std::string("ID_PATH=iqn.x:d\xc3\xbcse\n") + cookie_line);
    CHECK(file_text({{"ID_PATH", "d\xc3se"}}) == std::string("ID_PATH=d_se\n") + cookie_line);
}

TEST_CASE("blanks around a value and empty values are left out, long ones are cut") {
    CHECK(file_text({{"ID_MODEL", "  a b "}, {"ID_REVISION", "  "}}) ==
          std::string("ID_MODEL=a b\n") + cookie_line);
    CHECK(file_text({{"ID_MODEL", std::string(5000, 'x')}}).size() < 1200);
}

TEST_CASE("a key that is none, or that is the cookie's, is refused") {
    for (const char* key : {"", "id_model", "ID MODEL", "ID_MODEL=x\nA", "#ID", "ISCSI_COOKIE"}) {
        auto text = block::udev_file_text(1, {{key, "x"}});
        REQUIRE_FALSE(text.has_value());
        CHECK(text.error().code == base::Errc::invalid);
    }
}

TEST_CASE("properties are laid down for kernel devices only") {
    for (const char* name : {"", "../x", "ublkb0/..", ".ublkb0", "a b"}) {
        auto written = block::write_udev_properties(name, 1, {});
        REQUIRE_FALSE(written.has_value());
        CHECK(written.error().code == base::Errc::invalid);
    }
}

TEST_CASE("of udev's entry the cookie and the links are read") {
    const block::UdevEntry entry =
        block::parse_udev_entry("S:disk/by-path/ip-192.0.2.1:3260-iscsi-iqn.x-lun-0\n"
                                "S:disk/by-id/scsi-36001405\n"
                                "I:12345\n"
                                "E:ISCSI_COOKIE=0000000000000abc\n"
                                "E:ID_MODEL=S:fake\n"
                                "G:systemd\nQ:systemd\nV:1\n");
    CHECK(entry.cookie == block::udev_cookie_text(0xabc));
    CHECK(entry.links == std::vector<std::string>{"/dev/disk/by-path/ip-192.0.2.1:3260-iscsi-iqn.x-lun-0",
                                                  "/dev/disk/by-id/scsi-36001405"});
}

TEST_CASE("an entry of another's device has no cookie") {
    CHECK(block::parse_udev_entry("E:ID_MODEL=E:ISCSI_COOKIE=1\nE:X_ISCSI_COOKIE=1\n").cookie.empty());
    CHECK(block::parse_udev_entry("").links.empty());
}

TEST_CASE("the file of a device is known by its cookie") {
    const std::string text = file_text({{"ID_MODEL", "ISCSI_COOKIE=0000000000000001"}});
    CHECK(block::is_udev_file_of(text, 0xabc));
    CHECK_FALSE(block::is_udev_file_of(text, 1));
    CHECK_FALSE(block::is_udev_file_of("", 0));
    CHECK_FALSE(block::is_udev_file_of("ISCSI_COOKIE=0000000000000abcd\n", 0xabc));
}

TEST_CASE("a device that is not there has no links, and is gone") {
    CHECK(block::links_of("ublkb98765", "x").empty());
    CHECK(block::UdevTrace("ublkb98765").is_gone());
}

#include "scsi/sense.hpp"

#include "scsi/status.hpp"
#include "unit/scsi/parameter_bytes.hpp"

#include <catch2/catch.hpp>

using namespace iscsi::scsi;
using iscsi::test::ByteVector;
using iscsi::test::hex;

namespace {

const ByteVector fixed = hex("f0 00 05 12 34 56 78 0a 00 00 00 00 24 00 00 c0 00 07");
const ByteVector descriptors = hex("72 05 24 00 00 00 00 14"
                                   "00 0a 80 00 11 22 33 44 55 66 77 88"
                                   "02 06 00 00 cf 00 02 00");

} // namespace

TEST_CASE("fixed format sense data", "[spc-4-4.5.3][SCSI-SENSE-01]") {
    SenseView view(fixed);
    CHECK(view.valid());
    CHECK_FALSE(view.deferred());
    CHECK(view.code() == SenseCode{SenseKey::illegal_request, 0x24, 0x00});
    CHECK(view.information() == 0x12345678U);
    REQUIRE(view.key_specific());
    CHECK(view.key_specific()->flags == 0x40);
    CHECK(view.key_specific()->value == 7);
}

TEST_CASE("descriptor format sense data", "[spc-4-4.5.2][SCSI-SENSE-01]") {
    SenseView view(descriptors);
    CHECK(view.valid());
    CHECK_FALSE(view.deferred());
    CHECK(view.code() == SenseCode{SenseKey::illegal_request, 0x24, 0x00});
    CHECK(view.information() == 0x1122334455667788U);
    REQUIRE(view.key_specific());
    CHECK(view.key_specific()->flags == 0x4f);
    CHECK(view.key_specific()->value == 2);
}

TEST_CASE("the response code tells current from deferred errors", "[spc-4-4.5.5][SCSI-SENSE-07]") {
    CHECK_FALSE(SenseView(hex("70 00 03")).deferred());
    CHECK(SenseView(hex("71 00 03")).deferred());
    CHECK_FALSE(SenseView(hex("72 03")).deferred());
    CHECK(SenseView(hex("73 03")).deferred());
    CHECK(SenseView(hex("71 00 03")).key() == SenseKey::medium_error);
    CHECK(SenseView(hex("73 03")).key() == SenseKey::medium_error);
}

TEST_CASE("information and key specific bytes count only when marked valid", "[spc-4-4.5.3]") {
    ByteVector sense = fixed;
    sense[0] = std::byte{0x70};
    sense[15] = std::byte{0x40};
    CHECK_FALSE(SenseView(sense).information());
    CHECK_FALSE(SenseView(sense).key_specific());
    sense = descriptors;
    sense[10] = std::byte{0};
    sense[24] = std::byte{0x4f};
    CHECK_FALSE(SenseView(sense).information());
    CHECK_FALSE(SenseView(sense).key_specific());
}

TEST_CASE("what is not sense data is not valid", "[spc-4-4.5.1][SCSI-SENSE-02]") {
    CHECK_FALSE(SenseView({}).valid());
    for (const char* bytes : {"00", "6f 00 05", "74 05 20 00", "7f 05", "ff 05"}) {
        INFO(bytes);
        SenseView view(hex(bytes));
        CHECK_FALSE(view.valid());
        CHECK_FALSE(view.deferred());
        CHECK(view.code() == SenseCode{});
    }
}

TEST_CASE("short sense data gives what is there", "[spc-4-4.5.1][SCSI-SENSE-02]") {
    CHECK(SenseView(iscsi::base::Bytes(fixed).first(3)).code() == SenseCode{SenseKey::illegal_request, 0, 0});
    CHECK(SenseView(iscsi::base::Bytes(fixed).first(13)).asc() == 0x24);
    CHECK(SenseView(iscsi::base::Bytes(descriptors).first(3)).code() ==
          SenseCode{SenseKey::illegal_request, 0x24, 0});
    CHECK_FALSE(SenseView(iscsi::base::Bytes(descriptors).first(19)).information());
    CHECK(SenseView(iscsi::base::Bytes(descriptors).first(20)).information());
}

TEST_CASE("bytes behind the additional sense length are not sense data", "[spc-4-4.5.3]") {
    ByteVector sense = fixed;
    sense[7] = std::byte{6}; // ends behind ASCQ
    CHECK(SenseView(sense).asc() == 0x24);
    CHECK_FALSE(SenseView(sense).key_specific());
    sense = descriptors;
    sense[7] = std::byte{0};
    CHECK(SenseView(sense).asc() == 0x24);
    CHECK_FALSE(SenseView(sense).information());
}

TEST_CASE("a fixed answer whose additional length is left zero still has its codes", "[spc-4-4.5.3]") {
    ByteVector sense = fixed;
    sense[7] = std::byte{0};
    CHECK(SenseView(sense).code() == SenseCode{SenseKey::illegal_request, 0x24, 0x00});
}

TEST_CASE("descriptors of length zero and unknown descriptors are stepped over",
          "[spc-4-4.5.2][SCSI-SENSE-02]") {
    SenseView view(hex("72 03 11 00 00 00 00 12  09 00  80 02 aa bb  00 0a 80 00 00 00 00 00 00 00 00 2a"));
    CHECK(view.information() == 42U);
}

TEST_CASE("sense data may be damaged anywhere", "[spc-4-4.5][SCSI-SENSE-02]") {
    for (const ByteVector& whole : {fixed, descriptors}) {
        iscsi::test::parse_damaged(whole, [](iscsi::base::Bytes bytes) {
            SenseView view(bytes);
            REQUIRE((view.valid() || view.code() == SenseCode{}));
            REQUIRE(!describe(view.code()).empty());
        });
    }
}

TEST_CASE("sense codes are described for people", "[logs]") {
    CHECK(describe({SenseKey::unit_attention, 0x2a, 0x09}) ==
          "UNIT ATTENTION 2A/09 (capacity data has changed)");
    CHECK(describe({SenseKey::medium_error, 0x11, 0x04}) == "MEDIUM ERROR 11/04 (unrecovered read error)");
    CHECK(describe({SenseKey::hardware_error, 0xee, 0x01}) == "HARDWARE ERROR EE/01");
    CHECK(text(static_cast<SenseKey>(0xff)) == "COMPLETED");
}

TEST_CASE("every key and code has a description that fits a line", "[logs]") {
    for (int key = 0; key < 16; ++key) {
        CHECK_FALSE(text(static_cast<SenseKey>(key)).empty());
    }
    int unfit = 0;
    for (int codes = 0; codes < 0x10000; ++codes) {
        auto line = describe({SenseKey::aborted_command, static_cast<std::uint8_t>(codes >> 8),
                              static_cast<std::uint8_t>(codes & 0xff)});
        unfit += line.size() < 100 && line.find('\n') == std::string::npos ? 0 : 1;
    }
    CHECK(unfit == 0);
}

TEST_CASE("a general text never hides a special one", "[logs]") {
    CHECK(additional_sense_text(0x04, 0x0b) == "target port in standby state");
    CHECK(additional_sense_text(0x04, 0x77) == "not ready");
    CHECK(additional_sense_text(0x29, 0x07) == "I_T nexus loss occurred");
    CHECK(additional_sense_text(0x3f, 0x0e) == "reported LUNs data has changed");
    CHECK(additional_sense_text(0x27, 0x07) != additional_sense_text(0x27, 0x00));
    CHECK(additional_sense_text(0xff, 0xff).empty());
}

TEST_CASE("status has a name", "[sam-5-5.3.1]") {
    CHECK(text(Status::good) == "GOOD");
    CHECK(text(Status::task_set_full) == "TASK SET FULL");
    CHECK(text(static_cast<Status>(0x55)) == "unknown status");
}

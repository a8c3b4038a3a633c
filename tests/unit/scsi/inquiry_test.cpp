#include "scsi/inquiry.hpp"

#include "scsi/cdb.hpp"
#include "unit/scsi/parameter_bytes.hpp"

#include <catch2/catch.hpp>

using namespace iscsi::scsi;
using iscsi::base::Bytes;
using iscsi::test::ByteVector;
using iscsi::test::chars;
using iscsi::test::hex;
using iscsi::test::join;
using iscsi::test::parse_damaged;

namespace {

const ByteVector standard =
    join({hex("00 80 05 12 1f 31 00 02"), chars("LIO-ORG "), chars("disk0           "), chars("4.0 ")});

const ByteVector limits_page = hex("00 b0 00 3c 01 00 00 08 00 00 20 00 00 00 10 00 00 00 00 00"
                                   "00 40 00 00 00 00 00 20 00 00 00 10 80 00 00 05"
                                   "00 00 00 00 00 00 ff ff"
                                   "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00");

ByteVector page(std::string_view code, const ByteVector& body) {
    ByteVector header = hex("00 00 00 00");
    header[1] = hex(code)[0];
    header[2] = static_cast<std::byte>(body.size() >> 8);
    header[3] = static_cast<std::byte>(body.size() & 0xff);
    return join({header, body});
}

ByteVector designator(std::string_view code_set_and_type, const ByteVector& value) {
    ByteVector header = join({hex(code_set_and_type), hex("00 00")});
    header[3] = static_cast<std::byte>(value.size());
    return join({header, value});
}

const ByteVector naa6 = hex("60 01 40 5a bc de f0 12 34 56 78 9a bc de f0 12");
const ByteVector naa5 = hex("50 01 40 5a bc de f0 12");
const ByteVector eui8 = hex("00 11 22 33 44 55 66 77");

DeviceIdentification identify(std::initializer_list<ByteVector> designators) {
    auto result = read_device_identification(page("83", join(designators)));
    REQUIRE(result);
    return *result;
}

} // namespace

TEST_CASE("standard INQUIRY data", "[spc-4-6.4.2]") {
    auto inquiry = read_standard_inquiry(standard);
    REQUIRE(inquiry);
    CHECK(inquiry->peripheral_type == peripheral::disk);
    CHECK(inquiry->peripheral_qualifier == 0);
    CHECK(inquiry->removable);
    CHECK(inquiry->version == 5);
    CHECK(inquiry->target_port_groups == 3);
    CHECK(inquiry->protection);
    CHECK(inquiry->available_bytes == 36);
    CHECK(inquiry->vendor == "LIO-ORG");
    CHECK(inquiry->product == "disk0");
    CHECK(inquiry->revision == "4.0");
}

TEST_CASE("the peripheral qualifier stands apart from the type", "[spc-4-6.4.2]") {
    ByteVector data = standard;
    data[0] = std::byte{0x7f};
    auto inquiry = read_standard_inquiry(data);
    REQUIRE(inquiry);
    CHECK(inquiry->peripheral_qualifier == 3);
    CHECK(inquiry->peripheral_type == peripheral::unknown);
}

TEST_CASE("INQUIRY text is safe to print", "[spc-4-4.4.1]") {
    ByteVector data = standard;
    data[8] = std::byte{0x1b};
    data[16] = std::byte{0x00};
    auto inquiry = read_standard_inquiry(data);
    REQUIRE(inquiry);
    CHECK(inquiry->vendor == "\\x1bIO-ORG");
    CHECK(inquiry->product == "\\x00isk0");
    std::fill(data.begin() + 8, data.end(), std::byte{0});
    inquiry = read_standard_inquiry(data);
    CHECK(inquiry->vendor.empty());
    CHECK(inquiry->product.empty());
}

TEST_CASE("INQUIRY data shorter than it tells, or telling too little, gives what is there", "[spc-4-6.4.2]") {
    CHECK_FALSE(read_standard_inquiry(Bytes(standard).first(4)));
    auto cut = read_standard_inquiry(Bytes(standard).first(20));
    REQUIRE(cut);
    CHECK(cut->vendor == "LIO-ORG");
    CHECK(cut->product == "disk");
    CHECK(cut->revision.empty());
    ByteVector old = standard;
    old[4] = std::byte{0};
    CHECK(read_standard_inquiry(old)->revision == "4.0");
}

TEST_CASE("the supported pages are those listed", "[spc-4-7.8.15]") {
    auto pages = read_supported_pages(page("00", hex("00 80 83 b0 b2")));
    REQUIRE(pages);
    CHECK(pages->count() == 5);
    CHECK(pages->test(vpd::block_limits));
    CHECK(pages->test(vpd::logical_block_provisioning));
    CHECK_FALSE(pages->test(vpd::block_characteristics));
}

TEST_CASE("a page is cut at the length it tells", "[spc-4-7.8]") {
    ByteVector data = page("00", hex("00 80 83 b0"));
    data[3] = std::byte{2};
    CHECK(read_supported_pages(data)->count() == 2);
    data[3] = std::byte{200};
    CHECK(read_supported_pages(data)->count() == 4);
}

TEST_CASE("an answer with another page code is refused", "[spc-4-7.8]") {
    CHECK_FALSE(read_supported_pages(page("80", hex("00"))));
    ByteVector fixed_disk = standard;
    fixed_disk[1] = std::byte{0}; // the removable bit of a standard answer stands where page 80h has its code
    CHECK_FALSE(read_unit_serial_number(fixed_disk));
    CHECK_FALSE(read_device_identification(page("80", {})));
    CHECK_FALSE(read_block_limits(standard));
    CHECK_FALSE(read_block_characteristics(limits_page));
    CHECK_FALSE(read_logical_block_provisioning(limits_page));
    auto error = read_block_limits(page("b1", {}));
    REQUIRE_FALSE(error);
    CHECK(error.error().detail == "VPD page B0h: the answer is page B1h");
}

TEST_CASE("the unit serial number is trimmed", "[spc-4-7.8.17]") {
    CHECK(*read_unit_serial_number(page("80", chars("  abc 123  "))) == "abc 123");
    CHECK(*read_unit_serial_number(page("80", chars(std::string_view("beaf11\0\0", 8)))) == "beaf11");
    CHECK(read_unit_serial_number(page("80", {}))->empty());
    CHECK(*read_unit_serial_number(page("80", hex("41 0a 42"))) == "A\\x0aB");
}

TEST_CASE("the best name of a unit is NAA, longest first, then EUI-64, then text", "[spc-4-7.8.6]") {
    auto found = identify({designator("02 01", chars("LIO-ORG disk0")), designator("01 02", eui8),
                           designator("53 08", chars("naa.name")), designator("03 08", chars("iqn.unit")),
                           designator("01 03", naa5), designator("01 03", naa6)});
    REQUIRE(found.unit.size() == 6);
    CHECK(found.unit[0] ==
          Designator{DesignatorType::naa, Association::logical_unit, "6001405abcdef0123456789abcdef012"});
    CHECK(found.unit[1] == Designator{DesignatorType::naa, Association::logical_unit, "5001405abcdef012"});
    CHECK(found.unit[2].type == DesignatorType::eui64);
    CHECK(found.unit[3] == Designator{DesignatorType::scsi_name, Association::logical_unit, "naa.name"});
    CHECK(found.unit[4].value == "iqn.unit");
    CHECK(found.unit[5] ==
          Designator{DesignatorType::t10_vendor, Association::logical_unit, "LIO-ORG disk0"});
}

TEST_CASE("the port that answered is known by its group, number and name", "[spc-4-7.8.6]") {
    auto found =
        identify({designator("51 94", hex("00 00 00 02")), designator("51 95", hex("00 00 01 03")),
                  designator("53 98", chars(std::string_view("iqn.2003-01.org:t,t,0x0001\0\0", 28)))});
    CHECK(found.unit.empty());
    CHECK(found.relative_target_port == 2);
    CHECK(found.target_port_group == 0x103);
    CHECK(found.target_port_name == "iqn.2003-01.org:t,t,0x0001");
}

TEST_CASE("names of the target device are not names of the unit", "[spc-4-7.8.6]") {
    CHECK(identify({designator("01 23", naa6), designator("01 33", naa6)}).unit.empty());
}

TEST_CASE("a designator that is not what its type promises is skipped", "[spc-4-7.8.6]") {
    auto found = identify({
        designator("01 03", hex("60 01 40 5a bc de f0 12")), // NAA 6 is 16 bytes long
        designator("01 03", hex("10 01 40 5a bc de f0 12")), // no NAA 1
        designator("01 03", {}),                             // empty
        designator("02 03", naa6),                           // NAA is binary
        designator("01 02", hex("01 02 03 04 05")),          // EUI-64 of five bytes
        designator("01 08", chars("naa.1")),                 // a name string is UTF-8
        designator("01 0a", hex("10 00 01 02")),             // a UUID of two bytes
        designator("01 00", hex("01 02 03")),                // vendor specific
        designator("01 06", hex("00 00 00 01")),             // a group, not a name
        designator("02 01", chars("    ")),                  // blank
        designator("01 02", hex("00 00 00 00 00 00 00 00")), // never filled in
        designator("01 94", hex("00 02")),                   // half a port number
        designator("01 95", hex("00 00 00 00 00 02")),       // a port group and a half
        designator("01 02", eui8),
    });
    REQUIRE(found.unit.size() == 1);
    CHECK(found.unit[0].value == "0011223344556677");
    CHECK_FALSE(found.relative_target_port);
    CHECK_FALSE(found.target_port_group);
}

TEST_CASE("a designator of length zero does not stop the walk", "[spc-4-7.8.6]") {
    CHECK(
        identify({designator("01 00", {}), designator("01 00", {}), designator("01 03", naa5)}).unit.size() ==
        1);
}

TEST_CASE("a page that ends inside a designator gives those before it", "[spc-4-7.8.6]") {
    ByteVector whole = page("83", join({designator("01 02", eui8), designator("01 03", naa6)}));
    for (std::size_t size = 4; size <= whole.size(); ++size) {
        auto found = read_device_identification(Bytes(whole).first(size));
        REQUIRE(found);
        std::size_t expected = size == whole.size() ? 2 : size >= 16 ? 1 : 0;
        REQUIRE(found->unit.size() == expected);
    }
}

TEST_CASE("a text name that is cut off is no name", "[spc-4-7.8.6]") {
    ByteVector whole = page("83", designator("02 01", chars("LIO-ORG disk0")));
    CHECK(read_device_identification(whole)->unit.size() == 1);
    CHECK(read_device_identification(Bytes(whole).first(whole.size() - 1))->unit.empty());
}

TEST_CASE("a UUID designator names a unit", "[spc-5-7.7.6.12]") {
    auto found = identify({designator("01 0a", hex("10 00 0123456789abcdef0123456789abcdef"))});
    REQUIRE(found.unit.size() == 1);
    CHECK(found.unit[0].value == "0123456789abcdef0123456789abcdef");
}

TEST_CASE("block limits", "[sbc-3-b0]") {
    auto limits = read_block_limits(limits_page);
    REQUIRE(limits);
    CHECK(limits->wsnz);
    CHECK(limits->optimal_granularity_blocks == 8);
    CHECK(limits->max_transfer_blocks == 0x2000);
    CHECK(limits->optimal_transfer_blocks == 0x1000);
    CHECK(limits->max_unmap_blocks == 0x400000);
    CHECK(limits->max_unmap_descriptors == 0x20);
    CHECK(limits->unmap_granularity_blocks == 16);
    CHECK(limits->unmap_alignment_blocks == 5);
    CHECK(limits->max_write_same_blocks == 0xffff);
}

TEST_CASE("a block limits page of the older, shorter kind has no unmap limits", "[sbc-2-b0]") {
    ByteVector data(limits_page.begin(), limits_page.begin() + 16);
    data[3] = std::byte{0x0c};
    auto limits = read_block_limits(data);
    REQUIRE(limits);
    CHECK(limits->max_transfer_blocks == 0x2000);
    CHECK(limits->max_unmap_blocks == 0);
    CHECK(limits->max_write_same_blocks == 0);
    // What stands behind the length that the page tells does not count.
    ByteVector longer = limits_page;
    longer[3] = std::byte{0x0c};
    CHECK(read_block_limits(longer)->max_unmap_blocks == 0);
}

TEST_CASE("block limits beyond sense are put right", "[sbc-3-b0]") {
    ByteVector data = limits_page;
    data[12] = std::byte{0x7f}; // optimum above the maximum
    data[24] = std::byte{0xff}; // more descriptors than an UNMAP can carry
    data[35] = std::byte{37};   // alignment above the granularity
    auto limits = read_block_limits(data);
    CHECK(limits->optimal_transfer_blocks == 0);
    CHECK(limits->max_unmap_descriptors == unmap_ranges_max);
    CHECK(limits->unmap_alignment_blocks == 5);
    data[32] = std::byte{0}; // UGAVALID
    CHECK(read_block_limits(data)->unmap_alignment_blocks == 0);
    data[32] = std::byte{0x80};
    data[31] = std::byte{0}; // no granularity at all
    CHECK(read_block_limits(data)->unmap_alignment_blocks == 0);
}

TEST_CASE("block characteristics", "[sbc-3-b1]") {
    auto found = read_block_characteristics(page("b1", hex("00 01 00 00 10")));
    REQUIRE(found);
    CHECK(found->rotation_rate == 1);
    CHECK(found->zoned == 1);
    CHECK(read_block_characteristics(page("b1", hex("1c 20")))->rotation_rate == 7200);
    CHECK(read_block_characteristics(page("b1", {}))->rotation_rate == 0);
}

TEST_CASE("logical block provisioning", "[sbc-3-b2]") {
    auto found = read_logical_block_provisioning(page("b2", hex("0b e4 02 00")));
    REQUIRE(found);
    CHECK(found->threshold_exponent == 11);
    CHECK(found->lbpu);
    CHECK(found->lbpws);
    CHECK(found->lbpws10);
    CHECK(found->lbprz);
    CHECK(found->provisioning_type == 2);
    found = read_logical_block_provisioning(page("b2", hex("00 40 00 00")));
    CHECK_FALSE(found->lbpu);
    CHECK(found->lbpws);
    CHECK_FALSE(found->lbpws10);
    CHECK_FALSE(found->lbprz);
}

TEST_CASE("INQUIRY and VPD data may be damaged anywhere", "[spc-4-6.4][spc-4-7.8]") {
    parse_damaged(standard, [](Bytes data) {
        auto inquiry = read_standard_inquiry(data);
        REQUIRE(inquiry.has_value() == (data.size() >= 5));
        REQUIRE((!inquiry || inquiry->vendor.size() <= 32));
    });
    parse_damaged(page("00", hex("00 80 83 b0")), [](Bytes data) { (void)read_supported_pages(data); });
    parse_damaged(page("80", chars("serial")), [](Bytes data) { (void)read_unit_serial_number(data); });
    parse_damaged(page("83", join({designator("51 94", hex("00 00 00 02")), designator("01 03", naa6),
                                   designator("03 08", chars("iqn.unit")), designator("02 01", chars("v"))})),
                  [](Bytes data) {
                      auto found = read_device_identification(data);
                      REQUIRE((!found || found->unit.size() <= data.size() / 4));
                  });
    parse_damaged(limits_page, [](Bytes data) {
        auto limits = read_block_limits(data);
        REQUIRE((!limits || limits->max_unmap_descriptors <= unmap_ranges_max));
        REQUIRE((!limits || limits->unmap_granularity_blocks == 0 ||
                 limits->unmap_alignment_blocks < limits->unmap_granularity_blocks));
    });
    parse_damaged(page("b1", hex("00 01 00 00 10")),
                  [](Bytes data) { (void)read_block_characteristics(data); });
    parse_damaged(page("b2", hex("0b e4 02 00")),
                  [](Bytes data) { (void)read_logical_block_provisioning(data); });
}

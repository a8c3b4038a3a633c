#include "isns/attributes.hpp"
#include "isns_bytes.hpp"

#include <catch2/catch.hpp>

using iscsi::base::Errc;
using iscsi::isns::Address;
using iscsi::isns::Attribute;
using iscsi::isns::AttributeReader;
using iscsi::isns::AttributeWriter;
using iscsi::isns::Tag;
using iscsi::test::bytes_from;
namespace base = iscsi::base;

namespace {

Address address_from(std::string_view text) {
    return base::load<Address>(bytes_from(text));
}

} // namespace

TEST_CASE("attributes are tag, length and padded value", "[rfc4171-5.3]") {
    AttributeWriter writer;
    writer.string(Tag::node_name, "iqn.x")
        .string(Tag::node_alias, "abc")
        .number(Tag::node_type, 2)
        .empty(Tag::delimiter)
        .address(Tag::portal_address, address_from("00000000 00000000 0000ffff c0000201"))
        .bytes(bytes_from("01020304"));
    CHECK(writer.take() == bytes_from("00000020 00000008 'iqn.x' 000000"
                                      "00000022 00000004 'abc' 00"
                                      "00000021 00000004 00000002"
                                      "00000000 00000000"
                                      "00000010 00000010 00000000 00000000 0000ffff c0000201"
                                      "01020304"));
}

TEST_CASE("attributes are read back, those that nobody knows too", "[rfc4171-5.3][rfc4171-6.1]") {
    auto bytes = bytes_from("00000020 00000008 'iqn.x' 000000"
                            "0000ffff 00000000"
                            "00000021 00000004 00000001"
                            "00000022 00000004 'abcd'");
    AttributeReader reader(bytes);
    auto name = reader.next();
    REQUIRE((name && *name));
    CHECK((*name)->is(Tag::node_name));
    CHECK((*name)->string() == "iqn.x");
    CHECK_FALSE((*name)->number().has_value());
    CHECK_FALSE((*name)->address().has_value());
    auto unknown = reader.next();
    REQUIRE((unknown && *unknown));
    CHECK((*unknown)->tag == 0xffff);
    CHECK((*unknown)->value.empty());
    CHECK_FALSE((*unknown)->string().has_value());
    auto number = reader.next();
    REQUIRE((number && *number));
    CHECK((*number)->number() == 1U);
    auto endless = reader.next();
    REQUIRE((endless && *endless));
    CHECK_FALSE((*endless)->string().has_value());
    auto end = reader.next();
    REQUIRE(end.has_value());
    CHECK_FALSE(end->has_value());
}

TEST_CASE("a length that lies is found out", "[rfc4171-5.3][hostile]") {
    auto text =
        GENERATE("00000020", "00000020 0000", "00000020 00000004", "00000020 00000008 00000000",
                 "00000020 ffffffff 00000000", "00000020 fffffffc 00000000", "00000020 80000000 00000000",
                 "00000020 00000003 00000000", "00000020 00000005 0000000000000000");
    auto bytes = bytes_from(text);
    AttributeReader reader(bytes);
    auto attribute = reader.next();
    REQUIRE_FALSE(attribute.has_value());
    CHECK(attribute.error().code == Errc::protocol);
}

TEST_CASE("addresses are written as people write them", "[rfc4171-6.3.1][rfc5952]") {
    struct Row {
        const char* bytes;
        const char* text;
    };
    auto row = GENERATE(Row{"00000000 00000000 0000ffff c0000201", "192.0.2.1"},
                        Row{"00000000 00000000 00000000 7f000001", "127.0.0.1"}, // open-isns
                        Row{"00000000 00000000 00000000 00000001", "::1"},
                        Row{"00000000 00000000 00000000 00000000", "::"},
                        Row{"20010db8 00000000 00000000 00000001", "2001:db8::1"},
                        Row{"20010db8 00000001 00010001 00010001", "2001:db8:0:1:1:1:1:1"},
                        Row{"20010db8 00000000 00010000 00000001", "2001:db8::1:0:0:1"},
                        Row{"20010000 00000001 00000000 00010001", "2001::1:0:0:1:1"},
                        Row{"fe800000 00000000 02000aff fe0b0000", "fe80::200:aff:fe0b:0"},
                        Row{"00010002 00030004 00050006 00070000", "1:2:3:4:5:6:7:0"},
                        Row{"00010002 00030004 00050006 00000000", "1:2:3:4:5:6::"},
                        Row{"00000000 00000000 0001ffff c0000201", "::1:ffff:c000:201"});
    CHECK(iscsi::isns::text_of(address_from(row.bytes)) == row.text);
}

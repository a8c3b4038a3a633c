#include "base/text.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <random>
#include <string>

namespace base = iscsi::base;
using namespace std::string_literals;

namespace {

std::optional<std::string> binary(std::string_view text, std::size_t max_bytes = 1024) {
    auto bytes = base::parse_rfc_binary(text, max_bytes);
    if (!bytes) {
        return std::nullopt;
    }
    return std::string(base::text_of(*bytes));
}

} // namespace

TEST_CASE("decimal numbers are taken whole or not at all", "[text]") {
    CHECK(base::parse_decimal("0") == 0U);
    CHECK(base::parse_decimal("007") == 7U);
    CHECK(base::parse_decimal("18446744073709551615") == UINT64_MAX);
    for (const char* bad : {"", " ", "-1", "+1", " 1", "1 ", "1x", "0x1", "1.0", "18446744073709551616",
                            "99999999999999999999"}) {
        INFO(bad);
        CHECK_FALSE(base::parse_decimal(bad));
    }
    CHECK_FALSE(base::parse_decimal("1\0"s));
}

TEST_CASE("numbers above the bound are refused at every bound", "[text]") {
    for (std::uint64_t max : {0ULL, 1ULL, 9ULL, 10ULL, 255ULL, 65535ULL, 1ULL << 63}) {
        CHECK(base::parse_decimal(std::to_string(max), max) == max);
        CHECK_FALSE(base::parse_decimal(std::to_string(max + 1), max));
        CHECK_FALSE(base::parse_decimal(std::to_string(max) + "0", max == 0 ? 0 : max).value_or(0) > max);
    }
    CHECK_FALSE(base::parse_decimal("5", 3));
}

TEST_CASE("numbers of text keys are decimal or hexadecimal", "[rfc7143-6.1][TEXT-03]") {
    CHECK(base::parse_rfc_number("0") == 0U);
    CHECK(base::parse_rfc_number("262144") == 262144U);
    CHECK(base::parse_rfc_number("0x1fF") == 0x1ffU);
    CHECK(base::parse_rfc_number("0X0000000000000000000010") == 16U);
    CHECK(base::parse_rfc_number("0xffffffffffffffff") == UINT64_MAX);
    for (const char* bad : {"", "0x", "0X", "x1", "01", "00", "0x1g", "0b11", "0x10000000000000000", "1e3"}) {
        INFO(bad);
        CHECK_FALSE(base::parse_rfc_number(bad));
    }
    CHECK_FALSE(base::parse_rfc_number("0x100", 0xff));
}

TEST_CASE("hexadecimal binaries may have upper, lower and an odd count of digits",
          "[rfc7143-6.1][TEXT-03][CHAP-04]") {
    CHECK(binary("0x41") == "A");
    CHECK(binary("0X4a4B") == "JK");
    CHECK(binary("0x1") == "\x01");
    CHECK(binary("0x14142") == "\x01"
                               "AB");
    CHECK(binary("0x000") == std::string(2, '\0'));
    for (const char* bad : {"", "0", "0x", "0xg", "0x4g", "0xg4", "0x 41", "0x41 ", "0x-1", "41", "x41"}) {
        INFO(bad);
        CHECK_FALSE(binary(bad));
    }
}

TEST_CASE("base64 binaries have whole groups and right padding",
          "[rfc7143-6.1][rfc4648-4][TEXT-03][CHAP-04]") {
    CHECK(binary("0bZm9vYmFy") == "foobar");
    CHECK(binary("0BZm9vYmE=") == "fooba");
    CHECK(binary("0bZm9vYg==") == "foob");
    CHECK(binary("0b+/+/") == "\xfb\xff\xbf");
    for (const char* bad : {"0b", "0b=", "0b==", "0b====", "0bZ", "0bZg", "0bZg=", "0bZ===", "0bZm9=v",
                            "0bZm9vYmFy=", "0bZm9vYmF*", "0bZm9 YmFy", "0bZh==", "0bZm9vYmF="}) {
        INFO(bad);
        CHECK_FALSE(binary(bad));
    }
}

TEST_CASE("binaries longer than the bound are refused", "[rfc7143-12.1.3][CHAP-04]") {
    CHECK(binary("0x414243", 3));
    CHECK_FALSE(binary("0x414243", 2));
    CHECK_FALSE(binary("0x14243", 2));
    CHECK(binary("0bZm9v", 3));
    CHECK_FALSE(binary("0bZm9v", 2));
    CHECK(binary("0bZm8=", 2));
    CHECK_FALSE(binary("0bZm8=", 1));
    CHECK_FALSE(binary("0bZg==", 0));
    CHECK_FALSE(binary("0x" + std::string(1 << 20, 'f'), 1024));
    CHECK_FALSE(binary("0b" + std::string(1 << 20, 'A'), 1024));
}

TEST_CASE("what hex_binary writes is read back", "[rfc7143-6.1]") {
    std::mt19937 random(1);
    for (std::size_t size = 1; size < 300; ++size) {
        std::string value(size, '\0');
        for (char& c : value) {
            c = static_cast<char>(random());
        }
        REQUIRE(binary(base::hex_binary(base::bytes_of(value))) == value);
    }
    CHECK(base::hex_binary({}) == "0x");
}

TEST_CASE("parsers of numbers and binaries survive any bytes", "[text]") {
    std::mt19937 random(2);
    constexpr std::string_view likely = "0123456789abcdefxXbB=+/ -\0\xff";
    for (int round = 0; round < 20000; ++round) {
        std::string text = round % 3 == 0 ? "0x" : round % 3 == 1 ? "0b" : "";
        std::size_t size = random() % 24;
        for (std::size_t i = 0; i < size; ++i) {
            text += likely[random() % likely.size()];
        }
        auto number = base::parse_rfc_number(text, 1000);
        REQUIRE((!number || *number <= 1000));
        auto bytes = base::parse_rfc_binary(text, 5);
        REQUIRE((!bytes || (!bytes->empty() && bytes->size() <= 5)));
    }
}

TEST_CASE("trim takes blanks from both ends only", "[text]") {
    CHECK(base::trim(" \t a b\r\n").data() != nullptr);
    CHECK(base::trim(" \t a b\r\n") == "a b");
    CHECK(base::trim("a") == "a");
    CHECK(base::trim(" \n ").empty());
    CHECK(base::trim("").empty());
}

TEST_CASE("split keeps empty parts", "[text]") {
    using Parts = std::vector<std::string_view>;
    CHECK(base::split("a,b", ',') == Parts{"a", "b"});
    CHECK(base::split("", ',') == Parts{""});
    CHECK(base::split(",", ',') == Parts{"", ""});
    CHECK(base::split("a,,b,", ',') == Parts{"a", "", "b", ""});
}

TEST_CASE("text of a peer cannot steer a terminal", "[text][NAME-07]") {
    CHECK(base::printable("plain text") == "plain text");
    CHECK(base::printable("a\x1b[2Jb\n") == "a\\x1b[2Jb\\x0a");
    CHECK(base::printable("\x7f"s + "\0"s) == "\\x7f\\x00");
    CHECK(base::printable("\xc2\x9b") == "\\xc2\\x9b");                   // CSI as one C1 character
    CHECK(base::printable("\xe2\x80\xae") == "\\xe2\\x80\\xae");          // right-to-left override
    CHECK(base::printable("\xe2\x81\xa6") == "\\xe2\\x81\\xa6");          // left-to-right isolate
    CHECK(base::printable("\xd8\x9c") == "\\xd8\\x9c");                   // Arabic letter mark
    CHECK(base::printable("\xf3\xa0\x80\x81") == "\\xf3\\xa0\\x80\\x81"); // language tag
}

TEST_CASE("only valid UTF-8 is left as it is", "[rfc3629-3]") {
    for (const char* good :
         {"\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x90\xa7", "\xef\xbf\xbd", "\xed\x9f\xbf"}) {
        CHECK(base::printable(good) == good);
    }
    CHECK(base::printable("\xc0\xaf") == "\\xc0\\xaf");                   // overlong
    CHECK(base::printable("\xe0\x80\xaf") == "\\xe0\\x80\\xaf");          // overlong
    CHECK(base::printable("\xf0\x80\x80\xaf") == "\\xf0\\x80\\x80\\xaf"); // overlong
    CHECK(base::printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");          // surrogate
    CHECK(base::printable("\xf4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80"); // above 10FFFF
    CHECK(base::printable("\xf5\x80\x80\x80") == "\\xf5\\x80\\x80\\x80");
    CHECK(base::printable("\xff") == "\\xff");
    CHECK(base::printable("\xe2\x82") == "\\xe2\\x82"); // cut short
    CHECK(base::printable("\xe2\x82z") == "\\xe2\\x82z");
}

TEST_CASE("printable text is cut at a character and says so", "[text]") {
    CHECK(base::printable("abcdef", 6) == "abcdef");
    CHECK(base::printable("abcdef", 5) == "abcde...");
    CHECK(base::printable("abc\n", 4) == "abc...");
    CHECK(base::printable("ab\xe2\x82\xac", 4) == "ab...");
    CHECK(base::printable("a", 0) == "...");
    CHECK(base::printable("", 0).empty());
    CHECK(base::printable(std::string(5000, 'x')).size() == 512 + 3);
}

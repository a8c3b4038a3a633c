// On plain files; a kernel's own are tests/guest.
#include "block/sysfs.hpp"
#include "support/temporary_directory.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

using namespace iscsi;

TEST_CASE("a device that is not there has no size") {
    CHECK_FALSE(block::kernel_size_bytes("ublkb98765"));
    CHECK_FALSE(block::kernel_size_bytes(""));
}

TEST_CASE("of an attribute the first line is read, and one that is not there is none") {
    test::TemporaryDirectory directory;
    const std::string path = directory.path() + "/backend";
    auto none = block::read_attribute(path);
    REQUIRE(none.has_value());
    CHECK_FALSE(none->has_value());
    std::ofstream(path) << "iscsid-0000000000000abc\nmore\n";
    auto some = block::read_attribute(path);
    REQUIRE(some.has_value());
    CHECK(some->value_or("") == "iscsid-0000000000000abc");
    std::ofstream(path, std::ios::trunc).close();
    some = block::read_attribute(path);
    REQUIRE(some.has_value());
    CHECK(some->value_or("none") == "");
}

TEST_CASE("an attribute that cannot be read is an error, and not absent") {
    test::TemporaryDirectory directory;
    CHECK_FALSE(block::read_attribute(directory.path()).has_value());
}

TEST_CASE("devices are found by the numbers in their names") {
    test::TemporaryDirectory directory;
    for (const char* name : {"nbd0", "nbd17", "nbd", "nbdx", "nbd3p1", "loop4"}) {
        std::filesystem::create_directory(directory.path() + "/" + name);
    }
    auto numbers = block::device_numbers(directory.path(), "nbd");
    REQUIRE(numbers.has_value());
    std::sort(numbers->begin(), numbers->end());
    CHECK(*numbers == std::vector<std::uint32_t>{0, 17});
}

TEST_CASE("a folder of devices that is not there has none, one that cannot be read is an error") {
    test::TemporaryDirectory directory;
    auto none = block::device_numbers(directory.path() + "/ublk-char", "ublkc");
    REQUIRE(none.has_value());
    CHECK(none->empty());
    const std::string file = directory.path() + "/file";
    std::ofstream(file) << "x";
    CHECK_FALSE(block::device_numbers(file, "ublkc").has_value());
}

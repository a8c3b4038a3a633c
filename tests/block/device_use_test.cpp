// What can be known without a block device of our own; the rest is tests/guest/udev.
#include "block/device_use.hpp"
#include "support/run_task.hpp"
#include "support/temporary_directory.hpp"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

using namespace iscsi;
using block::DeviceClaim;

namespace {

std::unique_ptr<ring::Loop> make_loop() {
    auto loop = ring::Loop::create(64);
    REQUIRE(loop.has_value());
    return std::move(*loop);
}

/// A file can be opened like a device, only that nobody is ever refused.
std::string make_file(const test::TemporaryDirectory& directory) {
    std::string path = directory.path() + "/device";
    std::ofstream(path) << "x";
    return path;
}

std::size_t open_descriptors() {
    std::filesystem::directory_iterator entries("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(entries, std::filesystem::directory_iterator()));
}

} // namespace

TEST_CASE("nobody uses a device that is not there") {
    CHECK(block::users_of("ublkb98765").empty());
    CHECK(block::openers_of("ublkb98765").empty());
    CHECK(block::users_of("").empty());
}

TEST_CASE("a claim on what is not there is refused as not found") {
    auto loop = make_loop();
    auto claim =
        test::run_task(*loop, DeviceClaim::open(*loop, "/dev/ublkb98765", DeviceClaim::Mode::exclusive));
    REQUIRE_FALSE(claim.has_value());
    CHECK(claim.error().code == base::Errc::not_found);
    CHECK(claim.error().message().find("/dev/ublkb98765") != std::string::npos);
}

TEST_CASE("a claim flushes, can be moved, and closes what it opened once") {
    auto loop = make_loop();
    test::TemporaryDirectory directory;
    const std::string path = make_file(directory);
    const std::size_t before = open_descriptors();
    {
        auto claim = test::run_task(*loop, DeviceClaim::open(*loop, path, DeviceClaim::Mode::shared));
        REQUIRE(claim.has_value());
        CHECK(open_descriptors() == before + 1);
        std::optional<DeviceClaim> other;
        other.emplace(std::move(*claim));
        CHECK(other->path() == path);
        CHECK(test::run_task(*loop, other->flush()).has_value());
        auto second = test::run_task(*loop, DeviceClaim::open(*loop, path, DeviceClaim::Mode::shared));
        REQUIRE(second.has_value());
        *other = std::move(*second);
        CHECK(test::run_task(*loop, other->flush()).has_value());
    }
    CHECK(open_descriptors() == before);
}

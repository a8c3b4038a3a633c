// What can be known without a block device of our own; the rest is tests/guest/udev.
#include "block/device_use.hpp"
#include "support/run_task.hpp"
#include "support/temporary_directory.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

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

TEST_CASE("a claim flushes, can be moved, and opens nothing in this process") {
    auto loop = make_loop();
    test::TemporaryDirectory directory;
    const std::string path = make_file(directory);
    auto is_open_here = [&] {
        auto leads_there = [&](const std::filesystem::directory_entry& entry) {
            std::error_code gone;
            return std::filesystem::read_symlink(entry.path(), gone) == path;
        };
        std::filesystem::directory_iterator entries("/proc/self/fd");
        return std::any_of(begin(entries), end(entries), leads_there);
    };
    auto claim = test::run_task(*loop, DeviceClaim::open(*loop, path, DeviceClaim::Mode::shared));
    REQUIRE(claim.has_value());
    CHECK_FALSE(is_open_here());
    std::vector<DeviceClaim> claims;
    claims.push_back(std::move(*claim));
    CHECK(claims[0].path() == path);
    CHECK(test::run_task(*loop, claims[0].flush()).has_value());
    auto second = test::run_task(*loop, DeviceClaim::open(*loop, path, DeviceClaim::Mode::shared));
    REQUIRE(second.has_value());
    claims.push_back(std::move(*second));
    bool released = false;
    ring::Task<void> release = block::release(claims);
    release.start([](void* flag) { *static_cast<bool*>(flag) = true; }, &released);
    while (!released) {
        loop->turn();
    }
    CHECK(claims.empty());
}

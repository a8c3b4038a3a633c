// The helper's process itself: what is asked of the kernel's drivers is tests/guest.
#include "block/device_helper.hpp"
#include "block/device_use.hpp"
#include "ring/await.hpp"
#include "support/run_task.hpp"
#include "support/serve_as_device_helper.hpp"
#include "support/temporary_directory.hpp"

#include <catch2/catch.hpp>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

using namespace iscsi;
using block::DeviceClaim;
using block::DeviceHelper;

namespace {

namespace fs = std::filesystem;

std::unique_ptr<ring::Loop> make_loop() {
    auto loop = ring::Loop::create(64);
    REQUIRE(loop.has_value());
    return std::move(*loop);
}

std::string make_file(const test::TemporaryDirectory& directory) {
    std::string path = directory.path() + "/device";
    std::ofstream(path) << "x";
    return path;
}

int ask(ring::Loop& loop, DeviceHelper& helper, const std::string& request, base::Deadline deadline = {}) {
    return test::run_task(loop, helper.ask(request, deadline)).result;
}

/// Those that have ended and were not reaped, too.
std::vector<std::string> children() {
    std::ifstream file("/proc/self/task/" + std::to_string(::getpid()) + "/children");
    std::vector<std::string> out;
    for (std::string pid; file >> pid;) {
        out.push_back(pid);
    }
    return out;
}

void turn_until_childless(ring::Loop& loop) {
    while (!children().empty()) {
        loop.turn(ring::monotonic_now() + std::chrono::milliseconds(20));
    }
}

std::string status_of(const std::string& pid, const std::string& key) {
    std::ifstream file("/proc/" + pid + "/status");
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with(key + ":\t")) {
            return line.substr(key.size() + 2);
        }
    }
    return {};
}

ring::Task<bool> release(DeviceClaim& claim) {
    co_await claim.release();
    co_return true;
}

bool is_locked(const std::string& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    const bool locked = ::flock(file, LOCK_SH | LOCK_NB) != 0;
    ::close(file);
    return locked;
}

} // namespace

TEST_CASE("a helper has memory and files of its own, and ends when nobody asks any more") {
    auto loop = make_loop();
    {
        auto helper = DeviceHelper::start(*loop);
        REQUIRE(helper.has_value());
        CHECK(ask(*loop, **helper, "release") == 0);
        const std::vector<std::string> pids = children();
        REQUIRE(pids.size() == 1);
        CHECK(std::distance(fs::directory_iterator("/proc/" + pids[0] + "/fd"), fs::directory_iterator()) ==
              3);
        CHECK(status_of(pids[0], "Threads") == "1");
        CHECK(status_of(pids[0], "VmLck") == "       0 kB");
    }
    turn_until_childless(*loop); // CTest ends a test that waits for ever
}

TEST_CASE("a helper says so when it does not know what it is asked for") {
    auto loop = make_loop();
    {
        auto helper = DeviceHelper::start(*loop);
        REQUIRE(helper.has_value());
        CHECK(ask(*loop, **helper, "dance") == -ENOSYS);
        CHECK(ask(*loop, **helper, "claim") == -ENOSYS);
        CHECK(ask(*loop, **helper, "start-ublk 1 x") == -EINVAL);
        CHECK(ask(*loop, **helper, "resize-nbd 1 b 1 -5") == -EINVAL);
        CHECK(ask(*loop, **helper, "settle-nbd x b 1") == -EINVAL);
        CHECK(ask(*loop, **helper, "flush") == -EBADF);
    }
    turn_until_childless(*loop);
}

TEST_CASE("a helper that stands still is given up at the deadline, and can be asked when it is back") {
    auto loop = make_loop();
    test::TemporaryDirectory directory;
    const std::string path = directory.path() + "/pipe";
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0); // to open it is to wait for somebody who writes
    {
        auto helper = DeviceHelper::start(*loop);
        REQUIRE(helper.has_value());
        const auto deadline = ring::monotonic_now() + std::chrono::milliseconds(50);
        CHECK(ask(*loop, **helper, "claim shared " + path, deadline) == -ETIME);
        CHECK(ask(*loop, **helper, "release") == -ETIME); // at once
        const int writer = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
        CHECK(writer >= 0);
        while (ask(*loop, **helper, "flush") == -ETIME) {
            loop->turn(ring::monotonic_now() + std::chrono::milliseconds(20));
        }
        CHECK(ask(*loop, **helper, "flush") ==
              -EINVAL); // of a pipe: the answer to this request, not to an earlier one
        CHECK(ask(*loop, **helper, "release") == 0);
        ::close(writer);
    }
    turn_until_childless(*loop);
}

TEST_CASE("a helper that stands still when it is left alone ends when it can") {
    auto loop = make_loop();
    test::TemporaryDirectory directory;
    const std::string path = directory.path() + "/pipe";
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    DeviceHelper::tell(*loop, "claim shared " + path);
    CHECK(children().size() == 1);
    // Waits until the helper has come to read from the pipe, too: it does what it was told.
    const int writer = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    CHECK(writer >= 0);
    turn_until_childless(*loop);
    ::close(writer);
}

TEST_CASE("a helper that is killed is noticed by whoever asks") {
    auto loop = make_loop();
    {
        auto helper = DeviceHelper::start(*loop);
        REQUIRE(helper.has_value());
        CHECK(ask(*loop, **helper, "release") == 0);
        REQUIRE(::kill(std::stoi(children().at(0)), SIGKILL) == 0);
        CHECK(ask(*loop, **helper, "release") == -EPIPE);
        CHECK(ask(*loop, **helper, "release") == -EPIPE);
    }
    turn_until_childless(*loop);
}

TEST_CASE("a claim holds the lock that keeps udev out, until it is released") {
    auto loop = make_loop();
    test::TemporaryDirectory directory;
    const std::string path = make_file(directory);
    auto claim = test::run_task(*loop, DeviceClaim::open(*loop, path, DeviceClaim::Mode::shared));
    REQUIRE(claim.has_value());
    CHECK(is_locked(path));
    CHECK(test::run_task(*loop, claim->flush()).has_value());
    CHECK(is_locked(path));
    test::run_task(*loop, release(*claim));
    CHECK_FALSE(is_locked(path));
    turn_until_childless(*loop);
}

TEST_CASE("a claim waits for whoever holds the lock, and does not for ever") {
    auto loop = make_loop();
    test::TemporaryDirectory directory;
    const std::string path = make_file(directory);
    const int prober = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    REQUIRE(::flock(prober, LOCK_SH) == 0);
    const base::TimePoint begun = ring::monotonic_now();
    {
        auto claim = test::run_task(*loop, DeviceClaim::open(*loop, path, DeviceClaim::Mode::shared));
        CHECK(claim.has_value());
        CHECK(ring::monotonic_now() - begun > std::chrono::seconds(4));
    }
    ::close(prober);
    turn_until_childless(*loop);
}

// The life of a ublk device as control sees it: start, resize, quiesce, stop, what is found again.
#include "ublk_bench.hpp"

#include <cerrno>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <thread>

using namespace iscsi;
using test::ShownDisk;
using test::UblkBench;
using test::UblkDisk;

namespace {

constexpr std::size_t disk_bytes = std::size_t{16} << 20;

/// A procedure that goes on while the test does something else on its loop.
class Begun {
public:
    Begun(UblkBench& bench, ring::Task<base::Result<void>> task) : bench_(bench), task_(std::move(task)) {
        task_.start([](void* flag) { *static_cast<bool*>(flag) = true; }, &done_);
    }
    /// Gives it `time` to end; whether it has.
    bool ended_within(base::Duration time) {
        const base::TimePoint end = ring::monotonic_now() + time;
        while (!done_ && ring::monotonic_now() < end) {
            bench_.loop->turn(end);
        }
        return done_;
    }
    base::Result<void> result() { return task_.result(); }

private:
    UblkBench& bench_;
    ring::Task<base::Result<void>> task_;
    bool done_ = false;
};

bool is_there(const std::string& path) {
    return std::filesystem::exists(path);
}

int read_block(const std::string& path, std::uint64_t offset) {
    test::File file(path, O_RDONLY | O_DIRECT);
    test::Aligned data(4096);
    return ::pread(file.fd, data.data(), data.size(), static_cast<off_t>(offset)) == 4096 ? 0 : errno;
}

} // namespace

TEST_CASE("a device is there when start() is done and gone when remove() is", "[ublk]") {
    UblkBench bench;
    UblkDisk disk(bench, test::disk_request(disk_bytes));
    const std::string path = disk.path();
    CHECK(path == "/dev/" + disk.device->name());
    CHECK(disk.device->outlives_daemon());
    CHECK_FALSE(is_there(path));
    disk.show();
    CHECK(is_there(path));
    CHECK(read_block(path, 0) == 0);
    disk.remove();
    CHECK_FALSE(is_there(path));
    CHECK(test::eventually([] { return test::ublk_devices() == 0; }));
}

TEST_CASE("a device that was never started is removed, too", "[ublk]") {
    UblkBench bench;
    UblkDisk disk(bench, test::disk_request(disk_bytes));
    disk.remove();
    CHECK(test::eventually([] { return test::ublk_devices() == 0; }));
}

TEST_CASE("a device that nobody serves does not keep start() for ever", "[ublk]") {
    UblkBench bench;
    auto made = bench.run(block::UblkDevice::create(*bench.control, test::disk_request(disk_bytes)));
    REQUIRE(made);
    const base::TimePoint begun = ring::monotonic_now();
    auto started = bench.run((*made)->start());
    CHECK_FALSE(started);
    CHECK(ring::monotonic_now() - begun < std::chrono::seconds(20));
    CHECK(bench.run((*made)->remove()));
}

TEST_CASE("control goes on while a target does not answer the reading of the partition table", "[ublk]") {
    UblkBench bench;
    UblkDisk held(bench, test::disk_request(disk_bytes));
    held.hold();
    Begun start(bench, held.device->start());
    CHECK(test::eventually([&] {
        bench.loop->turn(ring::monotonic_now() + std::chrono::milliseconds(1));
        return held.held() > 0;
    }));
    {
        ShownDisk other(bench, test::disk_request(disk_bytes));
        CHECK(read_block(other.path(), 4096) == 0);
    }
    CHECK(held.held() > 0);
    held.let_go();
    REQUIRE(start.ended_within(std::chrono::seconds(60)));
    CHECK(start.result());
    CHECK(read_block(held.path(), 4096) == 0);
}

TEST_CASE("control goes on while many targets do not answer the reading of the partition table", "[ublk]") {
    constexpr int many = 20;
    UblkBench bench;
    std::vector<std::unique_ptr<UblkDisk>> disks;
    std::vector<std::unique_ptr<Begun>> starts;
    for (int i = 0; i < many; ++i) {
        auto& disk = disks.emplace_back(std::make_unique<UblkDisk>(bench, test::disk_request(1 << 20)));
        disk->hold();
        starts.push_back(std::make_unique<Begun>(bench, disk->device->start()));
    }
    CHECK(test::eventually([&] {
        bench.loop->turn(ring::monotonic_now() + std::chrono::milliseconds(1));
        return std::all_of(disks.begin(), disks.end(), [](auto& disk) { return disk->held() > 0; });
    }));
    {
        ShownDisk other(bench, test::disk_request(disk_bytes));
        CHECK(read_block(other.path(), 4096) == 0);
    }
    for (int i = 0; i < many; ++i) {
        disks[i]->let_go();
        REQUIRE(starts[i]->ended_within(std::chrono::seconds(60)));
        CHECK(starts[i]->result());
    }
}

TEST_CASE("a stop waits for the requests that are at the handler, and they end well", "[ublk]") {
    UblkBench bench;
    ShownDisk disk(bench, test::disk_request(disk_bytes));
    disk.hold();
    int read = -1;
    std::thread reader([&] { read = read_block(disk.path(), 8192); });
    CHECK(test::eventually([&] { return disk.held() > 0; }));
    Begun removal(bench, disk.device->remove());
    CHECK_FALSE(removal.ended_within(std::chrono::milliseconds(500)));
    disk.let_go();
    REQUIRE(removal.ended_within(std::chrono::seconds(60)));
    CHECK(removal.result());
    reader.join();
    CHECK(read == 0);
    disk.server.close();
    disk.device.reset();
    CHECK(test::eventually([] { return test::ublk_devices() == 0; }));
}

TEST_CASE("a device that is open is stopped all the same, and the next one is not in its way", "[ublk]") {
    UblkBench bench;
    ShownDisk disk(bench, test::disk_request(disk_bytes));
    test::File file(disk.path(), O_RDONLY | O_DIRECT);
    disk.remove();
    test::Aligned data(4096);
    CHECK(::pread(file.fd, data.data(), data.size(), 0) <= 0);
    ShownDisk next(bench, test::disk_request(disk_bytes));
    CHECK(read_block(next.path(), 0) == 0);
}

TEST_CASE("a device grows while it is in use, or says that this kernel cannot", "[ublk]") {
    UblkBench bench;
    ShownDisk disk(bench, test::disk_request(disk_bytes));
    block::Attributes larger = test::disk_attributes(2 * disk_bytes);
    test::File file(disk.path(), O_RDONLY | O_DIRECT);
    disk.server.run([&] { disk.memory.data.resize(2 * disk_bytes); });
    auto resized = bench.run(disk.device->resize(larger));
    std::uint64_t size = 0;
    REQUIRE(::ioctl(file.fd, BLKGETSIZE64, &size) == 0);
    if ((bench.features() & block::ublk::feature_update_size) == 0) {
        REQUIRE_FALSE(resized);
        CHECK(resized.error().code == base::Errc::not_supported);
        CHECK(size == disk_bytes);
    } else {
        INFO((resized ? "" : resized.error().detail));
        REQUIRE(resized);
        CHECK(size == 2 * disk_bytes);
        CHECK(read_block(disk.path(), 2 * disk_bytes - 4096) == 0);
    }
}

TEST_CASE("a device is taken from its server and given to the next without an error", "[ublk]") {
    UblkBench bench;
    const block::KernelDeviceRequest request = test::disk_request(disk_bytes);
    ShownDisk disk(bench, request);
    const unsigned number = static_cast<block::UblkDevice&>(*disk.device).number();
    const int result = bench.run(bench.control->quiesce_device(number, std::chrono::seconds(5)));
    if ((bench.features() & block::ublk::feature_quiesce) == 0) {
        CHECK(result == -EOPNOTSUPP);
        return;
    }
    REQUIRE(result == 0);
    int read = -1;
    const std::string path = disk.path();
    std::thread reader([&] { read = read_block(path, 4096); });
    disk.server.close();
    disk.device.reset();
    auto taken = bench.run(block::UblkDevice::take_back(*bench.control, request));
    INFO((taken ? "" : taken.error().detail));
    REQUIRE(taken);
    disk.device = std::move(*taken);
    disk.server.serve(*disk.device, disk.memory);
    CHECK(bench.run(disk.device->start()));
    reader.join();
    CHECK(read == 0);
}

TEST_CASE("for a device whose lock is held there is one helper, however often it is tried", "[ublk]") {
    UblkBench bench;
    const block::KernelDeviceRequest request = test::disk_request(disk_bytes);
    UblkDisk disk(bench, request);
    disk.hold();
    Begun start(bench, disk.device->start());
    CHECK(test::eventually([&] {
        bench.loop->turn(ring::monotonic_now() + std::chrono::milliseconds(1));
        return disk.held() > 0;
    }));
    if (start.ended_within(std::chrono::seconds(1))) {
        disk.let_go();
        return; // Linux 7 reads the partition table without the lock
    }
    for (int round = 0; round < 3; ++round) {
        const base::TimePoint begun = ring::monotonic_now();
        auto taken = bench.run(block::UblkDevice::take_back(*bench.control, request));
        REQUIRE_FALSE(taken);
        CHECK(taken.error().code == base::Errc::busy);
        CHECK((round == 0 || ring::monotonic_now() - begun < std::chrono::seconds(5)));
        CHECK(test::device_helpers().size() == 2); // that of the start, and one
    }
    disk.let_go();
    REQUIRE(start.ended_within(std::chrono::seconds(60)));
    CHECK(start.result());
}

TEST_CASE("nothing is taken back that was not there, or that nobody has seen", "[ublk]") {
    UblkBench bench;
    block::KernelDeviceRequest request = test::disk_request(disk_bytes);
    auto none = bench.run(block::UblkDevice::take_back(*bench.control, request));
    REQUIRE_FALSE(none);
    CHECK(none.error().code == base::Errc::not_found);
    {
        auto made = bench.run(block::UblkDevice::create(*bench.control, request));
        REQUIRE(made);
    }
    CHECK(test::ublk_devices() == 1);
    none = bench.run(block::UblkDevice::take_back(*bench.control, request));
    REQUIRE_FALSE(none);
    CHECK(none.error().code == base::Errc::not_found);
    CHECK(test::eventually([] { return test::ublk_devices() == 0; }));
}

// For a guest in which udev runs, with our rules.
TEST_CASE("the links of a device are there when it has started, and gone when it was removed",
          "[.ublk-udev]") {
    REQUIRE(block::udev_is_running());
    UblkBench bench;
    auto request = test::disk_request(disk_bytes);
    request.by_path_name = "ip-192.0.2.1:3260-iscsi-iqn.2004-01.example:disk-lun-1";
    request.properties = {{"ID_PATH", request.by_path_name}, {"ID_SERIAL", "36001405000000002"}};
    for (int round = 0; round < 3; ++round) {
        UblkDisk disk(bench, request);
        REQUIRE(bench.run(disk.device->start()));
        REQUIRE_FALSE(disk.device->links().empty());
        const std::string link = disk.device->links().front();
        CHECK(link == "/dev/disk/by-path/" + request.by_path_name);
        CHECK(std::filesystem::canonical(link) == disk.path());
        std::size_t requests = 0;
        std::string scheduler;
        std::ifstream("/sys/block/" + disk.device->name() + "/queue/nr_requests") >> requests;
        std::ifstream("/sys/block/" + disk.device->name() + "/queue/scheduler") >> scheduler;
        CHECK(requests == request.depth);
        CHECK(scheduler == "[none]");
        disk.remove();
        CHECK_FALSE(is_there(link));
    }
}

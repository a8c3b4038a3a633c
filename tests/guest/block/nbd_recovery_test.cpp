// What becomes of I/O when the daemon that serves an nbd device is killed, when its socket dies, and when its
// target is slow.
#include "nbd_bench.hpp"

#include <algorithm>
#include <cstdio>

using namespace iscsi;
using test::Beside;
using test::NbdDaemon;
using test::NbdDisk;
using test::SharedDisk;

namespace {

constexpr std::size_t disk_bytes = std::size_t{64} << 20;

double seconds_since(base::TimePoint start) {
    return std::chrono::duration<double>(ring::monotonic_now() - start).count();
}

} // namespace

TEST_CASE("experiment: resend time", "[exp]") {
    SharedDisk disk(disk_bytes);
    auto request = test::disk_request(disk_bytes);
    std::optional<NbdDaemon> daemon;
    daemon.emplace(disk, request, false);
    INFO(daemon->name);
    REQUIRE(daemon->name.starts_with("nbd"));
    const char* ms = std::getenv("IO_TIMEOUT");
    if (ms != nullptr) {
        std::ofstream("/sys/block/" + daemon->name + "/queue/io_timeout") << ms;
    }
    std::printf("io_timeout %s nr_requests %s max_sectors %s sched %s\n", test::sysfs(daemon->name, "queue/io_timeout").c_str(),
                test::sysfs(daemon->name, "queue/nr_requests").c_str(), test::sysfs(daemon->name, "queue/max_sectors_kb").c_str(),
                test::sysfs(daemon->name, "queue/scheduler").c_str());
    for (int round = 0; round < 4; ++round) {
        disk.board().hold = true;
        unsigned before = disk.board().requests;
        Beside fio("fio --name=x --filename=/dev/" + daemon->name +
                   " --ioengine=libaio --direct=1 --rw=randwrite --bs=4k --iodepth=32 --number_ios=64 --minimal >/dev/null");
        CHECK(test::eventually([&] { return disk.board().requests >= before + 32; }));
        ::usleep(300'000 * round);
        auto t = ring::monotonic_now();
        daemon.reset();
        disk.board().hold = false;
        daemon.emplace(disk, request, true);
        INFO(daemon->name);
        REQUIRE(daemon->name.starts_with("nbd"));
        double taken = seconds_since(t);
        CHECK(fio.status() == 0);
        std::printf("round %d: taken back after %.2f s, I/O done after %.2f s\n", round, taken, seconds_since(t));
    }
    // slow target
    disk.board().hold = true;
    std::size_t lines = test::kernel_lines("Possible stuck");
    unsigned before = disk.board().requests;
    Beside fio("fio --name=x --filename=/dev/" + daemon->name +
               " --ioengine=libaio --direct=1 --rw=randwrite --bs=4k --iodepth=32 --number_ios=32 --minimal >/dev/null");
    CHECK(test::eventually([&] { return disk.board().requests >= before + 32; }));
    ::sleep(20);
    CHECK(disk.board().requests == before + 32);
    disk.board().hold = false;
    CHECK(fio.status() == 0);
    std::printf("slow: %u requests, %zu lines\n", disk.board().requests - before, test::kernel_lines("Possible stuck") - lines);
    std::fflush(stdout);
}

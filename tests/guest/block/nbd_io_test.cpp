// What users of an nbd device see, and what reaches the handler for it.
#include "nbd_bench.hpp"

#include "block/nbd_netlink.hpp"
#include "block/nbd_probe.hpp"
#include "block/sysfs.hpp"
#include "support/serve_as_device_helper.hpp"

#include <cerrno>
#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

using namespace iscsi;
using test::Beside;
using test::Load;
using test::NbdDisk;

namespace {

constexpr std::size_t disk_bytes = std::size_t{64} << 20;

std::uint64_t size_of(const std::string& path) {
    test::File file(path, O_RDONLY);
    std::uint64_t bytes = 0;
    REQUIRE(::ioctl(file.fd, BLKGETSIZE64, &bytes) == 0);
    return bytes;
}

/// Linux 6.12 and later send write zeroes.
bool sends_zeroes(const std::string& name) {
    return test::sysfs(name, "queue/write_zeroes_max_bytes") != "0";
}

} // namespace

TEST_CASE(
    "the self-test finds that nbd works and leaves nothing behind; netlink works in a network of its own",
    "[nbd]") {
    auto loop = std::move(*ring::Loop::create(64));
    auto words = test::run_task(*loop, block::probe_nbd(*loop));
    INFO((words ? *words : words.error().message()));
    REQUIRE(words);
    CHECK(words->find("netlink") != std::string::npos);
    CHECK(test::nbd_count("backend") == 0);
    CHECK(test::eventually([] { return !std::filesystem::exists("/sys/block/nbd4000"); }));
    CHECK(std::filesystem::is_empty("/run/iscsid/udev"));
    bool found = false;
    std::thread([&found] {
        if (::unshare(CLONE_NEWNET) == 0) {
            auto netlink = block::NbdNetlink::open();
            found = netlink && netlink->status() && netlink->watch_links();
        }
    }).join();
    CHECK(found);
}

TEST_CASE("what is written at depth 32 is read back, in small requests and in the longest", "[nbd]") {
    NbdDisk disk(test::disk_request(disk_bytes));
    CHECK(test::shell(test::fio_verify(disk.path(), "--rw=randwrite --bs=4k --iodepth=32 --size=4m")) == 0);
    std::ofstream("/sys/block/" + disk.name() + "/queue/max_sectors_kb")
        << test::sysfs(disk.name(), "queue/max_hw_sectors_kb");
    CHECK(test::shell(test::fio_verify(disk.path(),
                                       "--rw=randwrite --bsrange=512-4m --bs_unaligned=0 --blockalign=512 "
                                       "--iodepth=32 --size=24m --verify_backlog=64")) == 0);
    CHECK(test::shell(test::fio_verify(disk.path(), "--rw=write --bs=32m --iodepth=2 --size=64m")) == 0);
    CHECK(disk.server.pool_claimed() == 0);
}

TEST_CASE("ext4 and xfs live on /dev/nbdN", "[nbd]") {
    NbdDisk disk(test::disk_request(std::size_t{320} << 20));
    for (std::string make : {"mkfs.ext4 -q -F", "mkfs.xfs -q -f"}) {
        INFO(make);
        const std::string dev = disk.path();
        CHECK(test::shell(make + " " + dev) == 0);
        CHECK(test::shell("mkdir -p /run/mnt && mount " + dev + " /run/mnt") == 0);
        CHECK(test::shell(
                  "cp -r /usr/include/asm-generic /run/mnt/ && sync -f /run/mnt && fstrim /run/mnt") == 0);
        CHECK(test::shell("umount /run/mnt && mount " + dev + " /run/mnt") == 0);
        CHECK(test::shell("diff -r /usr/include/asm-generic /run/mnt/asm-generic && umount /run/mnt") == 0);
    }
    CHECK(disk.count(block::Verb::discard) > 0);
    CHECK(disk.count(block::Verb::flush) > 0);
}

TEST_CASE("nbd: flush, force unit access, discard and zeroes reach the handler as what they are", "[nbd]") {
    NbdDisk disk(test::disk_request(disk_bytes));
    test::File file(disk.path(), O_RDWR | O_DIRECT);
    REQUIRE(file.fd >= 0);
    test::Aligned data(65536, 0x5a);
    std::size_t flushes = disk.count(block::Verb::flush);
    REQUIRE(::pwrite(file.fd, data.data(), data.size(), 0) == 65536);
    CHECK(::fsync(file.fd) == 0);
    CHECK(disk.count(block::Verb::flush) > flushes);
    test::File synced(disk.path(), O_RDWR | O_DIRECT | O_DSYNC);
    REQUIRE(::pwrite(synced.fd, data.data(), data.size(), 65536) == 65536);
    CHECK(disk.server.run([&] { return disk.memory.fua_seen; }) > 0);

    std::uint64_t range[2] = {0, 65536};
    CHECK(::ioctl(file.fd, BLKDISCARD, range) == 0);
    CHECK(disk.count(block::Verb::discard) == 1);
    range[0] = 65536;
    CHECK(::ioctl(file.fd, BLKZEROOUT, range) == 0);
    CHECK(disk.count(block::Verb::write_zeroes) == (sends_zeroes(disk.name()) ? 1 : 0));
    test::Aligned read(131072, 1);
    REQUIRE(::pread(file.fd, read.data(), read.size(), 0) == 131072);
    CHECK(read.all(0));
}

TEST_CASE("nbd: a unit without a volatile cache is sent no flushes", "[nbd]") {
    auto request = test::disk_request(disk_bytes);
    request.attributes.volatile_cache = false;
    NbdDisk disk(request);
    CHECK(test::sysfs(disk.name(), "queue/write_cache") == "write through");
    test::File file(disk.path(), O_RDWR | O_DIRECT | O_DSYNC);
    test::Aligned data(4096);
    REQUIRE(::pwrite(file.fd, data.data(), data.size(), 0) == 4096);
    CHECK(disk.count(block::Verb::flush) == 0);
}

TEST_CASE("nbd: blocks of 4096 bytes, and a unit that is read only", "[nbd]") {
    auto request = test::disk_request(disk_bytes);
    request.attributes.logical_block_bytes = 4096;
    request.attributes.physical_block_bytes = 4096;
    {
        NbdDisk disk(request);
        CHECK(test::sysfs(disk.name(), "queue/logical_block_size") == "4096");
        CHECK(size_of(disk.path()) == disk_bytes);
        CHECK(test::shell(test::fio_verify(disk.path(), "--rw=randwrite --bs=4k --iodepth=8 --size=4m")) ==
              0);
        test::File file(disk.path(), O_RDWR | O_DIRECT);
        test::Aligned data(4096);
        CHECK(::pwrite(file.fd, data.data(), 512, 0) < 0);
    }
    request = test::disk_request(disk_bytes);
    request.attributes.read_only = true;
    NbdDisk disk(request);
    CHECK(test::sysfs(disk.name(), "ro") == "1");
    test::File file(disk.path(), O_RDONLY);
    test::Aligned data(4096, 1);
    CHECK(::pread(file.fd, data.data(), 4096, 4096) == 4096);
    test::File refused(disk.path(), O_WRONLY);
    CHECK((refused.fd < 0 || ::pwrite(refused.fd, data.data(), 4096, 0) < 0));
    request.attributes.logical_block_bytes = 8192;
    auto loop = std::move(*ring::Loop::create(64));
    auto too_long = test::run_task(*loop, block::NbdDevice::create(*loop, request));
    CHECK((!too_long && too_long.error().code == base::Errc::not_supported));
}

TEST_CASE("nbd: errors of the handler fail the I/O", "[nbd]") {
    NbdDisk disk(test::disk_request(disk_bytes));
    test::File file(disk.path(), O_RDWR | O_DIRECT);
    test::Aligned data(4096);
    disk.server.run([&] { disk.memory.error_number = ENODATA; });
    errno = 0;
    CHECK(::pread(file.fd, data.data(), 4096, 8192) < 0);
    CHECK(errno == EIO);
    disk.server.run([&] { disk.memory.error_number = 0; });
    CHECK(::pread(file.fd, data.data(), 4096, 8192) == 4096);
}

TEST_CASE("nbd: a device grows and shrinks while it is used", "[nbd][nbd-resize]") {
    auto request = test::disk_request(disk_bytes);
    NbdDisk disk(request);
    Load load(disk.path());
    std::uint64_t bytes = disk_bytes / 2;
    for (int round = 0; round < 60; ++round) {
        bytes = bytes == disk_bytes ? disk_bytes / 2 : disk_bytes;
        request.attributes.size_bytes = bytes;
        disk.server.run([&] { disk.server.queue->resize(request.attributes); });
        REQUIRE(test::run_task(*disk.loop, disk.device->resize(request.attributes)));
        CHECK(size_of(disk.path()) == bytes);
        CHECK(block::kernel_size_bytes(disk.name()) == bytes);
        ::usleep(50'000);
    }
    CHECK_FALSE(load.done());
    CHECK(load.finish());
    CHECK(test::request_limit(disk.name()) == "0");
}

TEST_CASE("udev's file of a device that is nobody's any more is removed, and no other", "[nbd]") {
    const std::string folder = "/run/iscsid/udev/";
    REQUIRE(block::write_udev_properties("nbd98", 0xabc, {{"ID_SERIAL", "a"}}));
    REQUIRE(block::write_udev_properties("ublkb97", 0xabd, {{"ID_SERIAL", "b"}}));
    block::forget_udev_properties_of(0xabc);
    CHECK_FALSE(std::filesystem::exists(folder + "nbd98"));
    CHECK(std::filesystem::exists(folder + "ublkb97"));
    block::forget_udev_properties_of(0xabd);
    CHECK(std::filesystem::is_empty(folder));
}

TEST_CASE("nbd: removing a device ends it for its users, whatever is in progress", "[nbd]") {
    std::unique_ptr<Beside> writer; // ends after the device, whatever fails
    NbdDisk disk(test::disk_request(disk_bytes));
    disk.hold_writes();
    writer = std::make_unique<Beside>("dd if=/dev/zero of=" + disk.path() +
                                      " bs=4k count=8 oflag=direct 2>/dev/null");
    REQUIRE(test::eventually([&] { return disk.held() > 0; }));
    const std::string node = disk.path();
    REQUIRE(test::run_task(*disk.loop, disk.device->remove()));
    CHECK(writer->status() != 0);
    CHECK(test::eventually([&] { return ::access(node.c_str(), F_OK) != 0; }));
    disk.let_go();
}

TEST_CASE("twenty nbd devices are made, used and removed at once, and nobody else's is touched", "[nbd]") {
    constexpr std::size_t small = std::size_t{1} << 20;
    auto netlink = block::NbdNetlink::open();
    REQUIRE(netlink);
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    block::NbdNetlink::Connection others;
    others.index = 40;
    others.size_bytes = small;
    others.backend = "somebody";
    others.socket = ends[0];
    REQUIRE(netlink->connect(others));
    const std::size_t before = test::nbd_count("size");
    {
        std::vector<std::unique_ptr<NbdDisk>> disks;
        std::set<std::string> names;
        for (int i = 0; i < 20; ++i) {
            disks.push_back(std::make_unique<NbdDisk>(test::disk_request(small), std::size_t{1} << 20));
            names.insert(disks.back()->name());
        }
        CHECK(names.size() == 20);
        std::string all;
        for (const auto& disk : disks) {
            all += fmt::format(" --name={} --filename={}", disk->name(), disk->path());
        }
        CHECK(test::shell("fio --ioengine=libaio --direct=1 --rw=randwrite --bs=4k --iodepth=4 --size=512k "
                          "--verify=crc32c --minimal" +
                          all + " >/dev/null") == 0);
    }
    CHECK(test::eventually([&] { return test::nbd_count("size") == before; }));
    CHECK(test::sysfs("nbd40", "backend") == "somebody");
    CHECK(test::sysfs("nbd40", "size") == std::to_string(small / 512));
    REQUIRE(netlink->disconnect(others.index));
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST_CASE("nbd: devices that start at the same time get a number each", "[nbd]") {
    struct Unit {
        test::MemoryBlock memory{std::size_t{1} << 20};
        std::unique_ptr<block::BlockDevice> device;
        std::unique_ptr<block::BlockQueue> queue;
        ring::Task<base::Result<void>> task;
    };
    auto loop = std::move(*ring::Loop::create(64));
    test::UblkServer server(std::size_t{1} << 20);
    std::array<Unit, 8> units;
    for (Unit& unit : units) {
        auto request = test::disk_request(unit.memory.data.size());
        unit.device = std::move(*test::run_task(*loop, block::NbdDevice::create(*loop, request)));
        unit.memory.complete = [&unit](block::Request& r, int error) { unit.queue->complete(r, error); };
        server.serve(*unit.device, unit.memory);
        unit.queue = std::move(server.queue);
    }
    std::set<std::string> names;
    for (bool starts : {true, false}) {
        std::size_t done = 0;
        for (Unit& unit : units) {
            unit.task = starts ? unit.device->start() : unit.device->remove();
            unit.task.start([](void* n) { ++*static_cast<std::size_t*>(n); }, &done);
        }
        while (done < units.size()) {
            loop->turn();
        }
        for (Unit& unit : units) {
            CHECK(unit.task.result());
            names.insert(unit.device->name());
        }
    }
    CHECK(names.size() == units.size());
    for (Unit& unit : units) {
        server.queue = std::move(unit.queue);
        server.close();
    }
}

// For a guest in which udev runs, with our rules.
TEST_CASE("nbd: a device that is taken back does not wait for udev", "[.][nbd-udev]") {
    REQUIRE(block::udev_is_running());
    test::SharedDisk shared(disk_bytes);
    const auto request = test::disk_request(disk_bytes);
    auto daemon = std::make_unique<test::NbdDaemon>(shared, request, false);
    const std::string name = daemon->name;
    REQUIRE(name.starts_with("nbd"));
    daemon.reset();
    // As if udev were still at work on it, reading through the path that is down as yet.
    REQUIRE(std::filesystem::remove("/run/udev/data/b" + test::sysfs(name, "dev")));
    const auto begun = ring::monotonic_now();
    daemon = std::make_unique<test::NbdDaemon>(shared, request, true);
    CHECK(daemon->name == name);
    CHECK(ring::monotonic_now() - begun < std::chrono::seconds(10));
    block::forget_udev_properties(name);
}

TEST_CASE("nbd: the links are there when the device has started, and gone when it was removed",
          "[.][nbd-udev]") {
    REQUIRE(block::udev_is_running());
    auto request = test::disk_request(disk_bytes);
    request.by_path_name = "ip-192.0.2.1:3260-iscsi-iqn.2004-01.example:disk-lun-1";
    request.properties = {{"ID_PATH", request.by_path_name}, {"ID_SERIAL", "36001405000000001"}};
    for (int round = 0; round < 5; ++round) {
        NbdDisk disk(request);
        REQUIRE_FALSE(disk.device->links().empty());
        const std::string link = disk.device->links().front();
        CHECK(link == "/dev/disk/by-path/" + request.by_path_name);
        CHECK(std::filesystem::canonical(link) == disk.path());
        CHECK(test::sysfs(disk.name(), "queue/io_timeout") == "5000");
        CHECK(test::sysfs(disk.name(), "queue/nr_requests") == "32");
        CHECK(test::sysfs(disk.name(), "queue/max_sectors_kb") == "1024");
        const std::string name = disk.name();
        const auto begun = ring::monotonic_now();
        disk.remove();
        const bool gone = ::access(link.c_str(), F_OK) != 0;
        if (!gone) { // for whoever has to find out why
            test::shell("ls -l " + link + " /proc/[0-9]*/fd 2>/dev/null | grep " + name + "; cd /sys/block/" +
                        name + " && grep . pid backend size inflight; cat /run/udev/data/b43:*");
        }
        CHECK(gone);
        CHECK(ring::monotonic_now() - begun < std::chrono::seconds(9));
        CHECK(test::eventually([&] { return test::sysfs(name, "size").empty(); }));
    }
}

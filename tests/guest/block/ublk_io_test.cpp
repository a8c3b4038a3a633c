// What users of a ublk device see, and what reaches the handler for it.
#include "ublk_bench.hpp"

#include "block/ublk_probe.hpp"

#include <cerrno>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <thread>

using namespace iscsi;
using test::ShownDisk;
using test::UblkBench;

TEST_CASE("the self-test finds that ublk works and leaves nothing behind", "[ublk]") {
    UblkBench bench;
    for (int round = 0; round < 3; ++round) {
        auto words = bench.run(block::probe_ublk(*bench.control));
        INFO((words ? *words : words.error().detail));
        REQUIRE(words);
        CHECK(words->find("USER_COPY") != std::string::npos);
        CHECK(test::eventually([] { return test::ublk_devices() == 0; }));
    }
}

TEST_CASE("what is written at depth 32 is read back, in sizes below and above the longest request",
          "[ublk]") {
    UblkBench bench;
    ShownDisk disk(bench, test::disk_request(std::size_t{64} << 20));
    CHECK(test::shell(test::fio_verify(disk.path(), "--rw=randwrite --bs=4k --iodepth=32 --size=16m")) == 0);
    CHECK(test::shell(test::fio_verify(
              disk.path(), "--rw=randwrite --bsrange=512-4m --bs_unaligned=0 --blockalign=512 --iodepth=32 "
                           "--size=48m --verify_backlog=64")) == 0);
    CHECK(disk.server.pool_claimed() == 0);
}

TEST_CASE("two devices whose requests do not fit into the pool together finish all the same", "[ublk]") {
    constexpr std::size_t disk_bytes = std::size_t{64} << 20;
    UblkBench bench;
    ShownDisk disk(bench, test::disk_request(disk_bytes), std::size_t{2} << 20);
    test::MemoryBlock memory(disk_bytes);
    auto other = bench.run(block::UblkDevice::create(*bench.control, test::disk_request(disk_bytes)));
    REQUIRE(other);
    std::unique_ptr<block::BlockQueue> queue;
    memory.complete = [&](block::Request& r, int error) { queue->complete(r, error); };
    std::swap(queue, disk.server.queue);
    disk.server.serve(**other, memory);
    std::swap(queue, disk.server.queue);
    REQUIRE(bench.run((*other)->start()));
    const std::string options = "--rw=randwrite --bs=1m --iodepth=32 --size=32m --verify_backlog=8";
    int first = -1;
    std::thread user([&] { first = test::shell(test::fio_verify(disk.path(), options)); });
    CHECK(test::shell(test::fio_verify((*other)->path(), options)) == 0);
    user.join();
    CHECK(first == 0);
    REQUIRE(bench.run((*other)->remove()));
    std::swap(queue, disk.server.queue);
    disk.server.close();
    std::swap(queue, disk.server.queue);
    CHECK(disk.server.pool_claimed() == 0);
}

TEST_CASE("a filesystem lives on it", "[ublk]") {
    UblkBench bench;
    ShownDisk disk(bench, test::disk_request(std::size_t{64} << 20));
    const std::string dev = disk.path();
    CHECK(test::shell("mkfs.ext4 -q -F " + dev) == 0);
    CHECK(test::shell("mkdir -p /run/mnt && mount " + dev + " /run/mnt") == 0);
    CHECK(test::shell("head -c 8M /dev/urandom >/run/f && cp /run/f /run/mnt/ && fstrim /run/mnt") == 0);
    CHECK(test::shell("umount /run/mnt && fsck.ext4 -f -n " + dev + " >/dev/null 2>&1") == 0);
    CHECK(test::shell("mount " + dev + " /run/mnt") == 0);
    CHECK(test::shell("cmp /run/f /run/mnt/f && umount /run/mnt") == 0);
    CHECK(disk.count(block::Verb::discard) > 0);
    CHECK(disk.count(block::Verb::flush) > 0);
}

TEST_CASE("flush, force unit access, discard and zeroes reach the handler as what they are", "[ublk]") {
    UblkBench bench;
    ShownDisk disk(bench, test::disk_request(std::size_t{64} << 20));
    test::File file(disk.path(), O_RDWR | O_DIRECT);
    REQUIRE(file.fd >= 0);
    test::Aligned data(8192, 0x77);
    REQUIRE(::pwrite(file.fd, data.data(), data.size(), 4096) == 8192);

    const std::size_t flushes = disk.count(block::Verb::flush);
    REQUIRE(::fsync(file.fd) == 0);
    CHECK(disk.count(block::Verb::flush) == flushes + 1);

    const iovec span{data.data(), data.size()};
    const std::size_t forced = disk.server.run([&] { return disk.memory.fua_seen; });
    REQUIRE(::pwritev2(file.fd, &span, 1, 16384, RWF_DSYNC) == 8192);
    CHECK(disk.server.run([&] { return disk.memory.fua_seen; }) == forced + 1);

    std::uint64_t range[2] = {4096, 4096};
    REQUIRE(::ioctl(file.fd, BLKDISCARD, range) == 0);
    CHECK(disk.count(block::Verb::discard) == 1);
    REQUIRE(::pread(file.fd, data.data(), data.size(), 4096) == 8192);
    CHECK(static_cast<unsigned char*>(data.data())[4095] == 0);
    CHECK(static_cast<unsigned char*>(data.data())[4096] == 0x77);

    range[0] = 16384;
    range[1] = 3 << 20;
    REQUIRE(::ioctl(file.fd, BLKZEROOUT, range) == 0);
    CHECK(disk.count(block::Verb::write_zeroes) >= 3);
    CHECK(disk.server.run([&] { return disk.memory.keep_mapped_seen; }) > 0);
    REQUIRE(::pread(file.fd, data.data(), data.size(), 16384) == 8192);
    CHECK(data.all(0));
}

TEST_CASE("a read-only disk takes no writes", "[ublk]") {
    block::KernelDeviceRequest request = test::disk_request(1 << 20);
    request.attributes.read_only = true;
    UblkBench bench;
    ShownDisk disk(bench, request, 4 << 20);
    test::File file(disk.path(), O_RDONLY);
    int read_only = 0;
    REQUIRE(::ioctl(file.fd, BLKROGET, &read_only) == 0);
    CHECK(read_only == 1);
    test::File writer(disk.path(), O_WRONLY | O_DIRECT);
    test::Aligned data(4096);
    CHECK((writer.fd < 0 || ::pwrite(writer.fd, data.data(), data.size(), 0) < 0));
    CHECK(disk.count(block::Verb::write) == 0);
}

TEST_CASE("blocks of 4096 bytes", "[ublk]") {
    block::KernelDeviceRequest request = test::disk_request(std::size_t{64} << 20);
    request.attributes.logical_block_bytes = 4096;
    request.attributes.physical_block_bytes = 4096;
    UblkBench bench;
    ShownDisk disk(bench, request, 4 << 20);
    test::File file(disk.path(), O_RDONLY | O_DIRECT);
    int block_bytes = 0;
    std::uint64_t size = 0;
    REQUIRE(::ioctl(file.fd, BLKSSZGET, &block_bytes) == 0);
    REQUIRE(::ioctl(file.fd, BLKGETSIZE64, &size) == 0);
    CHECK(block_bytes == 4096);
    CHECK(size == std::size_t{64} << 20);
    test::Aligned data(4096);
    CHECK(::pread(file.fd, data.data(), 512, 0) == -1);
    CHECK(errno == EINVAL);
    const std::string options = "--rw=randwrite --bsrange=4k-256k --iodepth=32 --size=16m";
    CHECK(test::shell(test::fio_verify(disk.path(), options)) == 0);
}

TEST_CASE("what a request fails with is what its user sees", "[ublk]") {
    UblkBench bench;
    ShownDisk disk(bench, test::disk_request(std::size_t{64} << 20));
    test::File file(disk.path(), O_RDWR | O_DIRECT);
    test::Aligned data(4096);
    for (int error :
         {EIO, ENOSPC, EBADE, ENOLINK, ENODATA, EREMOTEIO, EOPNOTSUPP, ETIMEDOUT, EILSEQ, ENODEV}) {
        INFO("errno " << error);
        disk.server.run([&] { disk.memory.error_number = error; });
        CHECK(::pread(file.fd, data.data(), data.size(), 0) == -1);
        CHECK(errno == error);
        CHECK(::pwrite(file.fd, data.data(), data.size(), 0) == -1);
        CHECK(errno == error);
    }
    disk.server.run([&] { disk.memory.error_number = 0; });
    CHECK(::pread(file.fd, data.data(), data.size(), 0) == 4096);
}

TEST_CASE("a read whose data the kernel did not take once fails, whatever comes later", "[ublk]") {
    UblkBench bench;
    ShownDisk disk(bench, test::disk_request(std::size_t{16} << 20));
    const std::string node = "/dev/ublkc" + disk.path().substr(std::string("/dev/ublkb").size());
    disk.hold();
    int first = 0;
    std::thread reader([&] {
        test::File file(disk.path(), O_RDONLY | O_DIRECT);
        test::Aligned data(4096);
        first = ::pread(file.fd, data.data(), data.size(), 0) < 0 ? errno : 0;
    });
    REQUIRE(test::eventually([&] { return disk.held() == 1; }));
    const std::size_t refused = disk.server.run([&] {
        const block::Request& request = disk.memory.held_request(0);
        const std::vector<std::byte> data(request.length_bytes);
        const test::Redirected away(node, "/dev/null", O_RDONLY);
        request.sink->put(0, data);
        return away.count;
    });
    CHECK(refused == 1);
    disk.let_go(); // all of the data, again
    reader.join();
    CHECK(first == EIO);
    test::File file(disk.path(), O_RDONLY | O_DIRECT);
    test::Aligned data(4096);
    CHECK(::pread(file.fd, data.data(), data.size(), 0) == 4096);
}

TEST_CASE("a device asks for no more than its depth at a time", "[ublk]") {
    block::KernelDeviceRequest request = test::disk_request(std::size_t{16} << 20);
    request.depth = 8;
    UblkBench bench;
    ShownDisk disk(bench, request);
    disk.hold();
    const std::string fio = "fio --name=r --minimal --direct=1 --ioengine=libaio --iodepth=32 --rw=randread "
                            "--bs=4k --size=1m --filename=" +
                            disk.path() + " >/dev/null";
    int read = -1;
    std::thread reader([&] { read = test::shell(fio); });
    CHECK(test::eventually([&] { return disk.held() == 8; }));
    ::usleep(200'000);
    CHECK(disk.held() == 8);
    disk.let_go();
    reader.join();
    CHECK(read == 0);
}

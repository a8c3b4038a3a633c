// Counts the calls of operator new on the thread that serves a device: an I/O must not make any.
#include "ublk_bench.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

thread_local std::size_t allocations = 0;

} // namespace

[[gnu::noinline]] void* operator new(std::size_t bytes) {
    ++allocations;
    if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) {
        return memory;
    }
    throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    ++allocations;
    return std::malloc(bytes == 0 ? 1 : bytes);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}

using namespace iscsi;

TEST_CASE("an I/O costs the thread that serves it no allocation", "[ublk]") {
    constexpr std::size_t disk_bytes = std::size_t{16} << 20;
    test::UblkBench bench;
    test::ShownDisk disk(bench, test::disk_request(disk_bytes), std::size_t{2} << 20);
    const auto counted = [&] { return disk.server.run([] { return allocations; }); };
    const auto load = [&] {
        return test::shell(
            test::fio_verify(disk.path(), "--rw=randwrite --bsrange=4k-1m --iodepth=32 --size=8m"));
    };
    REQUIRE(load() == 0);
    const std::size_t before = counted();
    const std::size_t requests = disk.count(block::Verb::write);
    CHECK(load() == 0);
    CHECK(disk.count(block::Verb::write) > requests);
    // What the counting costs itself.
    const std::size_t own = counted() - counted();
    CHECK(counted() - before == own);
    CHECK(before > 0);
}

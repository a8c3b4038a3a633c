// The path of an I/O takes no memory: operator new of this whole program counts while it is watched.
#include "bench.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <new>

namespace {

thread_local bool watched = false;
std::size_t allocations = 0;

void* counted(std::size_t bytes) {
    allocations += watched ? 1 : 0;
    void* memory = std::malloc(bytes == 0 ? 1 : bytes);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}

} // namespace

void* operator new(std::size_t bytes) {
    return counted(bytes);
}
void* operator new[](std::size_t bytes) {
    return counted(bytes);
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    return counted(bytes);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
    return counted(bytes);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete[](void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
    std::free(memory);
}

using namespace iscsi;
using namespace iscsi::test;
using block::Verb;

namespace {

/// All of `ios` again and again. The first rounds are not watched: buffers grow and stay then.
void run_watched(Bench& bench, const std::vector<std::unique_ptr<Io>>& ios, int rounds) {
    constexpr int unwatched = 6;
    for (int round = 0; round < rounds; ++round) {
        const bool count = round >= unwatched;
        watched = count;
        for (const auto& io : ios) {
            io->done = false;
            bench.lun->start(*io);
        }
        watched = false;
        while (!bench.lun->idle()) {
            watched = count;
            bench.loop->turn(ring::monotonic_now() + std::chrono::milliseconds(1));
            watched = false;
            bench.target.pump();
        }
    }
}

} // namespace

TEST_CASE("reads, writes and flushes take no memory in lun, nexus, session, stream and loop") {
    constexpr unsigned in_flight = 12;
    Bench bench;
    bench.target.remember = false;
    start_session(bench);
    std::vector<std::unique_ptr<Io>> ios;
    for (unsigned i = 0; i < in_flight; ++i) {
        ios.push_back(i % 3 == 0   ? bench.request(Verb::read, std::uint64_t{i} * 65536, 65536)
                      : i % 3 == 1 ? bench.write(std::uint64_t{i} * 65536, 65536, i)
                                   : bench.request(Verb::flush, 0, 0));
    }
    run_watched(bench, ios, 50);
    CHECK(allocations == 0);
    CHECK(bench.lun->counters().requests == 50 * in_flight);
    CHECK(bench.lun->counters().failures == 0);
}

TEST_CASE("attentions, full queues and their news take no memory either", "[SCSI-UA-06][SCSI-STATUS-04]") {
    constexpr unsigned in_flight = 8;
    Bench bench;
    bench.target.remember = false;
    start_session(bench);
    unsigned commands = 0;
    bench.target.bend = [&](const SeenCommand&) -> std::optional<Bent> {
        switch (++commands % 4) {
        case 0:
            return Bent{0x02, {6, 0x2a, 0x09}, {}};
        case 1:
            return commands % 32 == 1 ? std::optional(Bent{0x28, {}, {}}) : std::nullopt;
        default:
            return std::nullopt;
        }
    };
    std::vector<std::unique_ptr<Io>> ios;
    for (unsigned i = 0; i < in_flight; ++i) {
        ios.push_back(bench.write(std::uint64_t{i} * 4096, 4096, i));
    }
    const std::size_t before = allocations;
    run_watched(bench, ios, 30);
    CHECK(allocations == before);
    CHECK(bench.effects > 10);
    CHECK(bench.lun->counters().failures == 0);
}

#include "block/buffer_pool.hpp"

#include "support/in_child.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cerrno>
#include <cstddef>
#include <fcntl.h>
#include <iterator>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <memory>
#include <random>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

using namespace iscsi;
using block::BufferPool;

namespace {

constexpr std::size_t mib = 1024 * 1024;

std::unique_ptr<BufferPool> make_pool(std::size_t bytes) {
    auto pool = BufferPool::create(bytes);
    REQUIRE(pool);
    return std::move(*pool);
}

struct Waiting final : BufferPool::Waiter {
    void on_memory() override { ++told; }
    int told = 0;
};

} // namespace

TEST_CASE("a claim has the length that was asked for and starts on a page") {
    auto pool = make_pool(64 * mib);
    for (std::size_t bytes : {std::size_t{1}, std::size_t{4096}, std::size_t{4097}, 3 * mib, 32 * mib}) {
        base::MutableBytes claimed = pool->claim(bytes);
        REQUIRE(claimed.size() == bytes);
        CHECK(reinterpret_cast<std::uintptr_t>(claimed.data()) % 4096 == 0);
        CHECK(pool->claimed() == BufferPool::rounded(bytes));
        CHECK(pool->claimed() >= bytes);
        CHECK(pool->claimed() < 2 * bytes + 4096);
        pool->release(claimed);
        CHECK(pool->claimed() == 0);
    }
}

TEST_CASE("an empty pool gives nothing, and all of it again once everything came back") {
    auto pool = make_pool(2 * mib);
    std::vector<base::MutableBytes> claims;
    for (base::MutableBytes one = pool->claim(4096); !one.empty(); one = pool->claim(4096)) {
        claims.push_back(one);
    }
    CHECK(claims.size() == 512);
    CHECK(pool->claim(1).empty());
    std::shuffle(claims.begin(), claims.end(), std::mt19937(7));
    for (base::MutableBytes claim : claims) {
        pool->release(claim);
    }
    base::MutableBytes whole = pool->claim(2 * mib);
    REQUIRE(whole.size() == 2 * mib);
    pool->release(whole);
}

TEST_CASE(
    "the block that came back last is the next one of its size, and serves larger ones when they need it") {
    auto pool = make_pool(2 * mib);
    const base::MutableBytes first = pool->claim(4096);
    const base::MutableBytes second = pool->claim(4096);
    pool->release(second);
    pool->release(first);
    CHECK(pool->claimed() == 0);
    const base::MutableBytes again = pool->claim(1);
    CHECK(again.data() == first.data());
    // Half of the pool has not been cut; of the other half all but `again` has to be joined first.
    const base::MutableBytes half = pool->claim(mib);
    const base::MutableBytes quarter = pool->claim(mib / 2);
    CHECK(half.size() == mib);
    CHECK(quarter.size() == mib / 2);
    CHECK(pool->claim(mib / 2).empty());
    pool->release(again);
    const base::MutableBytes last = pool->claim(mib / 2);
    CHECK(last.size() == mib / 2);
    for (base::MutableBytes claim : {half, quarter, last}) {
        pool->release(claim);
    }
}

TEST_CASE("a small claim is cut off a block that is idle, and the last whole one stays whole") {
    auto pool = make_pool(64 * mib);
    std::vector<base::MutableBytes> claims;
    for (int i = 0; i < 32; ++i) {
        claims.push_back(pool->claim(mib));
    }
    // One of a half of the pool stays claimed: only the other half can serve a claim of as much.
    while (claims.size() > 1) {
        pool->release(claims.back());
        claims.pop_back();
    }
    for (std::size_t bytes : {std::size_t{4096}, std::size_t{8192}, std::size_t{3} << 18}) {
        claims.push_back(pool->claim(bytes));
        REQUIRE(claims.back().size() == bytes);
    }
    claims.push_back(pool->claim(32 * mib));
    CHECK(claims.back().size() == 32 * mib);
    claims.push_back(pool->claim(16 * mib));
    CHECK(claims.back().size() == 16 * mib);
    std::erase_if(claims, [](base::MutableBytes claim) { return claim.empty(); });
    for (base::MutableBytes claim : claims) {
        pool->release(claim);
    }
    // What was cut joins again.
    claims.assign({pool->claim(32 * mib), pool->claim(32 * mib)});
    for (base::MutableBytes claim : claims) {
        REQUIRE(claim.size() == 32 * mib);
        pool->release(claim);
    }
}

TEST_CASE("of two blocks of one size, the one that came back is cut") {
    auto pool = make_pool(4 * mib);
    const base::MutableBytes large = pool->claim(mib);
    pool->release(large);
    const base::MutableBytes small = pool->claim(4096);
    CHECK(small.data() == large.data());
    pool->release(small);
}

TEST_CASE("a pool that is no power of two is used to its last page") {
    auto pool = make_pool(7 * 4096);
    std::vector<base::MutableBytes> claims;
    for (std::size_t pages : {4, 2, 1}) {
        claims.push_back(pool->claim(pages * 4096));
        CHECK(claims.back().size() == pages * 4096);
    }
    CHECK(pool->claim(1).empty());
    for (base::MutableBytes claim : claims) {
        pool->release(claim);
    }
    CHECK(pool->claim(8 * 4096).empty());
}

TEST_CASE("claims never overlap, whatever the order of claims and releases") {
    auto pool = make_pool(8 * mib);
    std::mt19937 random(20261121);
    std::vector<std::pair<base::MutableBytes, std::byte>> claims;
    const auto release = [&](std::size_t i) {
        auto [bytes, mark] = claims[i];
        REQUIRE(bytes.front() == mark);
        REQUIRE(bytes[bytes.size() / 2] == mark);
        REQUIRE(bytes.back() == mark);
        pool->release(bytes);
        claims.erase(claims.begin() + static_cast<std::ptrdiff_t>(i));
    };
    std::size_t refused = 0;
    for (int step = 0; step < 20000; ++step) {
        if (random() % 5 < 3) {
            const std::size_t bytes = 1 + random() % (1U << (random() % 21));
            base::MutableBytes claimed = pool->claim(bytes);
            refused += claimed.empty() ? 1 : 0;
            if (!claimed.empty()) {
                const auto mark = static_cast<std::byte>(random());
                claimed.front() = claimed[bytes / 2] = claimed.back() = mark;
                claims.emplace_back(claimed, mark);
            }
        } else if (!claims.empty()) {
            release(random() % claims.size());
        }
    }
    CHECK(refused > 100);
    while (!claims.empty()) {
        release(claims.size() - 1);
    }
    base::MutableBytes whole = pool->claim(8 * mib);
    REQUIRE(!whole.empty());
    pool->release(whole);
}

TEST_CASE("memory goes to the first in line, and a small request does not overtake a large one") {
    auto pool = make_pool(4 * 4096);
    base::MutableBytes first_half = pool->claim(2 * 4096);
    base::MutableBytes second_half = pool->claim(2 * 4096);
    Waiting large;
    Waiting small;
    CHECK(pool->claim(4 * 4096, large).empty());
    CHECK(pool->claim(4096, small).empty());

    pool->release(first_half);
    CHECK(large.told == 1);
    CHECK(small.told == 0);
    CHECK(pool->claim(4096, small).empty()); // there is memory, but not its turn
    CHECK(pool->claim(4 * 4096, large).empty());

    pool->release(second_half);
    CHECK(large.told == 2);
    base::MutableBytes all = pool->claim(4 * 4096, large);
    REQUIRE(!all.empty());
    CHECK(small.told == 1); // the next in line hears that it is its turn

    pool->release(all, large);
    CHECK(small.told == 2);
    base::MutableBytes page = pool->claim(4096, small);
    REQUIRE(!page.empty());
    pool->release(page, small);
    CHECK(small.told == 2);
}

TEST_CASE("nobody has more than a quarter of what is left, and who waits for that stands in nobody's way") {
    auto pool = make_pool(20 * 4096);
    Waiting greedy;
    Waiting modest;
    Waiting small;
    const base::MutableBytes other = pool->claim(4096);
    std::vector<base::MutableBytes> taken;
    for (base::MutableBytes block = pool->claim(4096, greedy); !block.empty();) {
        taken.push_back(block);
        block = pool->claim(4096, greedy);
    }
    CHECK(taken.size() == 3);
    base::MutableBytes most = pool->claim(16 * 4096, modest); // the first one has any size
    REQUIRE(!most.empty());
    CHECK(pool->claim(4096, small).empty());

    pool->release(taken.back(), greedy);
    taken.pop_back();
    CHECK(greedy.told == 0); // it would have three, and none would be left
    CHECK(small.told == 1);
    base::MutableBytes page = pool->claim(4096, small);
    REQUIRE(!page.empty());
    pool->release(page, small);
    CHECK(greedy.told == 0);
    pool->release(most, modest);
    CHECK(greedy.told == 1);
    base::MutableBytes third = pool->claim(4096, greedy);
    REQUIRE(!third.empty());
    taken.push_back(third);
    for (base::MutableBytes block : taken) {
        pool->release(block, greedy);
    }
    pool->release(other);
    CHECK(pool->claimed() == 0);
}

TEST_CASE("one who leaves the line lets the next one try") {
    auto pool = make_pool(4096);
    base::MutableBytes page = pool->claim(4096);
    Waiting first;
    Waiting second;
    CHECK(pool->claim(1, first).empty());
    CHECK(pool->claim(1, second).empty());
    pool->forget(first);
    CHECK(second.told == 1);
    pool->forget(first); // not in the line any more: nothing happens
    CHECK(second.told == 1);
    pool->release(page);
    CHECK(first.told == 0);
    CHECK(second.told == 2);
    pool->forget(second);
}

namespace {

/// Page faults that filling a pool costs this thread. The kernel writes, as it does for I/O; so a sanitizer
/// does not touch a shadow of it.
long faults_of_writing(BufferPool& pool) {
    base::MutableBytes memory = pool.claim(pool.size());
    int zeroes = ::open("/dev/zero", O_RDONLY);
    rusage before{};
    rusage after{};
    ::getrusage(RUSAGE_THREAD, &before);
    long bytes = ::syscall(SYS_read, zeroes, memory.data(), memory.size());
    ::getrusage(RUSAGE_THREAD, &after);
    ::close(zeroes);
    pool.release(memory);
    return bytes == std::ssize(memory) ? after.ru_minflt - before.ru_minflt : -1;
}

constexpr std::size_t large_bytes = std::size_t{8} << 20;
constexpr long pages = large_bytes / 4096;

/// Has the kernel answer madvise(MADV_POPULATE_WRITE) as one before 5.14 does. Only in a child.
bool forget_populate() {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 23, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog filter{std::size(program), program};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

} // namespace

TEST_CASE("a populated pool costs no page fault when it is used") {
    int ended = test::in_child([] {
        ::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); // a huge page would hide what is looked for
        auto bare = block::BufferPool::create(large_bytes);
        auto pool = block::BufferPool::create(large_bytes);
        if (faults_of_writing(**bare) < pages) {
            return 1; // this test could not fail
        }
        if (!(*pool)->populate() || !(*pool)->populate()) {
            return 2;
        }
        long faults = faults_of_writing(**pool);
        return faults >= 0 && faults < 16 ? 0 : 3;
    });
    CHECK(ended == 0);
}

TEST_CASE("a pool is populated on a kernel that has no call for it") {
    int ended = test::in_child([] {
        ::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
        auto pool = block::BufferPool::create(large_bytes);
        if (!forget_populate()) {
            return 77;
        }
        if (!(*pool)->populate()) {
            return 1;
        }
        long faults = faults_of_writing(**pool);
        return faults >= 0 && faults < 16 ? 0 : 2;
    });
    if (ended == 77) {
        WARN("no seccomp here");
        return;
    }
    CHECK(ended == 0);
}

TEST_CASE("populating leaves what claimed blocks hold") {
    auto pool = make_pool(std::size_t{4} << 20);
    base::MutableBytes block = pool->claim(std::size_t{1} << 20);
    REQUIRE(!block.empty());
    std::ranges::fill(block, std::byte{0x5a});
    CHECK(pool->populate());
    CHECK(std::ranges::count(block, std::byte{0x5a}) == std::ssize(block));
    pool->release(block);
}

#include "block/buffer_pool.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>
#include <random>
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

    pool->release(all);
    CHECK(small.told == 2);
    base::MutableBytes page = pool->claim(4096, small);
    REQUIRE(!page.empty());
    pool->release(page);
    CHECK(small.told == 2);
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

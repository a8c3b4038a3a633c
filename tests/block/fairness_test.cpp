// What the block devices of a shard get of its pool, counted in bytes and in requests that ended.
#include "nbd_bench.hpp"

#include <deque>

using namespace iscsi;
using test::NbdBench;
using test::request;

namespace {

constexpr std::size_t pool_bytes = 4 * 1024 * 1024;
constexpr std::uint32_t read_bytes = 64 * 1024;
constexpr std::size_t many = 16;
constexpr double fair = 0.8;

/// A client that has 32 reads under way or waiting.
struct Client {
    explicit Client(block::BufferPool& pool) : bench(pool) {
        bench.disk.hold = true;
        bench.open_and_go(false);
        for (int i = 0; i < 32; ++i) {
            ask();
        }
    }
    void ask() { bench.say(request({.length = read_bytes, .cookie = 1})); }

    /// Its unit answers the oldest read, and the next one is asked for when the answer has come.
    void answer() {
        if (bench.disk.held() > 0) {
            bench.disk.release(0);
        }
        go_on();
    }
    /// It was told that it might go on, perhaps.
    bool was_told() { return std::exchange(calls_seen_, bench.ready_calls) != bench.ready_calls; }
    void go_on() {
        bench.go_on();
        const std::size_t answered = bench.take_heard().size() / (16 + read_bytes);
        done += answered;
        for (std::size_t i = 0; i < answered; ++i) {
            ask();
        }
    }

    NbdBench bench;
    std::uint64_t done = 0;

private:
    std::size_t calls_seen_ = 0;
};

/// What the one that was given the least has of the mean, those that are stuck not counted.
double slowest_to_mean(const std::deque<Client>& clients, std::size_t stuck) {
    std::uint64_t least = UINT64_MAX;
    std::uint64_t all = 0;
    for (std::size_t i = stuck; i < clients.size(); ++i) {
        least = std::min(least, clients[i].done);
        all += clients[i].done;
    }
    return static_cast<double>(least) * static_cast<double>(clients.size() - stuck) /
           static_cast<double>(all);
}

/// Who claims pages of a pool and counts how often it was told of more.
struct Waiting final : block::BufferPool::Waiter {
    void on_memory() override { ++told; }
    int told = 0;
};

/// Pages, one after the other, until there are no more for `waiter`.
std::vector<base::MutableBytes> take_all(block::BufferPool& pool, block::BufferPool::Waiter& waiter) {
    std::vector<base::MutableBytes> taken;
    for (base::MutableBytes page = pool.claim(4096, waiter); !page.empty(); page = pool.claim(4096, waiter)) {
        taken.push_back(page);
    }
    return taken;
}

void give_back(block::BufferPool& pool, block::BufferPool::Waiter& waiter,
               const std::vector<base::MutableBytes>& taken) {
    for (base::MutableBytes page : taken) {
        pool.release(page, waiter);
    }
    pool.forget(waiter);
}

} // namespace

TEST_CASE("sixteen clients have equal parts of a pool that is too small for them", "[fairness]") {
    auto pool = test::make_pool(pool_bytes);
    std::deque<Client> clients;
    for (std::size_t i = 0; i < many; ++i) {
        clients.emplace_back(*pool);
    }
    const std::size_t stuck = GENERATE(0U, 5U, 12U); // so many whose unit does not answer
    for (int round = 0; round < 100; ++round) {
        for (std::size_t i = 0; i + stuck < many; ++i) {
            clients[stuck + (i * 7 + static_cast<std::size_t>(round)) % (many - stuck)].answer();
            for (Client& client : clients) {
                if (client.was_told()) {
                    client.go_on();
                }
            }
        }
    }
    CAPTURE(stuck);
    CHECK(slowest_to_mean(clients, stuck) >= fair);
}

TEST_CASE("a client whose unit answers is served while those of fifteen others do not", "[fairness]") {
    auto pool = test::make_pool(pool_bytes);
    std::deque<Client> stuck;
    for (std::size_t i = 0; i + 1 < many; ++i) {
        stuck.emplace_back(*pool);
    }
    Client client(*pool);
    for (int i = 0; i < 1000; ++i) {
        client.answer();
    }
    CHECK(client.done == 1000);
}

TEST_CASE("one alone has half of the pool, until there is another", "[fairness]") {
    auto pool = test::make_pool(40 * 4096);
    Waiting alone;
    Waiting late;
    std::vector<base::MutableBytes> taken = take_all(*pool, alone);
    CHECK(taken.size() == 20);
    const std::vector<base::MutableBytes> others = take_all(*pool, late);
    CHECK(others.size() == 4);
    // As its requests end the one that was alone comes down to what two have each.
    for (int i = 0; i < 13; ++i) {
        pool->release(taken.back(), alone);
        taken.pop_back();
        CHECK(pool->claim(4096, alone).empty());
    }
    std::vector<base::MutableBytes> more = take_all(*pool, late);
    CHECK(others.size() + more.size() == 6);
    give_back(*pool, late, more);
    give_back(*pool, late, others);
    give_back(*pool, alone, taken);
    CHECK(pool->claimed() == 0);
}

TEST_CASE("one in line that comes to want more than it may have lets the others pass", "[fairness]") {
    auto pool = test::make_pool(8 * 4096);
    Waiting first;
    Waiting second;
    const base::MutableBytes own = pool->claim(4096, first);
    const base::MutableBytes rest = pool->claim(4 * 4096);
    const base::MutableBytes last = pool->claim(2 * 4096);
    const base::MutableBytes page = pool->claim(4096);
    REQUIRE((!own.empty() && !rest.empty() && !last.empty() && !page.empty()));
    CHECK(pool->claim(4096, first).empty());
    CHECK(pool->claim(4096, second).empty());
    pool->release(rest);
    pool->release(last);
    pool->release(page);
    const int told_before = second.told;
    CHECK(first.told == 1); // two pages are within half of the pool
    CHECK(pool->claim(8 * 4096, first).empty());
    CHECK(second.told == told_before + 1);
    const base::MutableBytes claimed = pool->claim(4096, second);
    CHECK(!claimed.empty());
    pool->release(claimed, second);
    pool->release(own, first);
    pool->forget(first);
    CHECK(pool->claimed() == 0);
}

// What a connection does when slots or memory run out, and with what it holds when its client is gone.
#include "nbd_bench.hpp"

using namespace iscsi;
using test::NbdBench;
using test::pattern;
using test::request;
using test::simple_reply;

namespace {

constexpr std::size_t pool_bytes = 8 * 1024 * 1024;

} // namespace

TEST_CASE("a client with no free slot is not read until a reply has left", "[nbd]") {
    auto pool = test::make_pool(pool_bytes);
    NbdBench bench(*pool);
    bench.open_and_go(false);
    bench.disk.hold = true;
    std::string said;
    for (std::uint64_t cookie = 0; cookie < 130; ++cookie) {
        said += request({.type = 3, .cookie = cookie});
    }
    bench.say(said);
    CHECK(bench.disk.held() == block::NbdConnection::slots_max);
    CHECK(bench.connection.rx_spans().staging.empty());
    bench.disk.release(0);
    bench.deaf = true;
    bench.go_on();
    CHECK(bench.disk.held() == block::NbdConnection::slots_max - 1); // the reply has not left yet
    bench.deaf = false;
    bench.go_on();
    CHECK(bench.disk.held() == block::NbdConnection::slots_max);
    bench.disk.hold = false;
    while (bench.disk.held() > 0) {
        bench.disk.release_all();
        bench.go_on();
    }
    CHECK(bench.heard.size() == 130 * 16);
    CHECK(!bench.connection.rx_spans().staging.empty());
}

TEST_CASE("a client without memory waits, and goes on when another gives it back", "[nbd]") {
    auto pool = test::make_pool(256 * 1024);
    NbdBench first(*pool);
    NbdBench second(*pool);
    first.open_and_go(false);
    second.open_and_go(false);
    first.disk.hold = true;
    first.say(request({.type = 0, .length = 256 * 1024, .cookie = 1}));
    REQUIRE(pool->claimed() == pool->size());
    second.say(request({.type = 3, .cookie = 7}) + request({.type = 1, .length = 512, .cookie = 8}) +
               pattern(512));
    CHECK(second.heard == simple_reply(7)); // what needs no memory was done
    CHECK(second.connection.rx_spans().staging.empty());
    const std::size_t calls = second.ready_calls;

    first.disk.release(0);
    CHECK(second.ready_calls == calls); // the data is still on its way to the first client
    first.go_on();
    CHECK(first.heard.size() == 16 + 256 * 1024);
    CHECK(second.ready_calls > calls);
    second.go_on();
    CHECK(second.heard == simple_reply(7) + simple_reply(8));
    CHECK(std::string(base::text_of(base::Bytes(second.disk.data).first(512))) == pattern(512));
}

TEST_CASE("one client alone cannot take more than half of the pool", "[nbd]") {
    auto pool = test::make_pool(4 * 1024 * 1024);
    NbdBench greedy(*pool);
    NbdBench modest(*pool);
    greedy.open_and_go(false);
    modest.open_and_go(false);
    greedy.disk.hold = true;
    std::string said;
    for (std::uint64_t cookie = 0; cookie < 100; ++cookie) {
        said += request({.type = 0, .length = 128 * 1024, .cookie = cookie});
    }
    greedy.say(said);
    CHECK(greedy.disk.held() == 16); // of 32
    modest.say(request({.type = 0, .length = 512, .cookie = 1}));
    CHECK(modest.heard.size() == 16 + 512);
    greedy.disk.hold = false;
    while (greedy.disk.held() > 0) {
        greedy.disk.release_all();
        greedy.go_on();
    }
    CHECK(greedy.heard.size() == 100 * (16 + 128 * 1024));
}

TEST_CASE("a connection that was cut gives up its memory, except what the handler still has", "[nbd]") {
    auto pool = test::make_pool(pool_bytes);
    NbdBench bench(*pool);
    bench.open_and_go(false);
    bench.disk.hold = true;
    bench.deaf = true;
    bench.say(request({.type = 0, .length = 4096, .cookie = 1}) +
              request({.type = 0, .length = 4096, .cookie = 2}) +
              request({.type = 1, .length = 8192, .cookie = 3}) + pattern(100));
    CHECK(pool->claimed() == 16384);
    bench.disk.release(0);
    bench.connection.abandon();
    CHECK(pool->claimed() == 4096);
    CHECK(!bench.connection.idle());
    CHECK(bench.connection.rx_spans().staging.empty());
    const std::size_t calls = bench.ready_calls;
    bench.disk.release(0);
    CHECK(pool->claimed() == 0);
    CHECK(bench.connection.idle());
    CHECK(bench.ready_calls > calls);

    bench.disk.hold = false;
    bench.deaf = false;
    bench.forget_unsaid();
    bench.heard.clear();
    bench.open_and_go(true);
    bench.say(request({.type = 3, .cookie = 4}));
    CHECK(bench.heard == simple_reply(4));
}

TEST_CASE("a client that is cut while it waits for memory leaves the line", "[nbd]") {
    auto pool = test::make_pool(64 * 1024);
    base::MutableBytes all = pool->claim(64 * 1024);
    NbdBench first(*pool);
    NbdBench second(*pool);
    first.open_and_go(false);
    second.open_and_go(false);
    first.say(request({.type = 0, .length = 512, .cookie = 1}));
    second.say(request({.type = 0, .length = 512, .cookie = 2}));
    first.connection.abandon();
    pool->release(all);
    second.go_on();
    CHECK(second.heard.size() == 16 + 512);
}

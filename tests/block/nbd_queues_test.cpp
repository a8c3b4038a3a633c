// The queues of one export on a real loop and real sockets, turned by hand: who gets which client.
#include "block/nbd_queue.hpp"

#include "nbd_bench.hpp"
#include "nbd_listener.hpp"
#include "support/memory_block.hpp"

#include <memory>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

using namespace iscsi;

namespace {

/// Of one export, both on a loop of this thread.
struct TwoQueues {
    explicit TwoQueues(bool has_second = true) {
        auto made = ring::Loop::create(256);
        REQUIRE(made);
        loop = std::move(*made);
        first = std::make_unique<block::NbdQueue>(block::QueueContext{*loop, *pool, disk}, listener.fd(),
                                                  info, queues);
        if (has_second) {
            make_second();
        }
    }
    ~TwoQueues() {
        first->close([this] { first.reset(); });
        turn_until([this] { return first == nullptr; });
        close_second();
        for (const int client : clients) {
            ::close(client);
        }
        CHECK(pool->claimed() == 0);
    }
    TwoQueues(const TwoQueues&) = delete;
    TwoQueues& operator=(const TwoQueues&) = delete;

    void make_second() {
        second =
            std::make_unique<block::NbdQueue>(block::QueueContext{*loop, *pool, disk, 1}, -1, info, queues);
    }
    void close_second() {
        if (second) {
            second->close([this] { second.reset(); });
        }
        turn_until([this] { return second == nullptr; });
    }
    void connect(std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            clients.push_back(listener.connect());
            CHECK(clients.back() >= 0);
        }
    }
    void hang_up(std::size_t client) {
        ::close(clients.at(client));
        clients.erase(clients.begin() + static_cast<std::ptrdiff_t>(client));
    }
    void turn_until(const auto& done) {
        for (int i = 0; i < 4000 && !done(); ++i) {
            loop->turn(ring::monotonic_now() + std::chrono::milliseconds(5));
        }
        CHECK(done());
    }

    static constexpr std::size_t disk_bytes = 64 * 1024;
    test::MemoryBlock disk{disk_bytes};
    std::unique_ptr<block::BufferPool> pool = test::make_pool(4 * 1024 * 1024);
    const test::NbdListener listener;
    const block::NbdExportInfo info{"disk", "", test::test_attributes(disk_bytes)};
    const std::shared_ptr<block::NbdQueues> queues = std::make_shared<block::NbdQueues>();
    std::unique_ptr<ring::Loop> loop;
    std::unique_ptr<block::NbdQueue> first;
    std::unique_ptr<block::NbdQueue> second;
    std::vector<int> clients; ///< in the order in which they came
};

} // namespace

TEST_CASE("clients of two queues go to the one that has fewer, and the first one counts all of them",
          "[nbd]") {
    TwoQueues server;
    server.connect(4);
    server.turn_until([&] { return server.first->clients() == 2 && server.second->clients() == 2; });
    CHECK(server.first->users() == 4);
    CHECK(server.second->users() == 0);
    while (!server.clients.empty()) {
        server.hang_up(0);
    }
    server.turn_until([&] { return server.first->users() == 0; });
    server.connect(2); // both end with clients
    server.turn_until([&] { return server.first->users() == 2; });
}

TEST_CASE("a client waits while no queue has a place, and goes to whichever has one first", "[nbd]") {
    TwoQueues server;
    constexpr std::size_t all = 2 * block::NbdQueue::clients_max;
    server.connect(all);
    const auto served = [&server] { return server.first->clients() + server.second->clients(); };
    server.turn_until([&] { return served() == all; });
    server.connect(1);
    const auto is_greeted = [late = server.clients.back()] {
        char byte = 0;
        return ::recv(late, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
    };
    const std::size_t at = GENERATE(0U, 1U); // by turns they came to the first and to the second
    CAPTURE(at);
    CHECK_FALSE(is_greeted());
    server.hang_up(at);
    server.turn_until(is_greeted);
    CHECK(served() == all);
    CHECK(server.first->users() == all);
    CHECK(server.second->clients() == block::NbdQueue::clients_max);
}

TEST_CASE("a queue that is made when the first one has no place any more gets those who wait", "[nbd]") {
    TwoQueues server(false);
    server.connect(block::NbdQueue::clients_max + 1);
    server.turn_until([&] { return server.queues->full.load(); });
    CHECK(server.first->clients() == block::NbdQueue::clients_max);
    server.make_second();
    server.turn_until([&] { return server.second->clients() == 1; });
}

TEST_CASE("a client on its way to a queue that closes is hung up on, and the others go to the first one",
          "[nbd]") {
    TwoQueues server;
    server.connect(2);
    server.turn_until([&] { return server.second->clients() == 1; });
    server.connect(2);
    server.turn_until([&] { return server.queues->all[1].clients == 2; });
    REQUIRE(server.second->clients() == 1);
    server.close_second();
    CHECK(server.first->users() == 2);
    server.connect(3);
    server.turn_until([&] { return server.first->clients() == 5; });
}

TEST_CASE("while a request of a client that has gone has not ended, nobody else's begins, by whichever queue",
          "[nbd]") {
    TwoQueues server;
    server.disk.complete = [](block::Request& request, int result) {
        block::NbdConnection::of(request).complete(request, result);
    };
    server.disk.hold = true; // as a session does that has lost its connection
    const std::size_t gone = GENERATE(0U, 1U);
    const std::size_t other = 1 - gone;
    CAPTURE(gone);
    const auto say = [&server](std::size_t client, const std::string& text) {
        CHECK(::send(server.clients.at(client), text.data(), text.size(), MSG_NOSIGNAL) ==
              static_cast<ssize_t>(text.size()));
    };
    const auto write = [](std::uint64_t offset, char what) {
        return test::request({.type = 1, .offset = offset, .length = 512}) + std::string(512, what);
    };
    const auto seen = [&server] { return server.disk.count(block::Verb::write); };
    server.connect(2);
    server.turn_until([&] { return server.first->clients() == 1 && server.second->clients() == 1; });
    say(gone, test::client_flags() + test::go() + write(0, 'a'));
    say(other, test::client_flags() + test::go());
    server.turn_until([&] { return seen() == 1; });
    server.hang_up(gone);
    server.turn_until([&] { return server.queues->forsaken == 1; });

    say(0, write(0, 'b'));
    server.connect(1);
    say(1, test::client_flags() + test::go() + write(512, 'c'));
    server.turn_until([&] { return server.first->clients() + server.second->clients() == 2; });
    for (int i = 0; i < 20; ++i) {
        server.loop->turn(ring::monotonic_now());
    }
    CHECK(seen() == 1);
    CHECK(server.first->users() == 2);

    server.disk.hold = false;
    server.disk.release(0);
    server.turn_until([&] { return seen() == 3; });
    CHECK(server.disk.data[0] == std::byte{'b'});
    CHECK(server.disk.data[512] == std::byte{'c'});
    CHECK(server.queues->forsaken == 0);
}

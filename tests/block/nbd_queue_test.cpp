// The queue on a real loop and real sockets, turned by hand.
#include "block/nbd_queue.hpp"

#include "nbd_bench.hpp"
#include "nbd_listener.hpp"
#include "nbd_script.hpp"
#include "support/memory_block.hpp"

#include <cerrno>
#include <memory>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

using namespace iscsi;
using test::request;
using test::simple_reply;

namespace {

class Server {
public:
    explicit Server(std::size_t pool_bytes = 4 * 1024 * 1024, std::size_t disk_bytes = 1024 * 1024)
        : disk(disk_bytes), pool(test::make_pool(pool_bytes)) {
        auto made = ring::Loop::create(256);
        REQUIRE(made);
        loop = std::move(*made);
        queue = std::make_unique<block::NbdQueue>(
            block::QueueContext{*loop, *pool, disk}, listener.fd(),
            block::NbdExportInfo{"disk", "", test::test_attributes(disk_bytes)});
        disk.complete = [this](block::Request& done, int result) { queue->complete(done, result); };
    }
    ~Server() {
        if (queue && !closing_) {
            close();
        }
        disk.release_all();
        turn_until([this] { return queue == nullptr; });
    }

    void close() {
        closing_ = true;
        queue->close([this] { queue.reset(); });
    }
    void turn() { loop->turn(ring::monotonic_now() + std::chrono::milliseconds(5)); }
    template <class Done>
    void turn_until(Done done) {
        for (int i = 0; i < 4000 && !done(); ++i) {
            turn();
        }
        REQUIRE(done());
    }

    test::MemoryBlock disk;
    std::unique_ptr<block::BufferPool> pool;
    test::NbdListener listener;
    std::unique_ptr<ring::Loop> loop;
    std::unique_ptr<block::NbdQueue> queue;

private:
    bool closing_ = false;
};

class Client {
public:
    explicit Client(Server& server) : server_(server), fd_(server.listener.connect()) { REQUIRE(fd_ >= 0); }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client() { hang_up(); }

    void hang_up() {
        if (fd_ >= 0) {
            ::close(std::exchange(fd_, -1));
        }
    }

    /// Sends all of `text` and then hears until `bytes` have come.
    std::string talk(std::string_view text, std::size_t bytes) {
        std::string heard;
        server_.turn_until([&] {
            move(text, heard);
            return (text.empty() && heard.size() >= bytes) || ended_;
        });
        return heard;
    }
    void say(std::string_view text) { talk(text, 0); }
    void shake_hands() { CHECK(talk(test::client_flags() + test::go(), 18 + 32 + 34 + 20).size() == 104); }

    bool ended() {
        std::string heard;
        std::string_view nothing;
        move(nothing, heard);
        return ended_;
    }

private:
    void move(std::string_view& text, std::string& heard) {
        if (!text.empty()) {
            const ssize_t n = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
            text.remove_prefix(n > 0 ? static_cast<std::size_t>(n) : 0);
        }
        std::array<char, 65536> part;
        const ssize_t n = ::recv(fd_, part.data(), part.size(), MSG_DONTWAIT);
        if (n > 0) {
            heard.append(part.data(), static_cast<std::size_t>(n));
        }
        ended_ = ended_ || n == 0 || (n < 0 && errno == ECONNRESET);
    }

    Server& server_;
    int fd_;
    bool ended_ = false;
};

} // namespace

TEST_CASE("a client writes over a socket and reads back what it wrote", "[nbd]") {
    Server server;
    Client client(server);
    client.shake_hands();
    const std::string data = test::pattern(300 * 1024);
    CHECK(client.talk(request({.type = 1, .length = 300 * 1024, .cookie = 1}) + data, 16) == simple_reply(1));
    CHECK(client.talk(request({.type = 0, .length = 300 * 1024, .cookie = 2}), 16 + data.size()) ==
          simple_reply(2) + data);
    CHECK(server.pool->claimed() == 0);
}

TEST_CASE("clients share the export and each gets its own replies", "[nbd]") {
    Server server;
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 5; ++i) {
        clients.push_back(std::make_unique<Client>(server));
        clients.back()->shake_hands();
    }
    CHECK(server.queue->clients() == 5);
    for (unsigned i = 0; i < 5; ++i) {
        CHECK(clients[i]->talk(request({.type = 1, .offset = 4096ULL * i, .length = 4096, .cookie = i}) +
                                   test::pattern(4096, i),
                               16) == simple_reply(i));
    }
    for (unsigned i = 0; i < 5; ++i) {
        CHECK(clients[i]->talk(request({.type = 0, .offset = 4096ULL * (4 - i), .length = 4096, .cookie = i}),
                               16 + 4096) == simple_reply(i) + test::pattern(4096, 4 - i));
    }
}

TEST_CASE("a goodbye ends the connection, and so does nonsense", "[nbd]") {
    Server server;
    Client polite(server);
    polite.shake_hands();
    polite.say(request({.type = 2}));
    server.turn_until([&] { return polite.ended(); });
    Client rude(server);
    rude.shake_hands();
    rude.say(std::string(28, 'x'));
    server.turn_until([&] { return rude.ended(); });
    Client early(server);
    early.say(test::client_flags() + test::option(2));
    server.turn_until([&] { return early.ended(); });
    server.turn_until([&] { return server.queue->clients() == 0; });
}

TEST_CASE("a client that hangs up in the middle of its requests leaves no memory behind", "[nbd]") {
    Server server;
    server.disk.hold = true;
    {
        Client client(server);
        client.shake_hands();
        client.say(request({.type = 0, .length = 65536, .cookie = 1}) +
                   request({.type = 1, .length = 65536, .cookie = 2}) + test::pattern(100));
        server.turn_until([&] { return server.disk.held() == 1; });
    }
    server.turn_until([&] { return server.queue->clients() == 0; });
    CHECK(server.pool->claimed() == 65536);
    server.disk.release_all();
    CHECK(server.pool->claimed() == 0);
}

TEST_CASE("a client that came to an empty pool is served when another client's data has left", "[nbd]") {
    Server server(1024 * 1024);
    server.disk.hold = true;
    Client first(server);
    Client second(server);
    first.shake_hands();
    second.shake_hands();
    first.say(request({.type = 0, .length = 1024 * 1024, .cookie = 1}));
    server.turn_until([&] { return server.disk.held() == 1; });
    second.say(request({.type = 0, .length = 4096, .cookie = 2}));
    for (int i = 0; i < 5; ++i) {
        server.turn();
    }
    CHECK(server.disk.held() == 1);
    server.disk.hold = false;
    server.disk.release(0);
    CHECK(first.talk({}, 16 + 1024 * 1024).size() == 16 + 1024 * 1024);
    CHECK(second.talk({}, 16 + 4096) == simple_reply(2) + std::string(4096, '\0'));
}

TEST_CASE("one client more than there are places waits until another leaves", "[nbd]") {
    Server server;
    std::vector<std::unique_ptr<Client>> clients;
    for (std::size_t i = 0; i < block::NbdQueue::clients_max; ++i) {
        clients.push_back(std::make_unique<Client>(server));
    }
    server.turn_until([&] { return server.queue->clients() == block::NbdQueue::clients_max; });
    Client late(server);
    for (int i = 0; i < 5; ++i) {
        server.turn();
    }
    CHECK(server.queue->clients() == block::NbdQueue::clients_max);
    clients[7].reset();
    late.shake_hands();
}

TEST_CASE("a resize is heard by those who connect later", "[nbd]") {
    Server server;
    Client before(server);
    before.shake_hands();
    block::Attributes larger = test::test_attributes(1024 * 1024);
    larger.size_bytes = 8192;
    server.queue->resize(larger);
    CHECK(before.talk(request({.type = 0, .offset = 8192, .length = 512, .cookie = 1}), 528).size() == 528);
    Client after(server);
    after.shake_hands();
    CHECK(after.talk(request({.type = 0, .offset = 8192, .length = 512, .cookie = 1}), 16) ==
          simple_reply(1, 22));
}

TEST_CASE("a queue closes only after the handler has given back its requests", "[nbd]") {
    Server server;
    server.disk.hold = true;
    Client client(server);
    client.shake_hands();
    client.say(request({.type = 0, .length = 4096, .cookie = 1}));
    server.turn_until([&] { return server.disk.held() == 1; });
    server.close();
    REQUIRE(server.queue != nullptr);
    server.turn_until([&] { return client.ended(); });
    for (int i = 0; i < 5; ++i) {
        server.turn();
    }
    REQUIRE(server.queue != nullptr);
    CHECK(server.listener.connect() < 0);
    server.disk.release_all();
    REQUIRE(server.queue != nullptr); // never from inside complete()
    server.turn();
    CHECK(server.queue == nullptr);
    CHECK(server.pool->claimed() == 0);
}

TEST_CASE("a queue without clients closes at the end of a turn", "[nbd]") {
    Server server;
    server.close();
    REQUIRE(server.queue != nullptr);
    server.turn_until([&] { return server.queue == nullptr; });
}

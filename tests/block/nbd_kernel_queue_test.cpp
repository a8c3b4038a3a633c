// The queue behind /dev/nbdN on a real loop, with a scripted kernel at the other end of a socket pair.
#include "block/nbd_kernel_queue.hpp"

#include "nbd_bench.hpp"
#include "nbd_script.hpp"
#include "support/memory_block.hpp"

#include <array>
#include <cerrno>
#include <sys/socket.h>
#include <unistd.h>

using namespace iscsi;
using test::request;
using test::simple_reply;

namespace {

constexpr std::size_t disk_bytes = 1024 * 1024;

/// The kernel's end of a socket.
class Kernel {
public:
    explicit Kernel(block::NbdLink& link) {
        std::array<int, 2> ends{};
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
        fd_ = ends[0];
        link.give(ends[1]);
    }
    Kernel(const Kernel&) = delete;
    Kernel& operator=(const Kernel&) = delete;
    ~Kernel() { hang_up(); }

    void say(const std::string& text) {
        REQUIRE(::send(fd_, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT) ==
                static_cast<ssize_t>(text.size()));
    }
    const std::string& heard() {
        std::array<char, 65536> part;
        ssize_t n = 0;
        while ((n = ::recv(fd_, part.data(), part.size(), MSG_DONTWAIT)) > 0) {
            heard_.append(part.data(), static_cast<std::size_t>(n));
        }
        ended_ = ended_ || n == 0 || errno == ECONNRESET;
        return heard_;
    }
    bool ended() {
        heard();
        return ended_;
    }
    void hang_up() {
        if (fd_ >= 0) {
            ::close(std::exchange(fd_, -1));
        }
    }

private:
    int fd_ = -1;
    std::string heard_;
    bool ended_ = false;
};

class Server {
public:
    Server() : disk(disk_bytes), pool(test::make_pool(4 * 1024 * 1024)) {
        auto made = ring::Loop::create(256);
        REQUIRE(made);
        loop = std::move(*made);
        link = std::make_shared<block::NbdLink>(*loop);
        link->on_dead = [this] { ++deaths; };
        queue = std::make_unique<block::NbdKernelQueue>(block::QueueContext{*loop, *pool, disk},
                                                        test::test_attributes(disk_bytes), link);
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
    template <class Done>
    void turn_until(Done done) {
        for (int i = 0; i < 4000 && !done(); ++i) {
            loop->turn(ring::monotonic_now() + std::chrono::milliseconds(5));
        }
        REQUIRE(done());
    }
    /// Long enough for what has been said to be read, if it is read at all.
    void turn_a_while() {
        for (int i = 0; i < 20; ++i) {
            loop->turn(ring::monotonic_now() + std::chrono::milliseconds(1));
        }
    }

    test::MemoryBlock disk;
    std::unique_ptr<block::BufferPool> pool;
    std::unique_ptr<ring::Loop> loop;
    std::shared_ptr<block::NbdLink> link;
    std::unique_ptr<block::NbdKernelQueue> queue;
    int deaths = 0;

private:
    bool closing_ = false;
};

} // namespace

TEST_CASE("the kernel's requests are served without a handshake, with simple replies", "[nbd]") {
    Server server;
    Kernel kernel(*server.link);
    const std::string data = test::pattern(300 * 1024);
    kernel.say(request({.type = 1, .length = 4096, .cookie = 7}) + data.substr(0, 4096));
    kernel.say(request({.type = 0, .length = 4096, .cookie = 8}));
    kernel.say(request({.type = 3, .cookie = 9}));
    const std::string answers = simple_reply(7) + simple_reply(8) + data.substr(0, 4096) + simple_reply(9);
    server.turn_until([&] { return kernel.heard().size() >= answers.size(); });
    CHECK(kernel.heard() == answers);
    CHECK(server.pool->claimed() == 0);
    CHECK(server.deaths == 0);
}

TEST_CASE("an error of the handler reaches the kernel as one that it knows", "[nbd]") {
    Server server;
    Kernel kernel(*server.link);
    server.disk.error_number = EREMOTEIO;
    kernel.say(request({.type = 0, .length = 4096, .cookie = 1}));
    server.turn_until([&] { return kernel.heard().size() >= 16; });
    CHECK(kernel.heard() == simple_reply(1, EIO));
}

TEST_CASE("when the kernel disconnects the socket is closed, whatever is still at the handler", "[nbd]") {
    Server server;
    server.disk.hold = true;
    Kernel kernel(*server.link);
    kernel.say(request({.type = 0, .length = 4096, .cookie = 1}) + request({.type = 2}));
    server.turn_until([&] { return kernel.ended(); });
    server.turn_until([&] { return server.deaths == 1; });
    CHECK(server.disk.held() == 1);
    server.disk.release_all();
    CHECK(server.pool->claimed() == 0);
    CHECK(kernel.heard().empty());
}

TEST_CASE("a socket that fails, or carries nonsense, is reported dead once", "[nbd]") {
    Server server;
    Kernel first(*server.link);
    first.say(request({.type = 3, .cookie = 1}));
    server.turn_until([&] { return first.heard().size() == 16; });
    first.hang_up();
    server.turn_until([&] { return server.deaths == 1; });
    Kernel second(*server.link);
    second.say(std::string(28, 'x'));
    server.turn_until([&] { return server.deaths == 2; });
    CHECK(second.ended());
    server.turn_a_while();
    CHECK(server.deaths == 2);
}

TEST_CASE("what came over a dead socket is not answered over the next, which waits until it has ended",
          "[nbd]") {
    Server server;
    server.disk.hold = true;
    Kernel first(*server.link);
    first.say(request({.type = 1, .length = 4096, .cookie = 1}) + test::pattern(4096, 1));
    server.turn_until([&] { return server.disk.held() == 1; });
    first.hang_up();
    server.turn_until([&] { return server.deaths == 1; });

    Kernel second(*server.link);
    second.say(request({.type = 1, .length = 4096, .cookie = 2}) + test::pattern(4096, 2));
    server.turn_a_while();
    CHECK(server.disk.held() == 1); // or the old write might land behind the new one
    server.disk.release(0);
    server.turn_until([&] { return server.disk.held() == 1; });
    server.disk.hold = false;
    server.disk.release(0);
    second.say(request({.type = 0, .length = 4096, .cookie = 3}));
    const std::string answers = simple_reply(2) + simple_reply(3) + test::pattern(4096, 2);
    server.turn_until([&] { return second.heard().size() >= answers.size(); });
    CHECK(second.heard() == answers);
}

TEST_CASE("a write that arrives in part and a reply that left in part die with their socket", "[nbd]") {
    Server server;
    Kernel first(*server.link);
    for (std::uint64_t i = 0; i < 8; ++i) {
        first.say(request({.type = 0, .length = disk_bytes / 2, .cookie = i})); // more than the socket holds
    }
    first.say(request({.type = 1, .length = 8192, .cookie = 9}) + test::pattern(100));
    server.turn_until([&] { return server.disk.count(block::Verb::read) > 0; });
    server.turn_a_while();
    first.hang_up();
    server.turn_until([&] { return server.deaths == 1; });
    CHECK(server.pool->claimed() == 0);
    Kernel second(*server.link);
    second.say(request({.type = 3, .cookie = 10}));
    server.turn_until([&] { return second.heard().size() >= 16; });
    CHECK(second.heard() == simple_reply(10));
}

TEST_CASE("after a resize requests of the new size pass, and those beyond it are refused", "[nbd]") {
    Server server;
    Kernel kernel(*server.link);
    server.queue->resize(test::test_attributes(disk_bytes / 2));
    kernel.say(request({.type = 0, .offset = disk_bytes / 2, .length = 512, .cookie = 1}));
    server.turn_until([&] { return kernel.heard().size() >= 16; });
    server.queue->resize(test::test_attributes(disk_bytes));
    kernel.say(request({.type = 0, .offset = disk_bytes / 2, .length = 512, .cookie = 2}));
    server.turn_until([&] { return kernel.heard().size() >= 32 + 512; });
    CHECK(kernel.heard() == simple_reply(1, EINVAL) + simple_reply(2) + std::string(512, '\0'));
}

TEST_CASE("a queue that closes lets its socket go at once and ends when the handler has ended", "[nbd]") {
    Server server;
    server.disk.hold = true;
    Kernel kernel(*server.link);
    kernel.say(request({.type = 0, .length = 4096, .cookie = 1}));
    server.turn_until([&] { return server.disk.held() == 1; });
    server.close();
    REQUIRE(server.queue);
    server.turn_until([&] { return kernel.ended(); });
    server.turn_a_while();
    REQUIRE(server.queue);
    server.disk.release_all();
    server.turn_until([&] { return server.queue == nullptr; });
    CHECK(server.deaths == 0);
    CHECK(server.pool->claimed() == 0);
}

TEST_CASE("a queue that nobody gave a socket closes, and sockets that come too late are closed", "[nbd]") {
    Server server;
    Kernel waiting(*server.link);
    server.close();
    server.turn_until([&] { return server.queue == nullptr; });
    server.turn_until([&] { return waiting.ended(); });
    Kernel late(*server.link);
    server.turn_until([&] { return late.ended(); });
}

TEST_CASE("a socket that waits for old requests is closed with the queue", "[nbd]") {
    Server server;
    server.disk.hold = true;
    Kernel first(*server.link);
    first.say(request({.type = 0, .length = 4096, .cookie = 1}));
    server.turn_until([&] { return server.disk.held() == 1; });
    first.hang_up();
    server.turn_until([&] { return server.deaths == 1; });
    Kernel second(*server.link);
    server.turn_a_while();
    server.close();
    server.turn_until([&] { return second.ended(); });
    server.disk.release_all();
    server.turn_until([&] { return server.queue == nullptr; });
}

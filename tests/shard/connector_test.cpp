// Connections to a port that is silent, refuses, or answers late; real sockets on loopback.
#include "ring/loop.hpp"
#include "shard/connector.hpp"
#include "support/run_task.hpp"

#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <chrono>
#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>
#include <vector>

using namespace iscsi;
using namespace std::chrono_literals;

namespace {

constexpr base::Duration again = 20ms;

int open_descriptors() {
    int count = 0;
    DIR* folder = ::opendir("/proc/self/fd");
    while (::readdir(folder) != nullptr) {
        ++count;
    }
    ::closedir(folder);
    return count;
}

/// A port whose queue of connections is full: Linux drops every further SYN, until one is accepted.
class SilentPort {
public:
    SilentPort() {
        sockaddr_in& address = reinterpret_cast<sockaddr_in&>(endpoint.address);
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
        socklen_t bytes = sizeof address;
        auto* any = reinterpret_cast<sockaddr*>(&address);
        REQUIRE(::bind(listener_, any, bytes) == 0);
        REQUIRE(::listen(listener_, 0) == 0);
        REQUIRE(::getsockname(listener_, any, &bytes) == 0);
        endpoint.address_bytes = bytes;
        REQUIRE(::connect(filler_, any, bytes) == 0);
    }
    SilentPort(const SilentPort&) = delete;
    SilentPort& operator=(const SilentPort&) = delete;
    ~SilentPort() {
        for (int fd : {listener_, filler_, accepted_}) {
            ::close(fd);
        }
    }

    /// The next SYN is answered.
    void answer() { accepted_ = ::accept(listener_, nullptr, nullptr); }

    shard::Endpoint endpoint;

private:
    int listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int filler_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int accepted_ = -1;
};

struct Bench {
    std::unique_ptr<ring::Loop> loop = std::move(*ring::Loop::create());
    SilentPort port;
    shard::Connector connector{*loop};
    shard::TcpOptions options;
    ring::Task<base::Result<int>> task;
    bool done = false;
    int descriptors = 0;

    void start(shard::ConnectTimes times) {
        descriptors = open_descriptors();
        task = connector.connect(port.endpoint, options, times);
        task.start([](void* flag) { *static_cast<bool*>(flag) = true; }, &done);
    }
    /// Sockets that are on their way.
    int tried() const { return open_descriptors() - descriptors; }
    base::Result<int> result() {
        while (!done) {
            loop->turn();
        }
        return task.result();
    }
};

} // namespace

TEST_CASE("a network that was silent is found well by the next connection, not by TCP's next repetition",
          "[F-01][F-22]") {
    Bench bench;
    bench.start({std::nullopt, again});
    while (bench.tried() < 3) {
        bench.loop->turn();
    }
    bench.port.answer();
    auto fd = bench.result();
    REQUIRE(fd);
    tcp_info info{};
    socklen_t bytes = sizeof info;
    REQUIRE(::getsockopt(*fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0);
    CHECK(info.tcpi_total_retrans == 0); // those that were on their way would have had to repeat their SYN
    ::close(*fd);
    CHECK(bench.tried() == 1); // they are gone; the other end of the port's is not
}

TEST_CASE("a first login does not ask twice at a time", "[F-01]") {
    Bench bench;
    bench.start({bench.loop->now() + 10 * again, {}});
    auto fd = bench.result();
    REQUIRE_FALSE(fd);
    CHECK(fd.error().code == base::Errc::transport_timeout);
    CHECK(bench.tried() == 0);
}

TEST_CASE("connections that nobody answers are as many as may be, and end in time", "[F-20][F-33]") {
    Bench bench;
    bench.start({bench.loop->now() + 600ms, 5ms});
    int most = 0;
    while (!bench.done) {
        bench.loop->turn();
        most = std::max(most, bench.tried());
    }
    CHECK(most == 16);
    auto fd = bench.result();
    REQUIRE_FALSE(fd);
    CHECK(fd.error().code == base::Errc::transport_timeout);
    CHECK_FALSE(bench.connector.was_refused());
    CHECK(bench.tried() == 0);
}

TEST_CASE("connections that are on their way end when nobody wants them any more") {
    Bench bench;
    bench.start({std::nullopt, again});
    while (bench.tried() < 3) {
        bench.loop->turn();
    }
    bench.connector.interrupt();
    auto fd = bench.result();
    REQUIRE_FALSE(fd);
    CHECK(fd.error().code == base::Errc::transport);
    CHECK(bench.tried() == 0);
}

TEST_CASE("a change of the network is a reason for the next connection, where more than one is tried") {
    Bench bench;
    SECTION("of a session that was lost") {
        bench.start({std::nullopt, 1h});
        bench.connector.hurry();
        while (bench.tried() < 2) {
            bench.loop->turn();
        }
        bench.port.answer();
        auto fd = bench.result();
        REQUIRE(fd);
        ::close(*fd);
    }
    SECTION("and never at a first login") {
        bench.start({bench.loop->now() + 300ms, {}});
        while (!bench.done) {
            bench.connector.hurry();
            bench.loop->turn();
            CHECK(bench.tried() <= 1);
        }
        CHECK_FALSE(bench.result());
    }
}

TEST_CASE("a port that refuses has answered", "[F-20]") {
    Bench bench;
    shard::Endpoint& endpoint = bench.port.endpoint;
    // No Linux lets anybody listen there.
    reinterpret_cast<sockaddr_in&>(endpoint.address).sin_port = 0;
    bench.start({std::nullopt, again});
    auto fd = bench.result();
    REQUIRE_FALSE(fd);
    CHECK(bench.connector.was_refused());
    CHECK(bench.tried() == 0);
}

// Connections to a port that is silent, refuses, or answers late; real sockets on loopback.
#include "base/limits.hpp"
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
    ring::Task<base::Result<shard::Connected>> task;
    bool done = false;
    int descriptors = 0;

    void start(shard::ConnectTimes times) { start(times, {port.endpoint}); }
    void start(shard::ConnectTimes times, std::vector<shard::Endpoint> endpoints) {
        descriptors = open_descriptors();
        task = connector.connect(std::move(endpoints), options, times);
        task.start([](void* flag) { *static_cast<bool*>(flag) = true; }, &done);
    }
    /// Sockets that are on their way.
    int tried() const { return open_descriptors() - descriptors; }
    base::Result<shard::Connected> result() {
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
    REQUIRE(::getsockopt(fd->fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0);
    CHECK(info.tcpi_total_retrans == 0); // those that were on their way would have had to repeat their SYN
    ::close(fd->fd);
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
    CHECK(bench.connector.failures().empty());
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
        ::close(fd->fd);
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
    REQUIRE(bench.connector.failures().size() == 1);
    CHECK(bench.connector.failures().front().was_refused);
    CHECK(bench.tried() == 0);
}

namespace {

shard::Endpoint loopback(std::uint16_t port, std::uint32_t host = INADDR_LOOPBACK) {
    shard::Endpoint endpoint;
    auto& address = reinterpret_cast<sockaddr_in&>(endpoint.address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = ::htonl(host);
    address.sin_port = ::htons(port);
    endpoint.address_bytes = sizeof address;
    endpoint.text = "127.0.0." + std::to_string(host & 0xff);
    endpoint.port = port;
    return endpoint;
}

/// A port with somebody behind it.
class OpenPort {
public:
    OpenPort() {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
        socklen_t bytes = sizeof address;
        auto* any = reinterpret_cast<sockaddr*>(&address);
        REQUIRE(::bind(listener_, any, bytes) == 0);
        REQUIRE(::listen(listener_, 8) == 0);
        REQUIRE(::getsockname(listener_, any, &bytes) == 0);
        endpoint = loopback(::ntohs(address.sin_port));
    }
    OpenPort(const OpenPort&) = delete;
    OpenPort& operator=(const OpenPort&) = delete;
    ~OpenPort() { ::close(listener_); }

    shard::Endpoint endpoint;

private:
    int listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
};

} // namespace

TEST_CASE("an address that does not answer costs a moment, not its time", "[rfc8305-5]") {
    Bench bench;
    const OpenPort open;
    const base::TimePoint begun = bench.loop->now();
    bench.start({begun + 1h, {}}, {bench.port.endpoint, open.endpoint});
    auto connected = bench.result();
    REQUIRE(connected);
    CHECK(connected->endpoint == open.endpoint);
    CHECK(bench.loop->now() - begun >= base::limits::connect_stagger);
    ::close(connected->fd);
    CHECK(bench.tried() == 0);
}

TEST_CASE("behind an address that refuses the next one is tried at once", "[rfc8305-5]") {
    Bench bench;
    const OpenPort open;
    const shard::Endpoint closed = loopback(1, INADDR_LOOPBACK + 1);
    bench.start({std::nullopt, {}}, {closed, open.endpoint});
    auto connected = bench.result();
    REQUIRE(connected);
    CHECK(connected->endpoint == open.endpoint);
    REQUIRE(bench.connector.failures().size() == 1);
    CHECK(bench.connector.failures().front().endpoint == closed);
    CHECK(bench.connector.failures().front().was_refused);
    ::close(connected->fd);
}

TEST_CASE("an address that is preferred and slow comes before one that is neither", "[rfc8305-5]") {
    Bench bench;
    const OpenPort quick;
    const base::TimePoint begun = bench.loop->now();
    bench.start({begun + 1h, {}, 1}, {bench.port.endpoint, quick.endpoint});
    bool answered = false;
    SECTION("when it answers within its head start") {
        while (!bench.done) {
            if (!answered && bench.loop->now() - begun > 2 * base::limits::connect_stagger) {
                bench.port.answer(); // the SYN that TCP repeats after a second
                answered = true;
            }
            bench.loop->turn(bench.loop->now() + 20ms);
        }
    }
    SECTION("and not when it does not") {}
    auto connected = bench.result();
    REQUIRE(connected);
    CHECK((connected->endpoint == quick.endpoint) == !answered);
    CHECK((bench.loop->now() - begun >= base::limits::connect_head_start) == !answered);
    ::close(connected->fd);
}

TEST_CASE("where none of those that are preferred can answer any more the others are tried at once",
          "[rfc8305-5]") {
    Bench bench;
    const OpenPort open;
    const shard::Endpoint closed = loopback(1, INADDR_LOOPBACK + 1);
    bench.start({std::nullopt, {}, 1}, {closed, open.endpoint});
    while (!bench.done) {
        bench.loop->turn();
    }
    auto connected = bench.result();
    REQUIRE(connected);
    CHECK(connected->endpoint == open.endpoint);
    ::close(connected->fd);
}

TEST_CASE("the first address is taken where all answer") {
    Bench bench;
    const OpenPort first;
    const OpenPort second;
    bench.start({std::nullopt, {}}, {first.endpoint, second.endpoint});
    auto connected = bench.result();
    REQUIRE(connected);
    CHECK(connected->endpoint == first.endpoint);
    ::close(connected->fd);
}

TEST_CASE("when all addresses have failed each says why") {
    Bench bench;
    bench.start({std::nullopt, again}, {loopback(1, INADDR_LOOPBACK + 1), loopback(1, INADDR_LOOPBACK + 2)});
    auto connected = bench.result();
    REQUIRE_FALSE(connected);
    CHECK(connected.error().code == base::Errc::transport);
    CHECK(connected.error().detail == "127.0.0.2: Connection refused; 127.0.0.3: Connection refused");
    CHECK(connected.error().cause == base::Cause::connection_refused);
    CHECK(bench.tried() == 0);
}

TEST_CASE("of several addresses those that did not fail are asked again", "[F-01]") {
    Bench bench;
    bench.start({std::nullopt, again}, {loopback(1, INADDR_LOOPBACK + 1), bench.port.endpoint});
    while (bench.tried() < 3) {
        bench.loop->turn();
    }
    bench.port.answer();
    auto connected = bench.result();
    REQUIRE(connected);
    CHECK(connected->endpoint == bench.port.endpoint);
    ::close(connected->fd);
}

TEST_CASE("an address that is given twice is one") {
    Bench bench;
    const shard::Endpoint closed = loopback(1, INADDR_LOOPBACK + 1);
    bench.start({std::nullopt, again}, {closed, closed});
    auto connected = bench.result();
    REQUIRE_FALSE(connected);
    CHECK(connected.error().detail == "Connection refused");
    CHECK(connected.error().cause == base::Cause::connection_refused);
}

TEST_CASE("of those that were tried in vain the report names each that said why") {
    Bench bench;
    bench.start({bench.loop->now() + 400ms, {}}, {loopback(1, INADDR_LOOPBACK + 1), bench.port.endpoint});
    auto connected = bench.result();
    REQUIRE_FALSE(connected);
    CHECK(connected.error().code == base::Errc::transport_timeout);
    CHECK(connected.error().detail == "Connection timed out; 127.0.0.2: Connection refused");
    CHECK(connected.error().cause == base::Cause::no_answer);
}

TEST_CASE("a hardware address that no interface has is no connection") {
    Bench bench;
    bench.options.hardware_address = "02:00:00:00:00:77";
    bench.start({std::nullopt, again});
    auto connected = bench.result();
    REQUIRE_FALSE(connected);
    CHECK(connected.error().code == base::Errc::transport);
    CHECK(connected.error().cause == base::Cause::binding_failed);
    CHECK(bench.tried() == 0);
}

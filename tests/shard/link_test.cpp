// What a record's settings make of a connection's socket.
#include "bench.hpp"

#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

using namespace iscsi;
using namespace iscsi::test;
using namespace std::chrono_literals;

namespace {

/// The descriptor of this process that is connected to the port, or -1.
int connected_to(std::uint16_t port) {
    constexpr int descriptors_max = 1024;
    for (int fd = 0; fd < descriptors_max; ++fd) {
        sockaddr_in peer{};
        socklen_t bytes = sizeof peer;
        if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &bytes) == 0 &&
            peer.sin_family == AF_INET && peer.sin_port == htons(port)) {
            return fd;
        }
    }
    return -1;
}

unsigned user_timeout_ms(Bench& bench) {
    unsigned value = 0;
    socklen_t bytes = sizeof value;
    REQUIRE(::getsockopt(connected_to(bench.target.port()), IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &bytes) ==
            0);
    return value;
}

} // namespace

TEST_CASE("TCP gives up a connection whose bytes are not acknowledged for as long as was asked", "[F-01]") {
    Bench bench;
    shard::OpenRequest request = bench.open_request();
    request.tcp.user_timeout = 20s;
    bench.open(request);
    CHECK(user_timeout_ms(bench) == 20000);
}

TEST_CASE("where nothing was asked TCP waits as the system has it", "[F-01]") {
    Bench bench;
    bench.open();
    CHECK(user_timeout_ms(bench) == 0);
}

// A TCP connection of this host, one end of it driven by a stream that is woken for payloads, for tests: by
// the kernel that is there, and by one that cannot be asked to tell of all that arrives. Turned by hand; one
// thread.
#pragma once

#include "ring/other_kernels.hpp"
#include "ring/stream.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <cerrno>
#include <chrono>
#include <memory>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace iscsi::ring_tests {

struct DeafOwner final : ring::Stream::Owner {
    void on_progress(ring::Stream&) override {}
    void on_closed(ring::Stream&, const base::Error&) override {}
};

inline int tcp_socket() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0);
    return fd;
}

template <class Engine>
struct TcpConnection {
    /// `receive_buffer`: SO_RCVBUF, 0 = the system's.
    explicit TcpConnection(int receive_buffer = 0) {
        const int listener = tcp_socket();
        if (receive_buffer > 0) {
            REQUIRE(::setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer) ==
                    0);
        }
        sockaddr_in own{};
        own.sin_family = AF_INET;
        own.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof own;
        auto* address = reinterpret_cast<sockaddr*>(&own);
        REQUIRE(::bind(listener, address, size) == 0);
        REQUIRE(::listen(listener, 1) == 0);
        REQUIRE(::getsockname(listener, address, &size) == 0);
        peer = tcp_socket();
        REQUIRE(::connect(peer, address, size) == 0);
        const int on = 1;
        REQUIRE(::setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
        const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        REQUIRE(fd >= 0);
        ::close(listener);
        stream.open(fd, engine);
    }
    ~TcpConnection() {
        stream.close({base::Errc::cancelled, "done"}, ring::Stream::Ending::abort);
        while (!stream.is_closed()) {
            turn();
        }
        ::close(peer);
    }
    TcpConnection(const TcpConnection&) = delete;
    TcpConnection& operator=(const TcpConnection&) = delete;

    void turn(base::Duration wait = {}) { loop->turn(ring::monotonic_now() + wait); }
    void turn_until(auto condition) {
        const base::TimePoint patience = ring::monotonic_now() + std::chrono::seconds(60);
        while (!condition()) {
            REQUIRE(ring::monotonic_now() < patience);
            turn(std::chrono::milliseconds(50));
        }
    }
    /// As the peer: all of it, while the stream takes what comes.
    void send(const std::vector<char>& bytes, std::size_t from, std::size_t count) {
        const base::TimePoint patience = ring::monotonic_now() + std::chrono::seconds(60);
        while (count > 0) {
            REQUIRE(ring::monotonic_now() < patience);
            const ssize_t n = ::send(peer, bytes.data() + from, count, MSG_DONTWAIT);
            REQUIRE((n > 0 || errno == EAGAIN));
            from += static_cast<std::size_t>(std::max<ssize_t>(n, 0));
            count -= static_cast<std::size_t>(std::max<ssize_t>(n, 0));
            turn();
        }
    }

    RingsOf kernel{GENERATE(Kernel::this_one, Kernel::before_5_17)};
    std::unique_ptr<ring::Loop> loop = std::move(*ring::Loop::create(64));
    Engine engine;
    DeafOwner owner;
    ring::Stream stream{*loop, owner, ring::Stream::Wake::payload};
    int peer = -1;
};

} // namespace iscsi::ring_tests

// The simulated kernel's UDP: sockets of the daemon that are bound and receive, and what they send. Datagrams
// are not lost, and arrive at once. Addresses and ports are believed. One thread.
#pragma once

#include "base/bytes.hpp"
#include "ring/op.hpp"

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <sys/socket.h>
#include <vector>

namespace iscsi::sim {

class Kernel;

/// A numeric address and a port as system calls have them.
struct SocketAddress {
    /// `text` is an address of IPv4 or IPv6.
    static SocketAddress of(const char* text, std::uint16_t port);
    static SocketAddress from(const sockaddr* address, socklen_t bytes);
    std::uint16_t port() const;
    void set_port(std::uint16_t port);
    /// As getsockname(2) does.
    void copy_to(sockaddr* out, socklen_t* room) const;

    sockaddr_storage storage{};
    socklen_t bytes = 0;
};

class Datagrams {
public:
    explicit Datagrams(Kernel& kernel) : kernel_(kernel) {}

    /// What the daemon sends to anybody.
    std::function<void(base::Bytes bytes, const SocketAddress& to)> on_sent;
    /// One from elsewhere. False when no socket is bound to the port.
    bool deliver(std::uint16_t to_port, const SocketAddress& from, base::Bytes bytes);
    /// Whoever receives is told that error, a number of errno(3).
    void fail(int error);
    /// How many sockets there are.
    std::size_t count() const { return sockets_.size(); }
    /// Of the only one there is.
    int family() const { return sockets_.begin()->second.address.storage.ss_family; }

    // For system calls and the ring.
    void open(int fd) { sockets_[fd]; }
    bool has(int fd) const { return sockets_.contains(fd); }
    void bind(int fd, SocketAddress address);
    const SocketAddress& address(int fd) { return sockets_.at(fd).address; }
    void send(base::Bytes bytes, const SocketAddress& to) const;
    void receive(int fd, ring::Op& op, msghdr* message);
    bool cancel(ring::Op& op);
    void close(int fd) { sockets_.erase(fd); }

private:
    struct Received {
        SocketAddress from;
        std::vector<std::byte> bytes;
    };
    struct Socket {
        SocketAddress address;
        std::deque<Received> received;
        ring::Op* receiving = nullptr;
        msghdr* message = nullptr;
    };
    void serve(Socket& socket);

    Kernel& kernel_;
    std::map<int, Socket> sockets_;
    std::uint16_t next_port_ = 40000;
};

} // namespace iscsi::sim

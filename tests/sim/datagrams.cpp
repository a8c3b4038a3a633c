#include "sim/datagrams.hpp"

#include "base/check.hpp"
#include "sim/kernel.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <netinet/in.h>
#include <utility>

namespace iscsi::sim {

SocketAddress SocketAddress::of(const char* text, std::uint16_t port) {
    SocketAddress address;
    auto& v4 = reinterpret_cast<sockaddr_in&>(address.storage);
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address.storage);
    if (::inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
        v4.sin_family = AF_INET;
        address.bytes = sizeof v4;
    } else {
        base::check(::inet_pton(AF_INET6, text, &v6.sin6_addr) == 1, "a numeric address");
        v6.sin6_family = AF_INET6;
        address.bytes = sizeof v6;
    }
    address.set_port(port);
    return address;
}

SocketAddress SocketAddress::from(const sockaddr* address, socklen_t bytes) {
    SocketAddress copy;
    copy.bytes = std::min<socklen_t>(bytes, sizeof copy.storage);
    std::memcpy(&copy.storage, address, copy.bytes);
    return copy;
}

// Both families have it in the same place.
std::uint16_t SocketAddress::port() const {
    return ntohs(reinterpret_cast<const sockaddr_in&>(storage).sin_port);
}

void SocketAddress::set_port(std::uint16_t port) {
    reinterpret_cast<sockaddr_in&>(storage).sin_port = htons(port);
}

void SocketAddress::copy_to(sockaddr* out, socklen_t* room) const {
    std::memcpy(out, &storage, std::min(bytes, *room));
    *room = bytes;
}

bool Datagrams::deliver(std::uint16_t to_port, const SocketAddress& from, base::Bytes bytes) {
    auto found = std::ranges::find_if(
        sockets_, [&](const auto& entry) { return entry.second.address.port() == to_port; });
    if (found == sockets_.end()) {
        return false;
    }
    found->second.received.push_back({from, {bytes.begin(), bytes.end()}});
    serve(found->second);
    return true;
}

void Datagrams::bind(int fd, SocketAddress address) {
    if (address.port() == 0) {
        address.set_port(next_port_++);
    }
    sockets_.at(fd).address = address;
}

void Datagrams::send(base::Bytes bytes, const SocketAddress& to) const {
    if (on_sent) {
        on_sent(bytes, to);
    }
}

void Datagrams::receive(int fd, ring::Op& op, msghdr* message) {
    Socket& socket = sockets_.at(fd);
    socket.receiving = &op;
    socket.message = message;
    serve(socket);
}

void Datagrams::serve(Socket& socket) {
    if (socket.receiving == nullptr || socket.received.empty()) {
        return;
    }
    const Received received = std::move(socket.received.front());
    socket.received.pop_front();
    const iovec& room = socket.message->msg_iov[0];
    const std::size_t taken = std::min(room.iov_len, received.bytes.size());
    std::memcpy(room.iov_base, received.bytes.data(), taken);
    socket.message->msg_flags = taken < received.bytes.size() ? MSG_TRUNC : 0;
    received.from.copy_to(static_cast<sockaddr*>(socket.message->msg_name), &socket.message->msg_namelen);
    kernel_.complete(*std::exchange(socket.receiving, nullptr), static_cast<int>(taken));
}

void Datagrams::fail(int error) {
    for (auto& [fd, socket] : sockets_) {
        if (socket.receiving != nullptr) {
            kernel_.complete(*std::exchange(socket.receiving, nullptr), -error);
        }
    }
}

bool Datagrams::cancel(ring::Op& op) {
    for (auto& [fd, socket] : sockets_) {
        if (socket.receiving == &op) {
            socket.receiving = nullptr;
            kernel_.complete(op, -ECANCELED);
            return true;
        }
    }
    return false;
}

} // namespace iscsi::sim

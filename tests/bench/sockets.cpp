#include "bench/sockets.hpp"

#include "bench/loop.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fmt/core.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace iscsi::bench {
namespace {

[[noreturn]] void die_of_errno(const char* what) {
    die(fmt::format("{}: {}", what, std::strerror(errno)));
}

void send_at_once(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

Socket new_socket() {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        die_of_errno("socket");
    }
    return Socket(fd);
}

sockaddr* generic(sockaddr_in& address) {
    return reinterpret_cast<sockaddr*>(&address);
}

/// What is left of `pieces` when the first `bytes` are gone.
std::span<iovec> after(std::span<iovec> pieces, std::size_t bytes) {
    while (!pieces.empty() && bytes >= pieces.front().iov_len) {
        bytes -= pieces.front().iov_len;
        pieces = pieces.subspan(1);
    }
    if (bytes > 0) {
        iovec& piece = pieces.front();
        piece.iov_base = static_cast<std::byte*>(piece.iov_base) + bytes;
        piece.iov_len -= bytes;
    }
    return pieces;
}

} // namespace

Socket::~Socket() {
    if (fd_ >= 0) {
        close(fd_);
    }
}

Socket connect_to(const std::string& address, std::uint16_t port) {
    sockaddr_in peer{};
    peer.sin_family = AF_INET;
    peer.sin_port = htons(port);
    if (inet_pton(AF_INET, address.c_str(), &peer.sin_addr) != 1) {
        die(fmt::format("not an IPv4 address: {}", address));
    }
    Socket socket = new_socket();
    if (connect(socket.fd(), generic(peer), sizeof peer) != 0) {
        die_of_errno("connect");
    }
    send_at_once(socket.fd());
    return socket;
}

Socket listen_on_loopback(std::uint16_t port) {
    Socket listener = new_socket();
    int on = 1;
    setsockopt(listener.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in own{};
    own.sin_family = AF_INET;
    own.sin_port = htons(port);
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener.fd(), generic(own), sizeof own) != 0 || listen(listener.fd(), SOMAXCONN) != 0) {
        die_of_errno("listen");
    }
    return listener;
}

Socket accept_from(int listener) {
    int fd = -1;
    do {
        fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (fd < 0) {
        die_of_errno("accept");
    }
    send_at_once(fd);
    return Socket(fd);
}

std::uint16_t local_port(int fd) {
    sockaddr_in own{};
    socklen_t size = sizeof own;
    if (getsockname(fd, generic(own), &size) != 0) {
        die_of_errno("getsockname");
    }
    return ntohs(own.sin_port);
}

std::size_t receive_some(int fd, base::MutableBytes place) {
    ssize_t received = 0;
    do {
        received = recv(fd, place.data(), place.size(), 0);
    } while (received < 0 && errno == EINTR);
    return received > 0 ? static_cast<std::size_t>(received) : 0;
}

bool send_all(int fd, std::span<iovec> pieces) {
    while (!pieces.empty()) {
        msghdr message{};
        message.msg_iov = pieces.data();
        message.msg_iovlen = std::min<std::size_t>(pieces.size(), IOV_MAX);
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0) {
            return false;
        }
        pieces = after(pieces, static_cast<std::size_t>(sent));
    }
    return true;
}

} // namespace iscsi::bench

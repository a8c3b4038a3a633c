#include "scripted/tcp_server.hpp"

#include <array>
#include <cerrno>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <span>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>

namespace iscsi::scripted {
namespace {

int checked(int result, const char* what) {
    if (result < 0) {
        throw std::system_error(errno, std::generic_category(), what);
    }
    return result;
}

} // namespace

TcpServer::TcpServer(TargetConfig config) : target_(std::move(config)) {
    listener_ = checked(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
    wake_ = checked(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof address;
    checked(::bind(listener_, reinterpret_cast<sockaddr*>(&address), bytes), "bind");
    checked(::listen(listener_, 8), "listen");
    checked(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &bytes), "getsockname");
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
}

TcpServer::~TcpServer() {
    {
        std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake();
    thread_.join();
    ::close(listener_);
    ::close(wake_);
}

void TcpServer::wake() const {
    std::uint64_t one = 1;
    (void)!::write(wake_, &one, sizeof one);
}

void TcpServer::serve() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        deliver();
        bool more = fd_ >= 0 && !target_.output().empty();
        auto events = static_cast<short>(more ? POLLIN | POLLOUT : POLLIN);
        // poll() passes over a descriptor of -1.
        std::array<pollfd, 3> waits{{{wake_, POLLIN, 0}, {listener_, POLLIN, 0}, {fd_, events, 0}}};
        lock.unlock();
        ::poll(waits.data(), waits.size(), -1);
        lock.lock();
        std::uint64_t ignored = 0;
        (void)!::read(wake_, &ignored, sizeof ignored);
        if (waits[2].revents != 0) {
            receive();
        }
        if (waits[1].revents != 0) {
            accept_next();
        }
    }
    end_connection(true);
    close_kept();
}

void TcpServer::close_kept() {
    for (int kept : std::exchange(kept_, {})) {
        ::close(kept);
    }
}

void TcpServer::end_old_connections() {
    std::lock_guard lock(mutex_);
    close_kept();
}

void TcpServer::accept_next() {
    int next = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (next < 0) {
        return;
    }
    if (fd_ >= 0 && keeps_old_) {
        kept_.push_back(std::exchange(fd_, -1));
        target_.end_connection();
    }
    end_connection(false);
    fd_ = next;
    int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    half_closed_ = false;
    target_.begin_connection();
}

void TcpServer::receive() {
    ByteVector buffer(std::size_t{256} * 1024);
    while (fd_ >= 0) {
        ssize_t n = ::recv(fd_, buffer.data(), buffer.size(), 0);
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n <= 0) {
            end_connection(false);
            return;
        }
        target_.receive(std::span(buffer).first(static_cast<std::size_t>(n)));
        deliver();
    }
}

void TcpServer::deliver() {
    while (fd_ >= 0 && !target_.output().pending().empty() && target_.ending() != Ending::abort) {
        std::span<const std::byte> pending = target_.output().pending();
        ssize_t n = ::send(fd_, pending.data(), pending.size(), MSG_NOSIGNAL);
        if (n < 0) {
            break; // later, or the next receive says that it is over
        }
        target_.output().consumed(static_cast<std::size_t>(n));
    }
    if (fd_ < 0) {
        return;
    }
    if (target_.ending() == Ending::abort) {
        end_connection(true);
    } else if (target_.ending() == Ending::orderly && !half_closed_) {
        ::shutdown(fd_, SHUT_WR);
        half_closed_ = true;
    }
}

void TcpServer::end_connection(bool abort) {
    if (fd_ < 0) {
        return;
    }
    if (abort) {
        linger reset{1, 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    ::close(std::exchange(fd_, -1));
    target_.end_connection();
}

} // namespace iscsi::scripted

#include "shard/link.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>
#include <utility>

namespace iscsi::shard {
namespace {

/// A descriptor that is closed unless it was given away.
class FileDescriptor {
public:
    explicit FileDescriptor(int fd) : fd_(fd) {}
    FileDescriptor(const FileDescriptor&) = delete;
    FileDescriptor& operator=(const FileDescriptor&) = delete;
    ~FileDescriptor() {
        if (fd_ >= 0) {
            ::close(fd_);
        }
    }
    int get() const { return fd_; }
    int release() { return std::exchange(fd_, -1); }

private:
    int fd_;
};

tl::unexpected<base::Error> call_failed(const char* call, int error_number) {
    return base::fail(base::Errc::transport, std::string(call) + ": " + std::strerror(error_number));
}

base::Result<void> apply_options(int fd, const TcpOptions& options) {
    int on = 1;
    if (::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
        return call_failed("TCP_NODELAY", errno);
    }
    if (options.window_bytes > 0) {
        // The kernel caps them at net.core.[rw]mem_max without an error.
        ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &options.window_bytes, sizeof options.window_bytes);
        ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &options.window_bytes, sizeof options.window_bytes);
    }
    const std::string& device = options.net_device;
    if (!device.empty() && ::setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device.c_str(),
                                        static_cast<socklen_t>(device.size())) != 0) {
        return call_failed(("binding to " + device).c_str(), errno);
    }
    const std::string& congestion = options.congestion_control;
    if (!congestion.empty() && ::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion.c_str(),
                                            static_cast<socklen_t>(congestion.size())) != 0) {
        return call_failed(("congestion control " + congestion).c_str(), errno);
    }
    return {};
}

/// Not before the connection is made, which has a time of its own.
base::Result<void> apply_user_timeout(int fd, const TcpOptions& options) {
    const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(options.user_timeout);
    const auto value = static_cast<unsigned>(std::min<std::int64_t>(milliseconds.count(), INT_MAX));
    if (value != 0 && ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, sizeof value) != 0) {
        return call_failed("TCP_USER_TIMEOUT", errno);
    }
    return {};
}

} // namespace

Link::Link(ring::Loop& loop) : loop_(loop), stream_(loop, *this) {}

ring::Task<base::Result<void>> Link::connect(const Endpoint& endpoint, const TcpOptions& options,
                                             base::Deadline deadline) {
    FileDescriptor fd(::socket(endpoint.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (fd.get() < 0) {
        co_return call_failed("socket", errno);
    }
    if (auto applied = apply_options(fd.get(), options); !applied) {
        co_return base::fail(std::move(applied.error()));
    }
    ring::OpWait connecting(loop_);
    io_uring_prep_connect(connecting.sqe(), fd.get(), reinterpret_cast<const sockaddr*>(&endpoint.address),
                          endpoint.address_bytes);
    connecting.expire_at(deadline);
    connecting_ = &connecting;
    int result = co_await connecting;
    connecting_ = nullptr;
    was_refused_ = result == -ECONNREFUSED;
    if (result < 0 && connecting.expired()) {
        co_return base::fail(base::Errc::transport_timeout, std::strerror(ETIMEDOUT));
    }
    if (result < 0) {
        co_return base::fail(base::Errc::transport, std::strerror(-result));
    }
    if (auto applied = apply_user_timeout(fd.get(), options); !applied) {
        co_return base::fail(std::move(applied.error()));
    }
    connected_fd_ = fd.release();
    co_return base::Result<void>();
}

void Link::interrupt() {
    if (connecting_ != nullptr) {
        connecting_->cancel();
    } else if (listener_ == nullptr) {
        stream_.close({base::Errc::cancelled, "interrupted"}, ring::Stream::Ending::abort);
    }
}

void Link::begin(base::Engine& engine) {
    changed_.reset();
    if (connected_fd_ >= 0) {
        closed_.reset();
        stream_.open(std::exchange(connected_fd_, -1), engine);
    } else {
        stream_.hand_over(engine);
    }
}

void Link::attach(base::Engine& engine, Listener& listener) {
    listener_ = &listener;
    begin(engine);
}

ring::Task<void> Link::end(ring::Stream::Ending ending) {
    listener_ = nullptr;
    if (connected_fd_ >= 0) {
        ::close(std::exchange(connected_fd_, -1));
    }
    if (stream_.is_closed()) {
        co_return;
    }
    base::Error reason;
    reason.code = base::Errc::cancelled;
    stream_.close(std::move(reason), ending);
    co_await closed_;
}

std::string Link::local_address() const {
    sockaddr_storage address{};
    socklen_t bytes = sizeof address;
    if (stream_.fd() < 0 || ::getsockname(stream_.fd(), reinterpret_cast<sockaddr*>(&address), &bytes) != 0) {
        return {};
    }
    char text[INET6_ADDRSTRLEN] = "";
    if (address.ss_family == AF_INET6) {
        const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
        ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    } else {
        const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
        ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    }
    return text;
}

void Link::on_progress(ring::Stream&) {
    if (listener_ != nullptr) {
        listener_->on_link_progress();
    } else {
        changed_.set();
    }
}

void Link::on_closed(ring::Stream&, const base::Error& error) {
    error_ = error;
    Listener* listener = std::exchange(listener_, nullptr);
    // Whoever is woken last here may destroy this link or open it again.
    bool waited_for = closed_.has_waiter();
    closed_.set();
    if (waited_for) {
        return;
    }
    if (listener != nullptr) {
        listener->on_link_closed(error);
    } else {
        changed_.set();
    }
}

} // namespace iscsi::shard

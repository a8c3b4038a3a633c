#include "shard/link.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <unistd.h>
#include <utility>

namespace iscsi::shard {

Link::Link(ring::Loop& loop) : connector_(loop), stream_(loop, *this, ring::Stream::Wake::payload) {}

ring::Task<base::Result<Endpoint>> Link::connect(std::vector<Endpoint> endpoints, const TcpOptions& options,
                                                 ConnectTimes times) {
    connecting_ = true;
    auto connected = co_await connector_.connect(std::move(endpoints), options, times);
    connecting_ = false;
    if (!connected) {
        co_return base::fail(std::move(connected.error()));
    }
    connected_fd_ = connected->fd;
    co_return std::move(connected->endpoint);
}

void Link::interrupt() {
    if (connecting_) {
        connector_.interrupt();
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
    const int fd = connected_fd_ >= 0 ? connected_fd_ : stream_.fd();
    if (fd < 0 || ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) {
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

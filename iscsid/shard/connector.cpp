#include "shard/connector.hpp"

#include "base/limits.hpp"

#include <algorithm>
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

/// One socket on its way; closed with it, unless it was taken.
class Connector::Attempt {
public:
    Attempt(Connector& connector, int fd)
        : connector_(connector), fd_(fd), op_(ring::Op::to<&Attempt::on_complete>(this)) {}
    Attempt(const Attempt&) = delete;
    Attempt& operator=(const Attempt&) = delete;
    ~Attempt() {
        if (fd_ >= 0) {
            ::close(fd_);
        }
    }

    int fd() const { return fd_; }
    int take() { return std::exchange(fd_, -1); }
    void begin(const Endpoint& endpoint) {
        io_uring_prep_connect(connector_.loop_.sqe(op_), fd_,
                              reinterpret_cast<const sockaddr*>(&endpoint.address), endpoint.address_bytes);
    }
    /// Nothing when it has ended.
    void cancel() { connector_.loop_.ring().cancel(op_); }

private:
    void on_complete(ring::Completion completion) { connector_.on_end(*this, completion.result); }

    Connector& connector_;
    int fd_;
    ring::Op op_;
};

Connector::Connector(ring::Loop& loop) : loop_(loop) {}

Connector::~Connector() = default;

ring::Task<base::Result<int>> Connector::connect(const Endpoint& endpoint, const TcpOptions& options,
                                                 ConnectTimes times) {
    fd_ = -1;
    error_ = 0;
    interrupted_ = false;
    base::Result<void> begun;
    next_ = loop_.now();
    while (fd_ < 0 && error_ == 0 && !interrupted_ && begun) {
        if (times.deadline && loop_.now() >= *times.deadline) {
            break;
        }
        if (next_ && loop_.now() >= *next_) {
            begun = begin(endpoint, options);
            const bool again =
                times.again_every > base::Duration{} && attempts_.size() < base::limits::connects_max;
            begun_at_ = loop_.now();
            next_ = again ? base::Deadline(begun_at_ + times.again_every) : std::nullopt;
            continue;
        }
        const bool next_first = next_ && (!times.deadline || *next_ < *times.deadline);
        news_.reset();
        ring::EventOrDeadline waiting(loop_, news_, next_first ? next_ : times.deadline);
        co_await waiting;
    }
    next_.reset();
    co_await end_attempts();
    if (fd_ >= 0 && !interrupted_ && begun) {
        begun = apply_user_timeout(fd_, options);
    }
    const int fd = std::exchange(fd_, -1);
    if (fd >= 0 && !interrupted_ && begun) {
        co_return fd;
    }
    if (fd >= 0) {
        ::close(fd);
    }
    if (!begun) {
        co_return base::fail(std::move(begun.error()));
    }
    if (interrupted_ || error_ != 0) {
        co_return base::fail(base::Errc::transport, std::strerror(interrupted_ ? ECANCELED : error_));
    }
    co_return base::fail(base::Errc::transport_timeout, std::strerror(ETIMEDOUT));
}

base::Result<void> Connector::begin(const Endpoint& endpoint, const TcpOptions& options) {
    const int fd = ::socket(endpoint.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        // Those that are on their way may do.
        return attempts_.empty() ? call_failed("socket", errno) : base::Result<void>();
    }
    auto attempt = std::make_unique<Attempt>(*this, fd);
    if (auto applied = apply_options(fd, options); !applied) {
        return applied;
    }
    attempt->begin(endpoint);
    attempts_.push_back(std::move(attempt));
    ++in_progress_;
    return {};
}

void Connector::on_end(Attempt& attempt, int result) {
    --in_progress_;
    if (result == 0 && fd_ < 0) {
        fd_ = attempt.take();
    } else if (result < 0 && result != -ECANCELED && error_ == 0) {
        error_ = -result;
    }
    news_.set();
}

ring::Task<void> Connector::end_attempts() {
    for (const auto& attempt : attempts_) {
        attempt->cancel();
    }
    while (in_progress_ > 0) {
        news_.reset();
        co_await news_;
    }
    attempts_.clear();
}

void Connector::hurry() {
    if (next_) {
        next_ = std::min<base::TimePoint>(*next_, begun_at_ + base::limits::reconnect_pause_min);
        news_.set();
    }
}

void Connector::interrupt() {
    interrupted_ = true;
    news_.set();
}

bool Connector::was_refused() const {
    return error_ == ECONNREFUSED;
}

} // namespace iscsi::shard

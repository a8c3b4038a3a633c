#include "shard/connector.hpp"

#include "base/check.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <unistd.h>
#include <utility>

namespace iscsi::shard {

/// One socket on its way; closed with it, unless it was taken.
class Connector::Attempt {
public:
    Attempt(Connector& connector, const Endpoint& endpoint, int fd)
        : connector_(connector), endpoint_(endpoint), fd_(fd),
          op_(ring::Op::to<&Attempt::on_complete>(this)) {}
    Attempt(const Attempt&) = delete;
    Attempt& operator=(const Attempt&) = delete;
    ~Attempt() {
        if (fd_ >= 0) {
            ::close(fd_);
        }
    }

    int take() { return std::exchange(fd_, -1); }
    const Endpoint& endpoint() const { return endpoint_; }
    bool has_ended() const { return ended_; }
    void begin() {
        io_uring_prep_connect(connector_.loop_.sqe(op_), fd_,
                              reinterpret_cast<const sockaddr*>(&endpoint_.address), endpoint_.address_bytes);
    }
    /// Nothing when it has ended.
    void cancel() { connector_.loop_.ring().cancel(op_); }

private:
    void on_complete(ring::Completion completion) {
        ended_ = true;
        connector_.on_end(*this, completion.result);
    }

    Connector& connector_;
    Endpoint endpoint_;
    int fd_;
    bool ended_ = false;
    ring::Op op_;
};

Connector::Connector(ring::Loop& loop) : loop_(loop) {}

Connector::~Connector() = default;

ring::Task<base::Result<Connected>> Connector::connect(std::vector<Endpoint> endpoints,
                                                       const TcpOptions& options, ConnectTimes times) {
    base::check(!endpoints.empty(), "an address to connect to");
    endpoints_.clear();
    for (Endpoint& endpoint : endpoints) {
        if (std::ranges::count(endpoints_, endpoint) == 0) {
            endpoints_.push_back(std::move(endpoint));
        }
    }
    failures_.clear();
    auto bound = with_device(options);
    if (!bound) {
        co_return base::fail(std::move(bound.error()));
    }
    begun_ = 0;
    preferred_ = times.preferred;
    connected_ = {};
    interrupted_ = false;
    next_ = loop_.now();
    while (connected_.fd < 0 && !is_hopeless() && !interrupted_) {
        if (times.deadline && loop_.now() >= *times.deadline) {
            break;
        }
        if (next_ && loop_.now() >= *next_) {
            begin_next(*bound, times);
            continue;
        }
        const bool next_first = next_ && (!times.deadline || *next_ < *times.deadline);
        news_.reset();
        ring::EventOrDeadline waiting(loop_, news_, next_first ? next_ : times.deadline);
        co_await waiting;
    }
    next_.reset();
    co_await end_attempts();
    Connected connected = std::exchange(connected_, {});
    if (connected.fd >= 0) {
        auto applied = apply_user_timeout(connected.fd, options);
        if (applied && !interrupted_) {
            co_return connected;
        }
        ::close(connected.fd);
        if (!applied) {
            co_return base::fail(std::move(applied.error()));
        }
    }
    co_return base::fail(error());
}

/// An address that failed answered: it is not asked again by the same connect().
void Connector::begin_next(const TcpOptions& options, ConnectTimes times) {
    std::erase_if(attempts_, [](const auto& attempt) { return attempt->has_ended(); });
    while (has_failed(endpoints_[begun_ % endpoints_.size()])) {
        ++begun_;
    }
    begun_at_ = loop_.now();
    next_.reset();
    const Endpoint& endpoint = endpoints_[begun_ % endpoints_.size()];
    const bool is_more_to_try = ++begun_ < endpoints_.size();
    if (attempts_.size() + 1 < base::limits::connects_max) {
        if (is_more_to_try) {
            next_ = begun_at_ +
                    (begun_ == preferred_ ? base::limits::connect_head_start : base::limits::connect_stagger);
        } else if (times.again_every > base::Duration{}) {
            next_ = begun_at_ + times.again_every;
        }
    }
    begin(endpoint, options);
}

void Connector::begin(const Endpoint& endpoint, const TcpOptions& options) {
    const int fd = ::socket(endpoint.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        const int error_number = errno;
        const auto same = [&](const auto& attempt) { return attempt->endpoint() == endpoint; };
        // Those that are on their way may do.
        if (std::ranges::none_of(attempts_, same)) {
            fail(endpoint, {base::Errc::transport, fmt::format("socket: {}", std::strerror(error_number))},
                 false);
        }
        return;
    }
    auto attempt = std::make_unique<Attempt>(*this, endpoint, fd);
    if (auto applied = apply_before_connect(fd, endpoint.address.ss_family, options); !applied) {
        fail(endpoint, std::move(applied.error()), false);
        return;
    }
    attempt->begin();
    attempts_.push_back(std::move(attempt));
    ++in_progress_;
}

bool Connector::has_failed(const Endpoint& endpoint) const {
    return std::ranges::any_of(failures_,
                               [&](const ConnectFailure& failure) { return failure.endpoint == endpoint; });
}

void Connector::fail(const Endpoint& endpoint, base::Error error, bool was_refused) {
    if (has_failed(endpoint)) {
        return;
    }
    failures_.push_back({endpoint, std::move(error), was_refused});
    const bool preferred_may_answer = begun_ == preferred_ && in_progress_ != 0;
    if (begun_ < endpoints_.size() && !preferred_may_answer) {
        next_ = loop_.now(); // nothing to wait for
    }
}

/// Why there is no connection.
base::Error Connector::error() const {
    if (interrupted_) {
        return {base::Errc::transport, std::strerror(ECANCELED)};
    }
    if (is_hopeless() && failures_.size() == 1) {
        return failures_.front().error;
    }
    std::string all = is_hopeless() ? "" : std::strerror(ETIMEDOUT);
    for (const ConnectFailure& failure : failures_) {
        all += fmt::format("{}{}: {}", all.empty() ? "" : "; ", failure.endpoint.text, failure.error.detail);
    }
    const base::Cause cause = is_hopeless() ? failures_.front().error.cause : base::Cause::no_answer;
    return {is_hopeless() ? base::Errc::transport : base::Errc::transport_timeout, std::move(all), cause};
}

void Connector::on_end(Attempt& attempt, int result) {
    --in_progress_;
    if (result == 0 && connected_.fd < 0) {
        connected_ = {attempt.take(), attempt.endpoint()};
    } else if (result < 0 && result != -ECANCELED) {
        fail(attempt.endpoint(),
             {base::Errc::transport, std::strerror(-result), base::cause_of_connect(-result)},
             result == -ECONNREFUSED);
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

} // namespace iscsi::shard

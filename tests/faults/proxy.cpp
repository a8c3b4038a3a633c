#include "faults/proxy.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdexcept>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace iscsi::faults {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t waiting_bytes_max = std::size_t{64} << 20; ///< of a lane; then it reads no more
constexpr auto left_behind = 30s; ///< how long an end lives whose other end was reset alone

[[noreturn]] void fail(const char* what) {
    throw std::system_error(errno, std::system_category(), what);
}

void no_delay(int fd) {
    const int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

} // namespace

Endpoint::Endpoint(const std::string& text) {
    const std::size_t colon = text.rfind(':');
    if (colon == text.npos) {
        throw std::runtime_error(fmt::format("'{}' is not ADDRESS:PORT", text));
    }
    const auto port = htons(static_cast<std::uint16_t>(std::atoi(text.c_str() + colon + 1)));
    std::string host = text.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) {
        host = host.substr(1, host.size() - 2);
    }
    auto* const v4 = reinterpret_cast<sockaddr_in*>(&address);
    auto* const v6 = reinterpret_cast<sockaddr_in6*>(&address);
    if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = port;
        length = sizeof *v4;
    } else if (inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = port;
        length = sizeof *v6;
    } else {
        throw std::runtime_error(fmt::format("'{}' is not ADDRESS:PORT", text));
    }
}

Proxy::Proxy(const Endpoint& listen_at, const Endpoint& target, std::uint64_t seed)
    : listen_at_(listen_at), target_(target), plan_(seed) {
    listen();
}

Proxy::~Proxy() {
    for (Pair& pair : pairs_) {
        close_end(pair.initiator, false);
        close_end(pair.target, false);
    }
    if (listener_ >= 0) {
        close(listener_);
    }
}

void Proxy::listen() {
    listener_ = socket(listen_at_.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int one = 1;
    if (listener_ < 0 || setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(listener_, reinterpret_cast<const sockaddr*>(&listen_at_.address), listen_at_.length) != 0 ||
        ::listen(listener_, 64) != 0) {
        fail("listening");
    }
    // The same port again, after a refusal.
    listen_at_.length = sizeof listen_at_.address;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&listen_at_.address), &listen_at_.length);
}

std::uint16_t Proxy::port() const {
    return ntohs(listen_at_.address.ss_family == AF_INET
                     ? reinterpret_cast<const sockaddr_in*>(&listen_at_.address)->sin_port
                     : reinterpret_cast<const sockaddr_in6*>(&listen_at_.address)->sin6_port);
}

std::optional<std::string> Proxy::obey(const std::string& line) {
    hurry_ = true;
    if (line == "reset now") {
        for (Pair& pair : pairs_) {
            reset(pair);
        }
        return std::nullopt;
    }
    if (line == "refuse") {
        if (listener_ >= 0) {
            close(listener_);
        }
        listener_ = -1;
        return std::nullopt;
    }
    if (line == "refuse off") {
        if (listener_ < 0) {
            listen();
        }
        return std::nullopt;
    }
    if (line.starts_with("target ")) {
        target_ = Endpoint(line.substr(7));
        return std::nullopt;
    }
    return plan_.obey(line);
}

void Proxy::accept_one() {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    ++counts_.connections;
    Pair& pair = pairs_.emplace_back(plan_);
    pair.initiator.fd = fd;
    pair.target.fd = socket(target_.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (pair.target.fd < 0) {
        fail("a socket for the target");
    }
    no_delay(fd);
    no_delay(pair.target.fd);
    const auto* const where = reinterpret_cast<const sockaddr*>(&target_.address);
    if (connect(pair.target.fd, where, target_.length) != 0 && errno != EINPROGRESS) {
        ++counts_.refused;
        reset(pair);
    }
}

void Proxy::close_end(End& end, bool abort) {
    if (end.fd < 0) {
        return;
    }
    if (abort) {
        const linger at_once{1, 0};
        setsockopt(end.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    close(end.fd);
    end.fd = -1;
}

void Proxy::reset(Pair& pair) {
    ++counts_.resets;
    close_end(pair.initiator, true);
    close_end(pair.target, true);
}

void Proxy::orphan(Pair& pair) {
    ++counts_.resets;
    close_end(pair.initiator, true);
    pair.dies = Clock::now() + left_behind;
}

void Proxy::on_error(Pair& pair, End& failed) {
    const bool alone = pair.initiator.fd < 0 || pair.target.fd < 0;
    const Way from_it = &failed == &pair.initiator ? Way::out : Way::in;
    close_end(failed, true);
    if (pair.connecting || alone) {
        counts_.refused += pair.connecting ? 1 : 0;
        reset(pair);
        return;
    }
    // The other one hears of it behind what was on its way; or never, where there is a hole.
    (from_it == Way::out ? pair.out : pair.in).take_end(Ending::reset, Clock::now());
    pair.dies = plan_.mode(from_it).hole ? Clock::now() + left_behind : pair.dies;
}

void Proxy::receive(Pair& pair, End& from, Lane& lane) {
    while (from.fd >= 0 && !from.heard_all && lane.waiting_bytes() < waiting_bytes_max) {
        const ssize_t got = recv(from.fd, buffer_.data(), buffer_.size(), 0);
        if (got < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                on_error(pair, from);
            }
            return;
        }
        const auto now = Clock::now();
        if (got == 0) {
            from.heard_all = true;
            lane.take_end(Ending::finish, now);
            return;
        }
        (&lane == &pair.out ? counts_.bytes_out : counts_.bytes_in) += static_cast<std::uint64_t>(got);
        lane.take({buffer_.data(), static_cast<std::size_t>(got)}, now);
        if (lane.broken()) {
            reset(pair);
        }
        if (static_cast<std::size_t>(got) < buffer_.size()) {
            return;
        }
    }
}

void Proxy::send(Pair& pair, End& to, Lane& lane) {
    const auto now = Clock::now();
    lane.wake(now);
    if (lane.take_orphaning()) {
        orphan(pair);
    }
    to.events &= static_cast<short>(~POLLOUT);
    while (to.fd >= 0) {
        const base::Bytes bytes = lane.sendable(now);
        if (bytes.empty()) {
            break;
        }
        const ssize_t done = ::send(to.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (done < 0) {
            if (errno == EAGAIN) {
                to.events |= POLLOUT;
            } else {
                on_error(pair, to);
            }
            return;
        }
        lane.sent(static_cast<std::size_t>(done), now);
    }
    end_of(pair, lane, lane.take_ending(now));
}

void Proxy::end_of(Pair& pair, Lane& lane, Ending ending) {
    if (ending == Ending::reset) {
        reset(pair);
    }
    if (ending != Ending::finish) {
        return;
    }
    const bool is_out = &lane == &pair.out;
    const End& to = is_out ? pair.target : pair.initiator;
    const End& from = is_out ? pair.initiator : pair.target;
    const Lane& other = is_out ? pair.in : pair.out;
    if (to.fd >= 0) {
        shutdown(to.fd, SHUT_WR);
    }
    // Cut off by the plan, or the second direction of the two.
    if (!from.heard_all || to.fd < 0 || (to.heard_all && other.waiting_bytes() == 0)) {
        close_end(pair.initiator, false);
        close_end(pair.target, false);
    }
}

void Proxy::serve(Pair& pair) {
    if (pair.connecting && pair.target.fd >= 0) {
        int error = 0;
        socklen_t length = sizeof error;
        getsockopt(pair.target.fd, SOL_SOCKET, SO_ERROR, &error, &length);
        sockaddr_storage peer;
        length = sizeof peer;
        const bool there = getpeername(pair.target.fd, reinterpret_cast<sockaddr*>(&peer), &length) == 0;
        if (error != 0) {
            on_error(pair, pair.target);
        }
        if (!there) {
            return;
        }
        pair.connecting = false;
    }
    receive(pair, pair.initiator, pair.out);
    receive(pair, pair.target, pair.in);
    send(pair, pair.target, pair.out);
    send(pair, pair.initiator, pair.in);
}

std::chrono::milliseconds Proxy::until_next(std::chrono::milliseconds most) const {
    const auto now = Clock::now();
    auto out = most;
    for (const Pair& pair : pairs_) {
        for (const Lane* lane : {&pair.out, &pair.in}) {
            if (const auto wakes = lane->wakes(); wakes && *wakes > now) {
                out = std::min(out, std::chrono::ceil<std::chrono::milliseconds>(*wakes - now));
            }
        }
    }
    return out;
}

bool Proxy::turn(std::chrono::milliseconds most, int other) {
    std::vector<pollfd> all = {{other, POLLIN, 0}, {listener_, POLLIN, 0}};
    for (Pair& pair : pairs_) {
        const auto want = [](const End& end, const Lane& from_it) {
            const bool listens = !end.heard_all && from_it.waiting_bytes() < waiting_bytes_max;
            const auto events = static_cast<short>(end.events | (listens ? POLLIN : 0));
            return pollfd{events != 0 ? end.fd : -1, events, 0}; // or it is woken by a hang-up for ever
        };
        all.push_back(pair.connecting ? pollfd{-1, 0, 0} : want(pair.initiator, pair.out));
        all.push_back(pair.connecting ? pollfd{pair.target.fd, POLLOUT, 0} : want(pair.target, pair.in));
    }
    const auto wait = std::exchange(hurry_, false) ? 0ms : until_next(most);
    poll(all.data(), all.size(), static_cast<int>(wait.count()));
    for (Pair& pair : pairs_) {
        serve(pair);
    }
    if (all[1].revents != 0) {
        accept_one();
    }
    const auto now = Clock::now();
    std::erase_if(pairs_, [now](Pair& pair) {
        const bool gone = (pair.initiator.fd < 0 && pair.target.fd < 0) || now > pair.dies;
        if (gone) {
            close_end(pair.initiator, true);
            close_end(pair.target, true);
        }
        return gone;
    });
    return all[0].revents != 0;
}

} // namespace iscsi::faults

#include "service_manager.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>
#include <utility>

namespace iscsi::process {
namespace {

constexpr int take_out_of_environment = 1;

tl::unexpected<base::Error> invalid(const std::string& what) {
    return base::fail(base::Errc::invalid, what);
}

} // namespace

base::Result<ServiceManager> ServiceManager::from_environment(const std::string& socket_path) {
    ServiceManager manager;
    manager.started_ = ::getpid();
    if (auto read = manager.read_listening(socket_path); !read) {
        return base::fail(std::move(read.error()));
    }
    if (auto read = manager.read_watchdog(); !read) {
        return base::fail(std::move(read.error()));
    }
    if (auto read = manager.read_notify(); !read) {
        return base::fail(std::move(read.error()));
    }
    return manager;
}

ServiceManager::ServiceManager(ServiceManager&& other) noexcept
    : started_(other.started_), listening_(std::exchange(other.listening_, std::nullopt)),
      watchdog_time_(other.watchdog_time_), notify_fd_(std::exchange(other.notify_fd_, -1)),
      notify_address_(other.notify_address_), notify_bytes_(other.notify_bytes_) {}

ServiceManager::~ServiceManager() {
    if (listening_) {
        ::close(*listening_);
    }
    if (notify_fd_ >= 0) {
        ::close(notify_fd_);
    }
}

base::Result<void> ServiceManager::read_listening(const std::string& socket_path) {
    const int count = ::sd_listen_fds(take_out_of_environment); // which makes them close-on-exec, too
    if (count < 0) {
        return invalid(fmt::format("LISTEN_FDS or LISTEN_PID: {}", std::strerror(-count)));
    }
    if (count == 0) {
        return {};
    }
    if (count > 1) {
        return invalid(
            fmt::format("{} sockets were given by the service manager, iscsid listens at one", count));
    }
    if (::sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_STREAM, 1, socket_path.c_str(), 0) <= 0) {
        return invalid(fmt::format(
            "what the service manager gave is not a Unix stream socket that listens at {}", socket_path));
    }
    listening_ = SD_LISTEN_FDS_START;
    return {};
}

base::Result<void> ServiceManager::read_watchdog() {
    std::uint64_t microseconds = 0;
    const int watches = ::sd_watchdog_enabled(take_out_of_environment, &microseconds);
    if (watches < 0) {
        return invalid(fmt::format("WATCHDOG_USEC or WATCHDOG_PID: {}", std::strerror(-watches)));
    }
    if (watches > 0) {
        const auto most = std::chrono::duration_cast<std::chrono::microseconds>(base::Duration::max());
        microseconds = std::min(microseconds, static_cast<std::uint64_t>(most.count()) / 2);
        watchdog_time_ = std::chrono::microseconds(microseconds);
    }
    return {};
}

base::Result<void> ServiceManager::read_notify() {
    const char* variable = ::getenv("NOTIFY_SOCKET");
    if (variable == nullptr) {
        return {};
    }
    const std::string name = variable;
    ::unsetenv("NOTIFY_SOCKET");
    const bool is_abstract = name.starts_with('@');
    if ((!is_abstract && !name.starts_with('/')) || name.size() < 2 ||
        name.size() >= sizeof notify_address_.sun_path) {
        return invalid("NOTIFY_SOCKET is not the name of a Unix socket");
    }
    notify_address_.sun_family = AF_UNIX;
    std::ranges::copy(name, notify_address_.sun_path);
    if (is_abstract) {
        notify_address_.sun_path[0] = '\0';
    }
    // An abstract name has no end but the address's.
    notify_bytes_ =
        static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + (is_abstract ? 0 : 1));
    notify_fd_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (notify_fd_ < 0) {
        return base::fail(base::Errc::internal, fmt::format("socket: {}", std::strerror(errno)));
    }
    return {};
}

bool ServiceManager::say_ready() const {
    const pid_t self = ::getpid();
    return say(self == started_ ? "READY=1" : fmt::format("READY=1\nMAINPID={}", self));
}

/// sd_notify() sends the same datagram, and waits until there is room for it. A service manager that waits
/// for a disk of ours makes no room before this thread has done its work.
bool ServiceManager::say(std::string_view text) const {
    if (notify_fd_ < 0) {
        return true;
    }
    const ssize_t sent = ::sendto(notify_fd_, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                                  reinterpret_cast<const sockaddr*>(&notify_address_), notify_bytes_);
    return sent >= 0 || (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM && errno != EINTR);
}

ring::Task<void> Watchdog::run() {
    auto nothing = [] {};
    while (!ended_.is_set()) {
        const base::TimePoint asked_at = loop_.now();
        for (ring::Loop* shard : shards_) {
            ring::Call call(loop_, *shard, nothing);
            co_await call;
        }
        base::TimePoint next = asked_at + time_ / 2;
        if (!say_alive_()) {
            next = std::min(next, loop_.now() + say_again_pause);
        }
        ring::EventOrDeadline pause(loop_, ended_, next);
        co_await pause;
    }
}

} // namespace iscsi::process

// What a service manager (systemd) gives to this process and is told by it: the request socket that it
// listens at (sd_listen_fds(3)), that requests are served or no longer (sd_notify(3)), and signs of life
// (sd_watchdog_enabled(3)); systemd 252. Without the environment variables of a service manager nothing
// happens. ServiceManager: control's thread (and start-up); Watchdog: the thread of its loop.
#pragma once

#include "base/result.hpp"
#include "base/time.hpp"
#include "ring/await.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <utility>
#include <vector>

namespace iscsi::process {

class ServiceManager {
public:
    /// Reads the service manager's environment variables and takes them out, so that no other program
    /// believes that they are meant for it. In the process that was started, which they name, hence before a
    /// fork into the background; and before the first thread. `socket_path`: where requests come in. Errors:
    /// invalid, what was given is not one Unix stream socket that listens there; or a variable that says
    /// nothing.
    static base::Result<ServiceManager> from_environment(const std::string& socket_path);

    ServiceManager(ServiceManager&& other) noexcept;
    ServiceManager& operator=(ServiceManager&&) = delete;
    ~ServiceManager();

    /// The socket that was given; the caller owns it from now on. Empty: none was, or it was taken.
    std::optional<int> take_listening_socket() { return std::exchange(listening_, std::nullopt); }
    /// That long it takes the silence of this process, then ends it. Empty: it does not watch.
    std::optional<base::Duration> watchdog_time() const { return watchdog_time_; }

    /// Each is said at once and never waited with: false when the service manager has no room for it now,
    /// which is to be tried again. True also when nobody wants to know it, or who did is gone.
    bool say_ready() const;
    bool say_stopping() const { return say("STOPPING=1"); }
    bool say_alive() const { return say("WATCHDOG=1"); }

private:
    ServiceManager() = default;
    base::Result<void> read_listening(const std::string& socket_path);
    base::Result<void> read_watchdog();
    base::Result<void> read_notify();
    bool say(std::string_view text) const;

    pid_t started_ = -1; ///< the process that the service manager knows
    std::optional<int> listening_;
    std::optional<base::Duration> watchdog_time_;
    int notify_fd_ = -1; ///< -1: nobody wants to hear
    sockaddr_un notify_address_{};
    socklen_t notify_bytes_ = 0;
};

/// How long to wait before something that say_…() had no room for is said again.
constexpr base::Duration say_again_pause = std::chrono::milliseconds(50);

/// Says that the process is alive when all its threads are: every half of `time`, counted from the question,
/// and only after each of `shards` has answered on its loop since. One that is stuck is silence: the service
/// manager then ends the process, and the next one takes its devices back.
class Watchdog {
public:
    /// `say_alive` as ServiceManager's. The loops must live until run() has ended.
    Watchdog(ring::Loop& loop, std::vector<ring::Loop*> shards, base::Duration time,
             std::function<bool()> say_alive)
        : loop_(loop), shards_(std::move(shards)), time_(time), say_alive_(std::move(say_alive)) {}
    Watchdog(const Watchdog&) = delete;
    Watchdog& operator=(const Watchdog&) = delete;

    /// Until end(); once.
    ring::Task<void> run();
    /// run() ends as soon as no shard owes an answer. Idempotent.
    void end() { ended_.set(); }

private:
    ring::Loop& loop_;
    std::vector<ring::Loop*> shards_;
    base::Duration time_;
    std::function<bool()> say_alive_;
    ring::Event ended_;
};

} // namespace iscsi::process

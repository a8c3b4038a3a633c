// The scripted target behind a TCP port of the loopback: a thread serves one connection at a time until this
// object goes. A new connection ends the one before it, as a new login of the same name would; or, with
// keep_old_connections(), leaves it open and unanswered. The script may be read and changed at any time under
// the lock that with() takes; what its lines run is run by the thread: no assertions in there. For tests that
// drive the daemon's own sockets; protocol tests need none (see rig.hpp).
#pragma once

#include "scripted/target.hpp"

#include <cstdint>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace iscsi::scripted {

class TcpServer {
public:
    /// Listens; throws std::system_error where that is impossible.
    explicit TcpServer(TargetConfig config = {});
    TcpServer(const TcpServer&) = delete;
    TcpServer& operator=(const TcpServer&) = delete;
    ~TcpServer();

    std::uint16_t port() const { return port_; }
    /// For a target that does not reinstate sessions.
    void keep_old_connections() {
        std::lock_guard lock(mutex_);
        keeps_old_ = true;
    }
    /// Those that were kept.
    void end_old_connections();

    /// Calls `what(target)` while the thread does not touch it; what it sends leaves at once.
    template <class What>
    auto with(What what) {
        struct AtEnd {
            ~AtEnd() { server.wake(); }
            TcpServer& server;
        } at_end{*this};
        std::lock_guard lock(mutex_);
        return what(target_);
    }

private:
    void serve();
    void wake() const;
    void accept_next();
    void receive();
    void deliver();
    void end_connection(bool abort);
    void close_kept();

    std::mutex mutex_;
    Target target_;
    int listener_ = -1;
    int wake_ = -1;
    int fd_ = -1;            ///< the connection; the thread's
    std::vector<int> kept_;  ///< connections before it; under the mutex
    bool keeps_old_ = false; ///< under the mutex
    bool half_closed_ = false;
    bool stopping_ = false; ///< under the mutex
    std::uint16_t port_ = 0;
    std::thread thread_;
};

} // namespace iscsi::scripted

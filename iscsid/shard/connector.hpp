// Makes a TCP connection to an endpoint, with a record's settings on its socket. Thread of its loop.
#pragma once

#include "base/time.hpp"
#include "ring/await.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <sys/socket.h>
#include <vector>

namespace iscsi::shard {

/// A numeric address and port to connect to.
struct Endpoint {
    sockaddr_storage address{};
    socklen_t address_bytes = 0;
    std::string text; ///< the numeric address, IPv6 without brackets
    std::uint16_t port = 0;
};

/// Socket settings of a record.
struct TcpOptions {
    int window_bytes = 0;           ///< SO_RCVBUF and SO_SNDBUF; 0 = the system's
    std::string net_device;         ///< SO_BINDTODEVICE; empty = not bound
    std::string congestion_control; ///< TCP_CONGESTION; empty = the system's
    /// TCP_USER_TIMEOUT: the connection ends when what was sent is not acknowledged for so long, or the peer
    /// takes no more bytes for so long. In force once it is made; 0 = the system's, in whole milliseconds.
    base::Duration user_timeout{};
};

/// How long to try.
struct ConnectTimes {
    base::Deadline deadline;
    /// As long as nobody answers, one more connection is begun every so often, and the first that is made is
    /// used: TCP itself repeats its SYN after 1 s, 3 s, 7 s (tcp_syn_retries, Linux), and a network that was
    /// silent is found well only by the next one. 0 = the one must do.
    base::Duration again_every{};
};

class Connector {
public:
    explicit Connector(ring::Loop& loop);
    Connector(const Connector&) = delete;
    Connector& operator=(const Connector&) = delete;
    ~Connector();

    /// The descriptor, which is the caller's, after TcpOptions were applied. One call at a time; what it gave
    /// to the kernel has ended when it returns. Errors: Errc::transport with the reason,
    /// Errc::transport_timeout.
    ring::Task<base::Result<int>> connect(const Endpoint& endpoint, const TcpOptions& options,
                                          ConnectTimes times);
    /// A connect() in progress ends soon, with an error. Idempotent.
    void interrupt();
    /// Something changed that may let the next connection through: of a connect() that tries several, it is
    /// begun before its time, but not sooner than limits::reconnect_pause_min after the one before.
    void hurry();
    /// The last connect() met a host that answers, and nobody who listens there.
    bool was_refused() const;

private:
    class Attempt;

    base::Result<void> begin(const Endpoint& endpoint, const TcpOptions& options);
    void on_end(Attempt& attempt, int result);
    ring::Task<void> end_attempts();

    ring::Loop& loop_;
    std::vector<std::unique_ptr<Attempt>> attempts_;
    std::size_t in_progress_ = 0;
    ring::Event news_;
    base::TimePoint begun_at_; ///< the newest attempt
    base::Deadline next_;      ///< when another one is begun
    int fd_ = -1;              ///< of the first attempt that came through
    int error_ = 0;            ///< of the first that did not
    bool interrupted_ = false;
};

} // namespace iscsi::shard

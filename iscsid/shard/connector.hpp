// Makes a TCP connection to one of the addresses that a host has, with a record's settings on its socket.
// Thread of its loop.
#pragma once

#include "base/time.hpp"
#include "ring/await.hpp"
#include "shard/tcp_options.hpp"

#include <cstddef>
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

    bool operator==(const Endpoint& other) const { return text == other.text && port == other.port; }
};

/// How long to try.
struct ConnectTimes {
    base::Deadline deadline;
    /// As long as nobody answers, one more connection is begun every so often, and the first that is made is
    /// used: TCP itself repeats its SYN after 1 s, 3 s, 7 s (tcp_syn_retries, Linux), and a network that was
    /// silent is found well only by the next one. 0 = one to each address must do.
    base::Duration again_every{};
    /// The first so many addresses are preferred: the others are begun limits::connect_head_start behind the
    /// last of them, or when all of them have failed. 0 = all are equal.
    std::size_t preferred = 0;
};

/// A connection, whose descriptor is the holder's, and which of the addresses it leads to.
struct Connected {
    int fd = -1;
    Endpoint endpoint;
};

/// How an address failed.
struct ConnectFailure {
    Endpoint endpoint;
    base::Error error;
    bool was_refused = false; ///< the host answers, and nobody listens there
};

class Connector {
public:
    explicit Connector(ring::Loop& loop);
    Connector(const Connector&) = delete;
    Connector& operator=(const Connector&) = delete;
    ~Connector();

    /// The first connection that is made. The addresses are tried in their order, the next one when the one
    /// before failed, or has not answered for limits::connect_stagger (RFC 8305 section 5): one that leads
    /// nowhere costs that, not its timeout. One call at a time; what it gave to the kernel has ended when it
    /// returns. Errors: Errc::transport with the reason when all have failed, Errc::transport_timeout.
    ring::Task<base::Result<Connected>> connect(std::vector<Endpoint> endpoints, const TcpOptions& options,
                                                ConnectTimes times);
    /// A connect() in progress ends soon, with an error. Idempotent.
    void interrupt();
    /// Something changed that may let the next connection through: of a connect() that tries several, it is
    /// begun before its time, but not sooner than limits::reconnect_pause_min after the one before.
    void hurry();
    /// Of the last connect(), in the order of their ends.
    const std::vector<ConnectFailure>& failures() const { return failures_; }

private:
    class Attempt;

    void begin_next(const TcpOptions& options, ConnectTimes times);
    void begin(const Endpoint& endpoint, const TcpOptions& options);
    void fail(const Endpoint& endpoint, base::Error error, bool was_refused);
    bool has_failed(const Endpoint& endpoint) const;
    bool is_hopeless() const { return failures_.size() == endpoints_.size(); }
    base::Error error() const;
    void on_end(Attempt& attempt, int result);
    ring::Task<void> end_attempts();

    ring::Loop& loop_;
    std::vector<Endpoint> endpoints_;
    std::size_t begun_ = 0; ///< attempts, of all addresses in turn
    std::size_t preferred_ = 0;
    std::vector<ConnectFailure> failures_;
    std::vector<std::unique_ptr<Attempt>> attempts_;
    std::size_t in_progress_ = 0;
    ring::Event news_;
    base::TimePoint begun_at_; ///< the newest attempt
    base::Deadline next_;      ///< when another one is begun
    Connected connected_;      ///< the first that came through
    bool interrupted_ = false;
};

} // namespace iscsi::shard

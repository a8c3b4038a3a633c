// A TCP connection driven for iSCSI's engines, one after the other: login (or login and text exchange) by a
// procedure that waits, then a session that tells a listener. Knows sockets and engines, not what the engines
// mean. Thread of its loop.
#pragma once

#include "base/engine.hpp"
#include "ring/await.hpp"
#include "ring/stream.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <sys/socket.h>

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

class Link final : private ring::Stream::Owner {
public:
    class Listener {
    public:
        Listener() = default;
        Listener(const Listener&) = delete;
        Listener& operator=(const Listener&) = delete;
        virtual ~Listener() = default;

        /// The engine moved on: look for completions and events.
        virtual void on_link_progress() = 0;
        /// The connection is gone and nothing is in flight. Not called for an ending asked for with end().
        virtual void on_link_closed(const base::Error& error) = 0;
    };

    explicit Link(ring::Loop& loop);

    /// Connects, until `deadline`. Errors: Errc::transport with the reason, Errc::transport_timeout.
    ring::Task<base::Result<void>> connect(const Endpoint& endpoint, const TcpOptions& options,
                                           base::Deadline deadline);

    /// The last connect() met a host that answers, and nobody who listens there.
    bool was_refused() const { return was_refused_; }

    /// Drives `engine` until `finished(engine)`, or until the connection or the engine fails.
    template <class E>
    ring::Task<base::Result<void>> drive(E& engine) {
        begin(engine);
        while (!engine.finished() && stream_.is_open()) {
            co_await changed_;
            changed_.reset();
        }
        if (!engine.finished()) {
            co_await closed_;
            co_return base::fail(error_);
        }
        co_return base::Result<void>();
    }

    /// A connect() or drive() in progress ends soon, with an error; a listener is not disturbed.
    void interrupt();

    /// From here on `engine` runs by itself and `listener` is told. Both outlive the connection.
    void attach(base::Engine& engine, Listener& listener);
    /// Something was submitted to the engine.
    void mark() { stream_.mark(); }
    /// Breaks the connection; the listener hears of it.
    void drop(base::Error error, ring::Stream::Ending ending = ring::Stream::Ending::abort) {
        stream_.close(std::move(error), ending);
    }
    /// Ends the connection quietly and waits until nothing is in flight.
    ring::Task<void> end(ring::Stream::Ending ending);

    bool is_open() const { return stream_.is_open(); }
    /// The local numeric address of the connection; empty when there is none.
    std::string local_address() const;

private:
    void on_progress(ring::Stream& stream) override;
    void on_closed(ring::Stream& stream, const base::Error& error) override;
    void begin(base::Engine& engine);

    ring::Loop& loop_;
    ring::Stream stream_;
    Listener* listener_ = nullptr;
    ring::Event changed_; ///< for drive()
    ring::Event closed_;
    base::Error error_; ///< why the stream closed
    int connected_fd_ = -1;
    bool was_refused_ = false;
    ring::OpWait* connecting_ = nullptr;
};

} // namespace iscsi::shard

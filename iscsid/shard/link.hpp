// A TCP connection driven for iSCSI's engines, one after the other: login (or login and text exchange) by a
// procedure that waits, then a session that tells a listener. Knows sockets and engines, not what the engines
// mean. Thread of its loop.
#pragma once

#include "base/engine.hpp"
#include "ring/await.hpp"
#include "ring/stream.hpp"
#include "shard/connector.hpp"

#include <memory>
#include <string>

namespace iscsi::shard {

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

    /// As Connector::connect; the connection is this link's. Gives where it leads.
    ring::Task<base::Result<Endpoint>> connect(std::vector<Endpoint> endpoints, const TcpOptions& options,
                                               ConnectTimes times);

    /// As Connector::hurry.
    void hurry() { connector_.hurry(); }
    /// As Connector::failures.
    const std::vector<ConnectFailure>& failures() const { return connector_.failures(); }

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

    Connector connector_;
    ring::Stream stream_;
    Listener* listener_ = nullptr;
    ring::Event changed_; ///< for drive()
    ring::Event closed_;
    base::Error error_; ///< why the stream closed
    int connected_fd_ = -1;
    bool connecting_ = false;
};

} // namespace iscsi::shard

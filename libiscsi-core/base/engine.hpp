// What a socket and a clock may do with a protocol. A protocol (login, text exchange, session, the NBD server
// half) is a machine: bytes and *now* go in, bytes and a deadline come out. It opens nothing and waits for
// nothing. Whoever drives it keeps at most one receive and one send in flight. One thread at a time.
#pragma once

#include "base/bytes.hpp"
#include "base/registered_span.hpp"
#include "base/result.hpp"
#include "base/time.hpp"

#include <cstddef>
#include <span>
#include <sys/uio.h>

namespace iscsi::base {

/// Where the next received bytes go: first `direct` (the rest of a payload, in its final place), then
/// `staging`. All empty: the machine takes no bytes for now.
struct RxSpans {
    MutableBytes direct;
    MutableBytes staging;
    RegisteredSpan registered = {}; ///< when there is one the others are empty
    /// At least so many bytes come, or the connection ends: the header that says so has come.
    std::size_t promised = 0;
};

class Engine {
public:
    Engine() = default;
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;
    virtual ~Engine() = default;

    /// The spans stay valid, and are not read, until rx_done or the engine's end.
    virtual RxSpans rx_spans() = 0;
    /// `n` bytes (> 0) arrived, filling the last rx_spans in order. An error ends the connection.
    virtual Result<void> rx_done(std::size_t n, TimePoint now) = 0;

    /// Gathers what goes out next into `out` and returns the part that was filled; empty = nothing to send.
    /// The bytes stay valid and unchanged until tx_done has counted them. Called again before that, it gives
    /// the same bytes (and perhaps more behind them).
    virtual std::span<iovec> tx_spans(std::span<iovec> out) = 0;
    /// What goes out next but lies in a registered buffer: tx_spans ends before it, and gives nothing while
    /// it comes first. `behind` is how many pieces the last tx_spans gave.
    virtual RegisteredSpan tx_registered(std::size_t /*behind*/) const { return {}; }
    /// The first `n` bytes of the last tx_spans (or of tx_registered(0)) were taken by the socket.
    virtual void tx_done(std::size_t n) = 0;

    /// When to call at() if nothing else happens; empty = never.
    virtual Deadline deadline() const = 0;
    /// The clock reached (at least) the deadline. An error ends the connection.
    virtual Result<void> at(TimePoint now) = 0;
};

} // namespace iscsi::base

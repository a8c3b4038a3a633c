// A session and a fake target joined by a wire of memory, on a virtual clock. The wire may cut the stream
// anywhere, by seed; a send may be reported late. One thread; header only.
#pragma once

#include "base/result.hpp"
#include "base/time.hpp"
#include "session/session.hpp"
#include "support/fake_target.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <vector>

namespace iscsi::testing {

struct PairConfig {
    session::SessionConfig session;
    FakeTargetConfig target; ///< parameters and numbers are taken from `session`
};

/// How the wire cuts the stream.
struct Wire {
    std::size_t chunk_max = SIZE_MAX; ///< at most so many bytes a step, either way
    bool random = false;              ///< 1 to chunk_max of them
    std::size_t iovecs = 64;          ///< pieces a send may have
};

class Pair {
public:
    explicit Pair(const PairConfig& config, std::uint32_t seed = 1)
        : session(config.session, base::TimePoint{}), target(joined(config)), rng(seed) {}

    void submit(session::Command& command) { session.submit(command, now); }

    /// One send: what the session has goes to the target. False when it had nothing.
    bool send() {
        std::size_t n = put();
        if (n == 0) {
            return false;
        }
        session.tx_done(n);
        return true;
    }

    /// The first half of a send: bytes reach the target, and tx_done is still owed for them.
    std::size_t put() {
        std::vector<std::byte> bytes = next_out();
        std::vector<std::byte> again = next_out();
        stable_ =
            stable_ && again.size() >= bytes.size() && std::equal(bytes.begin(), bytes.end(), again.begin());
        std::size_t n = cut(bytes.size());
        target.receive(base::Bytes(bytes).first(n));
        return n;
    }

    /// One receive: what the target has goes to the session. False when it had nothing, or the session takes
    /// nothing.
    bool receive() {
        std::vector<std::byte>& from = target.output();
        base::RxSpans spans = session.rx_spans();
        if (!spans.registered.empty()) {
            return receive_registered(spans.registered);
        }
        std::size_t n = cut(std::min(from.size(), spans.direct.size() + spans.staging.size()));
        if (n == 0) {
            return false;
        }
        std::size_t direct = std::min(n, spans.direct.size());
        direct_bytes += direct;
        std::copy_n(from.begin(), direct, spans.direct.begin());
        std::copy_n(from.begin() + static_cast<long>(direct), n - direct, spans.staging.begin());
        from.erase(from.begin(), from.begin() + static_cast<long>(n));
        result = session.rx_done(n, now);
        return true;
    }

    /// Until neither side has anything to say, or the session reports an error.
    void run() {
        bool moved = true;
        while (moved && result) {
            moved = send();
            moved = receive() || moved;
        }
    }

    /// The clock goes on; the session is told when it asked to be.
    void advance(base::Duration duration) {
        base::TimePoint end = now + duration;
        while (result) {
            base::Deadline due = session.deadline();
            if (!due || *due > end) {
                break;
            }
            now = std::max(now, *due);
            result = session.at(now);
            run();
        }
        now = end;
    }

    /// tx_spans always repeated the bytes it had shown.
    bool stable() const { return stable_; }

    session::Session session;
    FakeTarget target;
    std::mt19937 rng;
    Wire wire;
    base::TimePoint now;
    base::Result<void> result; ///< the session's last word
    std::size_t direct_bytes = 0;
    std::size_t registered_bytes = 0;                    ///< received into `buffers`
    std::map<std::uint32_t, base::MutableBytes> buffers; ///< the ring's table

private:
    base::MutableBytes part(const base::RegisteredSpan& span) {
        return buffers.at(span.index).subspan(span.offset, span.bytes);
    }
    std::vector<std::byte> next_out() {
        std::vector<iovec> out(wire.iovecs);
        std::span<iovec> pieces = session.tx_spans(out);
        const base::RegisteredSpan next = session.tx_registered(pieces.size());
        if (!pieces.empty() || next.empty()) {
            return joined(pieces);
        }
        const base::MutableBytes bytes = part(next);
        return {bytes.begin(), bytes.end()};
    }
    bool receive_registered(const base::RegisteredSpan& span) {
        std::vector<std::byte>& from = target.output();
        const std::size_t n = cut(std::min<std::size_t>(from.size(), span.bytes));
        if (n == 0) {
            return false;
        }
        std::copy_n(from.begin(), n, part(span).begin());
        from.erase(from.begin(), from.begin() + static_cast<long>(n));
        registered_bytes += n;
        result = session.rx_done(n, now);
        return true;
    }

    static FakeTargetConfig joined(const PairConfig& config) {
        FakeTargetConfig target = config.target;
        target.session = config.session.session;
        target.connection = config.session.connection;
        target.numbers = config.session.numbers;
        return target;
    }
    static std::vector<std::byte> joined(std::span<iovec> pieces) {
        std::vector<std::byte> bytes;
        for (const iovec& piece : pieces) {
            const auto* from = static_cast<const std::byte*>(piece.iov_base);
            bytes.insert(bytes.end(), from, from + piece.iov_len);
        }
        return bytes;
    }
    std::size_t cut(std::size_t available) {
        std::size_t most = std::min(available, wire.chunk_max);
        if (most == 0 || !wire.random) {
            return most;
        }
        return std::uniform_int_distribution<std::size_t>(1, most)(rng);
    }

    bool stable_ = true;
};

} // namespace iscsi::testing

// When a stream over TCP is woken, above all one that waits for the rest of a payload: by the kernel that is
// there, and by one that cannot be asked to tell of all that arrives.
#include "ring/tcp_connection.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstring>
#include <random>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

using namespace iscsi;
using namespace iscsi::ring_tests;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t length_bytes = 4;
constexpr std::size_t direct_min = 4096;
constexpr std::size_t staging_bytes = std::size_t{16} << 10;

/// Takes payloads behind their lengths; the long rest of one goes to a place of its own.
class Payloads final : public base::Engine {
public:
    base::RxSpans rx_spans() override {
        if (!has_room) {
            return {};
        }
        direct_ = rest_ >= direct_min ? rest_ : 0;
        place_.resize(std::max(place_.size(), direct_));
        return {base::MutableBytes(place_).first(direct_),
                base::MutableBytes(staging_).subspan(staged_),
                {},
                direct_};
    }
    base::Result<void> rx_done(std::size_t n, base::TimePoint) override {
        ++calls;
        bytes += n;
        const std::size_t direct = std::min(n, direct_);
        rest_ -= direct;
        staged_ += n - direct;
        ended += direct > 0 && rest_ == 0 ? 1 : 0;
        take_staged();
        return {};
    }
    std::span<iovec> tx_spans(std::span<iovec> out) override { return out.first(0); }
    void tx_done(std::size_t) override {}
    base::Deadline deadline() const override { return due; }
    base::Result<void> at(base::TimePoint) override {
        bytes_at_deadline = bytes;
        due.reset();
        return {};
    }

    bool has_room = true;
    int calls = 0;
    std::size_t bytes = 0;
    std::size_t ended = 0; ///< payloads that are whole
    base::Deadline due;
    std::size_t bytes_at_deadline = 0;

private:
    void take_staged() {
        std::size_t at = 0;
        for (;;) {
            const std::size_t n = std::min(rest_, staged_ - at);
            ended += n > 0 && n == rest_ ? 1 : 0;
            rest_ -= n;
            at += n;
            if (staged_ - at < length_bytes) {
                break;
            }
            std::uint32_t length = 0;
            std::memcpy(&length, staging_.data() + at, sizeof length);
            at += length_bytes;
            rest_ = length;
        }
        std::memmove(staging_.data(), staging_.data() + at, staged_ - at);
        staged_ -= at;
    }

    std::size_t rest_ = 0;
    std::size_t direct_ = 0;
    std::size_t staged_ = 0;
    std::vector<std::byte> place_;
    std::vector<std::byte> staging_ = std::vector<std::byte>(staging_bytes);
};

using Connection = TcpConnection<Payloads>;

std::vector<char> framed(std::size_t payload_bytes) {
    std::vector<char> frame(length_bytes + payload_bytes, 'x');
    const auto length = static_cast<std::uint32_t>(payload_bytes);
    std::memcpy(frame.data(), &length, sizeof length);
    return frame;
}

} // namespace

TEST_CASE("the rest of a payload wakes a stream once, not with each of its pieces") {
    constexpr std::size_t piece_bytes = 2048;
    constexpr std::size_t pieces = 24;
    Connection c;
    const std::vector<char> frame = framed(pieces * piece_bytes);
    for (int round = 0; round < 3; ++round) {
        const std::size_t ended = c.engine.ended;
        c.send(frame, 0, length_bytes);
        c.turn_until([&] { return c.engine.bytes % frame.size() == length_bytes; });
        const int before = c.engine.calls;
        for (std::size_t piece = 0; piece < pieces; ++piece) {
            CHECK(c.engine.calls == before);
            c.send(frame, length_bytes + piece * piece_bytes, piece_bytes);
        }
        c.turn_until([&] { return c.engine.ended > ended; });
        CHECK(c.engine.calls == before + 1);
    }
}

TEST_CASE("a stream never waits for more than the payload that has begun") {
    constexpr std::size_t longest = std::size_t{300} << 10;
    // Also where the window never has room for as much as would be waited for.
    Connection c(GENERATE(0, 4096, 65536, 1 << 20));
    std::mt19937 dice(1);
    std::size_t sent = 0;
    for (std::size_t frames = 1; frames <= 300; ++frames) {
        // Lengths of every size class, and now and then one that goes with the one before.
        const std::size_t bytes = 1 + dice() % std::max<std::size_t>(1, longest >> (dice() % 16));
        const std::vector<char> frame = framed(bytes);
        for (std::size_t at = 0; at < frame.size();) {
            const std::size_t piece = std::min<std::size_t>(frame.size() - at, 1 + dice() % (longest / 3));
            c.send(frame, at, piece);
            at += piece;
        }
        sent += frame.size();
        if (dice() % 4 != 0) {
            c.turn_until([&] { return c.engine.bytes == sent; });
            CHECK(c.engine.ended == frames);
        }
    }
    c.turn_until([&] { return c.engine.bytes == sent; });
}

TEST_CASE("a deadline comes behind what had arrived of a payload") {
    constexpr std::size_t piece_bytes = 2048;
    constexpr std::size_t part_bytes = 8 * piece_bytes;
    Connection c;
    const std::vector<char> frame = framed(4 * part_bytes);
    c.send(frame, 0, length_bytes);
    c.turn_until([&] { return c.engine.bytes == length_bytes; });
    // Longer ones are handed over at once while the window is small.
    for (std::size_t at = 0; at < part_bytes; at += piece_bytes) {
        c.send(frame, length_bytes + at, piece_bytes);
    }
    CHECK(c.engine.bytes == length_bytes);
    c.engine.due = ring::monotonic_now() + 1ms;
    c.stream.mark();
    c.turn_until([&] { return !c.engine.due; });
    CHECK(c.engine.bytes_at_deadline == length_bytes + part_bytes);
    c.send(frame, length_bytes + part_bytes, 3 * part_bytes);
    c.turn_until([&] { return c.engine.ended == 1; });
}

TEST_CASE("a deadline comes behind bytes whose arrival nobody has told of") {
    Connection c;
    const std::vector<char> frame = framed(100);
    c.send(frame, 0, frame.size());
    c.turn_until([&] { return c.engine.ended == 1; });
    c.turn(1ms);
    // Behind the stream's back: the kernel is silent about what comes now.
    const int many = 32 << 10;
    REQUIRE(::setsockopt(c.stream.fd(), SOL_SOCKET, SO_RCVLOWAT, &many, sizeof many) == 0);
    c.send(frame, 0, frame.size());
    for (int i = 0; i < 5; ++i) {
        c.turn(1ms);
    }
    REQUIRE(c.engine.bytes == frame.size());
    c.engine.due = ring::monotonic_now() + 1ms;
    c.stream.mark();
    c.turn_until([&] { return !c.engine.due; });
    // Where the receive itself lies at the kernel there is nothing to look with.
    const std::size_t frames = c.loop->ring().can_keep_polling() ? 2 : 1;
    CHECK(c.engine.bytes_at_deadline == frames * frame.size());
}

TEST_CASE("the end of a connection in the middle of a payload is heard") {
    constexpr std::size_t part_bytes = std::size_t{40} << 10;
    Connection c;
    const std::vector<char> frame = framed(2 * part_bytes);
    c.send(frame, 0, length_bytes);
    c.turn_until([&] { return c.engine.bytes == length_bytes; });
    c.turn();
    c.send(frame, length_bytes, part_bytes);
    REQUIRE(::shutdown(c.peer, SHUT_WR) == 0);
    c.turn_until([&] { return c.stream.is_closed(); });
    CHECK(c.engine.bytes == length_bytes + part_bytes);
}

TEST_CASE("a connection's end that came with its last bytes is heard, and so is one that is reset") {
    const bool reset = GENERATE(false, true);
    Connection c;
    const std::vector<char> frame = framed(100);
    for (std::size_t frames = 1; frames <= 3; ++frames) {
        c.send(frame, 0, frame.size());
        c.turn_until([&] { return c.engine.ended == frames; });
    }
    c.turn();
    REQUIRE(::send(c.peer, frame.data(), frame.size(), 0) == std::ssize(frame));
    const linger abort{1, 0};
    if (reset) {
        REQUIRE(::setsockopt(c.peer, SOL_SOCKET, SO_LINGER, &abort, sizeof abort) == 0);
        ::close(std::exchange(c.peer, -1));
    } else {
        REQUIRE(::shutdown(c.peer, SHUT_WR) == 0);
    }
    c.turn_until([&] { return c.stream.is_closed(); });
    CHECK(c.engine.ended >= (reset ? 3 : 4));
}

TEST_CASE("what comes while the engine has no room is taken when it has") {
    Connection c;
    const std::vector<char> frame = framed(100);
    c.engine.has_room = false;
    c.send(frame, 0, frame.size());
    for (int i = 0; i < 5; ++i) {
        c.turn(1ms);
    }
    CHECK(c.engine.bytes == 0);
    c.engine.has_room = true;
    c.stream.mark();
    c.turn_until([&] { return c.engine.ended == 1; });
}

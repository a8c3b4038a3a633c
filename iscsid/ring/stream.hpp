// Drives a base::Engine over a connected socket: one receive and one send in flight, everything that became
// ready in a turn leaves in one gathered send, and a receive that came back full is followed by others at
// once, so that all that has arrived is answered together. The Stream owns the descriptor; engine and owner
// outlive it (until on_closed). Thread of its loop.
#pragma once

#include "base/engine.hpp"
#include "ring/loop.hpp"

#include <array>
#include <sys/socket.h>

namespace iscsi::ring {

class Stream final : public Pump {
public:
    class Owner {
    public:
        Owner() = default;
        Owner(const Owner&) = delete;
        Owner& operator=(const Owner&) = delete;
        virtual ~Owner() = default;

        /// The engine took received bytes, gave bytes away, or reached a deadline: look what came of it.
        virtual void on_progress(Stream& stream) = 0;
        /// The stream has ended, `error` says why; nothing is in flight and the descriptor is closed. Called
        /// once per open(), from the loop, never from within close(); the stream may be destroyed or opened
        /// again here.
        virtual void on_closed(Stream& stream, const base::Error& error) = 0;
    };

    Stream(Loop& loop, Owner& owner);
    ~Stream() override;

    /// Takes over `fd` (a connected, blocking-mode stream socket) and begins to drive `engine`.
    void open(int fd, base::Engine& engine);
    /// Another engine takes the connection over. A peer that answered before it was asked (a send is still in
    /// flight) ends the stream with Errc::protocol instead.
    void hand_over(base::Engine& engine);

    /// Something to send, or room to receive, may have appeared: pumped at the end of this turn.
    void mark() { loop_.mark(*this); }

    enum class Ending : std::uint8_t {
        orderly, ///< close(): queued bytes are still delivered
        abort,   ///< TCP RST: bytes not yet delivered never reach the peer late
    };
    /// Ends the stream; on_closed follows with `error`. Idempotent, the first reason stays.
    void close(base::Error error, Ending ending);

    bool is_open() const { return state_ == State::open; }
    bool is_closed() const { return state_ == State::closed; }
    int fd() const { return fd_; }

private:
    enum class State : std::uint8_t { closed, open, closing };
    static constexpr std::size_t gather_max = 512;

    void pump() override;
    /// True when something left.
    bool send_ready();
    /// What leaves without waiting; as sendmsg().
    ssize_t send_now(std::span<iovec> spans);
    /// Asks the engine where the next bytes go; how many it takes.
    std::size_t offer();
    void arm_receive();
    /// What a receive ended with goes to the engine.
    void take(int result);
    void arm_timer();
    void on_sent(Completion completion);
    void on_received(Completion completion);
    void on_deadline();
    void finish_closing();
    /// A failed system call ends the stream.
    void fail_call(const char* call, int error_number);

    Loop& loop_;
    Owner& owner_;
    base::Engine* engine_ = nullptr;
    int fd_ = -1;
    State state_ = State::closed;
    Ending ending_ = Ending::orderly;
    base::Error error_;
    Op send_op_;
    Op receive_op_;
    Timer timer_;
    base::TimePoint armed_for_{}; ///< the deadline that timer_ wakes for
    msghdr send_message_{};
    msghdr receive_message_{};
    std::size_t offered_bytes_ = 0;
    bool drained_ = false; ///< the last receive took all that had arrived
    std::array<iovec, 2> receive_spans_{};
    std::array<iovec, gather_max> send_spans_{};
};

} // namespace iscsi::ring

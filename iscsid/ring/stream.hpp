// Drives a base::Engine over a connected socket: one receive and one send in flight, everything that became
// ready in a turn leaves in one gathered send, and a receive that came back full is followed by others at
// once, so that all that has arrived is answered together. TCP tells of what arrives by one poll that stays
// at the kernel as long as the connection, and is then received without the ring. What lies in a registered
// buffer goes by an operation of its own, READ_FIXED or WRITE_FIXED. The Stream owns the descriptor; engine
// and owner outlive it (until on_closed). Thread of its loop.
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

    /// When a receive that sleeps is woken.
    enum class Wake : std::uint8_t {
        any_bytes,
        /// While the engine is promised bytes not for less of them than a wake-up is worth: SO_RCVLOWAT, of
        /// TCP only. A sleep never asks for more than what is promised.
        payload,
    };

    Stream(Loop& loop, Owner& owner, Wake wake = Wake::any_bytes);
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

    void pump() override;
    /// True when something left.
    bool send_ready();
    /// What leaves without waiting; as sendmsg().
    ssize_t send_now(std::span<iovec> spans, bool more);
    void send_registered(const base::RegisteredSpan& span);
    /// Asks the engine where the next bytes go; how many it takes.
    std::size_t offer();
    void arm_receive();
    /// The kernel tells of what arrives, if it does not do so yet.
    void keep_watch();
    /// Takes what has arrived, as long as the turn may go on after so many receives of so many bytes.
    void receive_rest(int round, std::size_t bytes);
    /// What is there without waiting; as recvmsg().
    ssize_t receive_now();
    /// For the receive that is about to be armed.
    void choose_low_water();
    void set_low_water(int bytes);
    /// What a receive ended with goes to the engine.
    void take(int result);
    void arm_timer();
    void on_sent(Completion completion);
    void on_received(Completion completion);
    void on_arrival(Completion completion);
    void on_deadline();
    void finish_closing();
    /// A failed system call ends the stream.
    void fail_call(const char* call, int error_number);

    Loop& loop_;
    Owner& owner_;
    const Wake wake_;
    /// A receive that took all that had arrived is followed by none before arrival_op_ says so. Of TCP only:
    /// elsewhere a receive may end short of what is there.
    const bool watches_;
    int low_water_ = 1; ///< SO_RCVLOWAT of the socket
    base::Engine* engine_ = nullptr;
    int fd_ = -1;
    State state_ = State::closed;
    Ending ending_ = Ending::orderly;
    base::Error error_;
    Op send_op_;
    Op receive_op_;
    Op arrival_op_; ///< lies at the kernel while the stream is open, if it watches_
    Timer timer_;
    base::TimePoint armed_for_{}; ///< the deadline that timer_ wakes for
    msghdr send_message_{};
    msghdr receive_message_{};
    std::size_t offered_bytes_ = 0;       ///< 0: the engine has to be asked again
    base::RegisteredSpan offered_buffer_; ///< where they go, if it is not in receive_spans_
    std::size_t promised_bytes_ = 0;      ///< of those offered, the ones that are sure to come
    bool drained_ = false;                ///< the last receive took all that had arrived
    bool arrived_ = false;                ///< something, while a receive was at the kernel
    bool end_has_come_ = false;           ///< behind the bytes that are there: nothing will tell of it again
    std::array<iovec, 2> receive_spans_{};
    std::array<iovec, Loop::spans_max> send_spans_; ///< of a send that waits for room: until it has ended
};

} // namespace iscsi::ring

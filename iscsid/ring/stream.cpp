#include "ring/stream.hpp"

#include "base/check.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <string>
#include <unistd.h>
#include <utility>

namespace iscsi::ring {
namespace {

/// Sends of one turn: a peer that drains as fast as we fill must not keep the loop here.
constexpr int sends_per_turn = 8;
/// Receives of one turn, likewise; and as each of them may bring a whole staging buffer and more, which is
/// copied and handled here while others wait, bytes after which no other follows.
constexpr int receives_per_turn = 8;
constexpr std::size_t received_bytes_per_turn = std::size_t{512} << 10;

/// What a sleep waits for when so much is sure to come. Less is not worth the call that asks for it; more
/// would only put off the copying.
constexpr std::size_t low_water_min = std::size_t{32} << 10;
constexpr std::size_t low_water_max = std::size_t{128} << 10;

} // namespace

Stream::Stream(Loop& loop, Owner& owner, Wake wake)
    : loop_(loop), owner_(owner), wake_(wake),
      watches_(wake == Wake::payload && loop.ring().can_keep_polling()),
      send_op_(Op::to<&Stream::on_sent>(this)), receive_op_(Op::to<&Stream::on_received>(this)),
      arrival_op_(Op::to<&Stream::on_arrival>(this)),
      timer_(Timer::to<&Stream::on_deadline>(loop.timers(), this)) {}

Stream::~Stream() {
    base::check(state_ == State::closed, "a stream is closed before it dies");
    loop_.unmark(*this);
}

void Stream::open(int fd, base::Engine& engine) {
    base::check(state_ == State::closed, "a stream drives one socket");
    fd_ = fd;
    engine_ = &engine;
    error_ = {};
    // Of what is there already the watch tells when it begins.
    drained_ = watches_;
    end_has_come_ = false;
    arrived_ = false;
    offered_bytes_ = 0;
    low_water_ = 1;
    state_ = State::open;
    mark();
}

void Stream::hand_over(base::Engine& engine) {
    if (state_ == State::open && send_op_.pending()) {
        close({base::Errc::protocol, "the peer answered a request that was not sent yet"}, Ending::abort);
    }
    engine_ = &engine;
    offered_bytes_ = 0;
    mark();
}

void Stream::close(base::Error error, Ending ending) {
    if (state_ != State::open) {
        return;
    }
    state_ = State::closing;
    error_ = std::move(error);
    ending_ = ending;
    timer_.disarm();
    loop_.ring().cancel(send_op_);
    loop_.ring().cancel(receive_op_);
    loop_.ring().cancel(arrival_op_);
    mark();
}

void Stream::pump() {
    // What has left may have been the last that something waited for.
    if (state_ == State::open && send_ready() && state_ == State::open) {
        owner_.on_progress(*this);
    }
    if (state_ == State::open) {
        keep_watch();
        arm_receive();
        arm_timer();
    }
    if (state_ == State::closing) {
        finish_closing();
    }
}

bool Stream::send_ready() {
    bool any = false;
    for (int round = 0; round < sends_per_turn; ++round) {
        if (send_op_.pending()) {
            return any;
        }
        std::span<iovec> spans = engine_->tx_spans(loop_.room_for_spans());
        const base::RegisteredSpan next = engine_->tx_registered(spans.size());
        if (spans.empty()) {
            if (!next.empty()) {
                send_registered(next);
            }
            return any;
        }
        // An attempt without the ring first: at queue depth 1 it saves a trip, and otherwise costs nothing.
        ssize_t sent = send_now(spans, !next.empty());
        if (sent >= 0) {
            engine_->tx_done(static_cast<std::size_t>(sent));
            any = true;
            continue;
        }
        if (errno == EAGAIN) {
            const int more = next.empty() ? 0 : MSG_MORE;
            std::ranges::copy(spans, send_spans_.begin());
            send_message_.msg_iov = send_spans_.data();
            // The kernel goes on by itself whenever there is room, until all has left.
            io_uring_prep_sendmsg(loop_.sqe(send_op_), fd_, &send_message_,
                                  static_cast<unsigned>(MSG_NOSIGNAL | MSG_WAITALL | more));
            return any;
        }
        if (errno != EINTR) {
            fail_call("send", errno);
            return any;
        }
    }
    mark();
    return any;
}

/// A plain send takes a registered buffer from Linux 7.2 on only; a write does since such buffers can be the
/// kernel's. (SIGPIPE is ignored.)
void Stream::send_registered(const base::RegisteredSpan& span) {
    const auto* from = reinterpret_cast<const void*>(std::uintptr_t{span.offset});
    io_uring_prep_write_fixed(loop_.sqe(send_op_), fd_, from, span.bytes, 0, static_cast<int>(span.index));
}

/// `more`: something of another kind follows at once.
ssize_t Stream::send_now(std::span<iovec> spans, bool more) {
    const int flags = MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0);
    send_message_.msg_iov = spans.data();
    send_message_.msg_iovlen = spans.size();
    if (spans.size() == 1) {
        // The kernel has no list to copy and to check.
        return ::send(fd_, spans[0].iov_base, spans[0].iov_len, flags);
    }
    return ::sendmsg(fd_, &send_message_, flags);
}

void Stream::on_sent(Completion completion) {
    if (state_ == State::open) {
        if (completion.result > 0) {
            engine_->tx_done(static_cast<std::size_t>(completion.result));
            owner_.on_progress(*this);
        } else if (completion.result != -EINTR && completion.result != -EAGAIN) {
            fail_call("send", -completion.result);
        }
    }
    mark();
}

std::size_t Stream::offer() {
    base::RxSpans spans = engine_->rx_spans();
    promised_bytes_ = spans.promised;
    offered_buffer_ = spans.registered;
    if (!offered_buffer_.empty()) {
        offered_bytes_ = offered_buffer_.bytes;
        return offered_bytes_;
    }
    std::size_t count = 0;
    for (base::MutableBytes span : {spans.direct, spans.staging}) {
        if (!span.empty()) {
            receive_spans_[count++] = {span.data(), span.size()};
        }
    }
    receive_message_.msg_iov = receive_spans_.data();
    receive_message_.msg_iovlen = count;
    offered_bytes_ = spans.direct.size() + spans.staging.size();
    return offered_bytes_;
}

void Stream::keep_watch() {
    if (watches_ && !arrival_op_.pending()) {
        io_uring_prep_poll_multishot(loop_.sqe(arrival_op_), fd_, POLLIN | POLLRDHUP);
    }
}

void Stream::arm_receive() {
    if (receive_op_.pending()) {
        return;
    }
    if (offered_bytes_ == 0) {
        if (offer() == 0) {
            return;
        }
        choose_low_water();
    }
    if (!offered_buffer_.empty()) {
        if (low_water_ != 1) {
            // It was chosen for a payload before, and this one may be shorter.
            set_low_water(1);
        }
        auto* to = reinterpret_cast<void*>(std::uintptr_t{offered_buffer_.offset});
        io_uring_prep_read_fixed(loop_.sqe(receive_op_), fd_, to, offered_buffer_.bytes, 0,
                                 static_cast<int>(offered_buffer_.index));
        return;
    }
    if (drained_ && watches_) {
        return;
    }
    io_uring_sqe* sqe = loop_.sqe(receive_op_);
    const int flags = watches_ ? MSG_DONTWAIT : 0; // One of the two waits, not both.
    if (receive_message_.msg_iovlen == 1) {
        io_uring_prep_recv(sqe, fd_, receive_spans_[0].iov_base, receive_spans_[0].iov_len, flags);
    } else {
        io_uring_prep_recvmsg(sqe, fd_, &receive_message_, static_cast<unsigned>(flags));
    }
    if (drained_ && loop_.ring().can_poll_first()) {
        // An attempt would find nothing.
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    }
}

void Stream::choose_low_water() {
    if (wake_ == Wake::any_bytes) {
        return;
    }
    const std::size_t promised = std::max<std::size_t>(promised_bytes_, 1);
    // A receive that may find something at once is not told to wait for more. But what is in force has to be
    // sure to come whenever one waits.
    const bool raise = drained_ && low_water_ == 1 && promised >= low_water_min;
    if (raise || static_cast<std::size_t>(low_water_) > promised) {
        set_low_water(promised >= low_water_min ? static_cast<int>(std::min(promised, low_water_max)) : 1);
    }
}

void Stream::set_low_water(int bytes) {
    if (::setsockopt(fd_, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes) == 0) {
        low_water_ = bytes;
    }
}

void Stream::on_received(Completion completion) {
    take(completion.result);
    receive_rest(1, static_cast<std::size_t>(std::max(completion.result, 0)));
}

void Stream::on_arrival(Completion completion) {
    if (state_ != State::open || !arrival_op_.pending()) {
        mark(); // The watch has ended: this stream does, too, or needs another one.
    }
    if (state_ != State::open) {
        return;
    }
    if (completion.result < 0) {
        return fail_call("poll", -completion.result);
    }
    // What is not taken in this turn is asked for at its end, as it is where a receive is in progress.
    end_has_come_ |= (completion.result & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
    arrived_ = receive_op_.pending();
    if (drained_ && !receive_op_.pending()) {
        drained_ = false;
        receive_rest(0, 0);
    }
}

/// What came back full has more behind it, most likely: what its bytes complete leaves with one enter, and
/// what is asked for next with one send.
void Stream::receive_rest(int round, std::size_t bytes) {
    for (; round < receives_per_turn && bytes < received_bytes_per_turn; ++round) {
        if (state_ != State::open || drained_ || (offered_bytes_ == 0 && offer() == 0) ||
            !offered_buffer_.empty()) {
            return;
        }
        const ssize_t n = receive_now();
        take(n < 0 ? -errno : static_cast<int>(n));
        bytes += static_cast<std::size_t>(std::max<ssize_t>(n, 0));
    }
}

ssize_t Stream::receive_now() {
    if (receive_message_.msg_iovlen == 1) {
        return ::recv(fd_, receive_spans_[0].iov_base, receive_spans_[0].iov_len, MSG_DONTWAIT);
    }
    return ::recvmsg(fd_, &receive_message_, MSG_DONTWAIT);
}

void Stream::take(int result) {
    mark();
    if (state_ != State::open) {
        return;
    }
    const std::size_t offered = std::exchange(offered_bytes_, 0);
    const bool more_has_come = std::exchange(arrived_, false);
    drained_ = result != -EINTR && !more_has_come;
    if (result == -EINTR || result == -EAGAIN) {
        return;
    }
    if (result < 0) {
        return fail_call("receive", -result);
    }
    if (result == 0) {
        return close({base::Errc::disconnected, "the peer closed the connection"}, Ending::abort);
    }
    const auto bytes = static_cast<std::size_t>(result);
    drained_ = bytes < offered && !end_has_come_ && !more_has_come;
    base::Result<void> taken = engine_->rx_done(bytes, loop_.now());
    // Also when the bytes were bad: what came before them has its say first.
    owner_.on_progress(*this);
    if (!taken) {
        close(std::move(taken.error()), Ending::abort);
    }
}

void Stream::arm_timer() {
    base::Deadline deadline = engine_->deadline();
    // A deadline that moved away (every receive moves the NOP's) costs nothing here: the timer fires early,
    // once, and is armed again then. Nor does one that did not move: it stays with those of others that it
    // was put together with.
    if (!deadline || (timer_.armed() && (*deadline == armed_for_ || *deadline >= timer_.when()))) {
        return;
    }
    // Seen from near, it may be due before the time that was chosen for one seen from far off.
    const base::TimePoint wake = wake_for(*deadline, loop_.now());
    if (!timer_.armed() || wake < timer_.when()) {
        armed_for_ = *deadline;
        timer_.arm(wake);
    }
}

void Stream::on_deadline() {
    if (state_ != State::open) {
        return;
    }
    mark();
    if (!base::is_due(engine_->deadline(), loop_.now())) {
        return;
    }
    if (low_water_ != 1) {
        // What has arrived and was let lie has its say first: a slow peer is not a silent one. The receive
        // ends with the next enter, and the deadline, if it is still due, comes behind it.
        return set_low_water(1);
    }
    if (watches_ && drained_ && !receive_op_.pending()) {
        // What has come and was not told of has its say, too.
        drained_ = false;
        receive_rest(0, 0);
        if (state_ != State::open || !base::is_due(engine_->deadline(), loop_.now())) {
            return;
        }
    }
    base::Result<void> passed = engine_->at(loop_.now());
    owner_.on_progress(*this);
    if (!passed) {
        close(std::move(passed.error()), Ending::abort);
    }
}

void Stream::fail_call(const char* call, int error_number) {
    base::Errc code = error_number == ECONNRESET || error_number == EPIPE ? base::Errc::disconnected
                                                                          : base::Errc::transport;
    close({code, std::string(call) + ": " + std::strerror(error_number)}, Ending::abort);
}

void Stream::finish_closing() {
    if (send_op_.pending() || receive_op_.pending() || arrival_op_.pending()) {
        return;
    }
    if (ending_ == Ending::abort) {
        linger reset{1, 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    ::close(fd_);
    fd_ = -1;
    state_ = State::closed;
    engine_ = nullptr;
    base::Error error = std::exchange(error_, {});
    owner_.on_closed(*this, error);
}

} // namespace iscsi::ring

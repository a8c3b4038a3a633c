#include "ring/stream.hpp"

#include "base/check.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
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

} // namespace

Stream::Stream(Loop& loop, Owner& owner)
    : loop_(loop), owner_(owner), send_op_(Op::to<&Stream::on_sent>(this)),
      receive_op_(Op::to<&Stream::on_received>(this)),
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
    drained_ = false;
    state_ = State::open;
    mark();
}

void Stream::hand_over(base::Engine& engine) {
    if (state_ == State::open && send_op_.pending()) {
        close({base::Errc::protocol, "the peer answered a request that was not sent yet"}, Ending::abort);
    }
    engine_ = &engine;
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
    mark();
}

void Stream::pump() {
    // What has left may have been the last that something waited for.
    if (state_ == State::open && send_ready() && state_ == State::open) {
        owner_.on_progress(*this);
    }
    if (state_ == State::open) {
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
        std::span<iovec> spans = engine_->tx_spans(send_spans_);
        if (spans.empty()) {
            return any;
        }
        // An attempt without the ring first: at queue depth 1 it saves a trip, and otherwise costs nothing.
        ssize_t sent = send_now(spans);
        if (sent >= 0) {
            engine_->tx_done(static_cast<std::size_t>(sent));
            any = true;
            continue;
        }
        if (errno == EAGAIN) {
            io_uring_prep_sendmsg(loop_.sqe(send_op_), fd_, &send_message_, MSG_NOSIGNAL);
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

ssize_t Stream::send_now(std::span<iovec> spans) {
    constexpr int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
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

void Stream::arm_receive() {
    if (receive_op_.pending() || offer() == 0) {
        return;
    }
    io_uring_sqe* sqe = loop_.sqe(receive_op_);
    if (receive_message_.msg_iovlen == 1) {
        io_uring_prep_recv(sqe, fd_, receive_spans_[0].iov_base, receive_spans_[0].iov_len, 0);
    } else {
        io_uring_prep_recvmsg(sqe, fd_, &receive_message_, 0);
    }
    if (drained_ && loop_.ring().can_poll_first()) {
        // An attempt would find nothing.
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    }
}

void Stream::on_received(Completion completion) {
    take(completion.result);
    auto bytes = static_cast<std::size_t>(std::max(completion.result, 0));
    // What came back full has more behind it, most likely: what its bytes complete leaves with one enter, and
    // what is asked for next with one send.
    for (int round = 1; round < receives_per_turn && bytes < received_bytes_per_turn; ++round) {
        if (state_ != State::open || drained_ || offer() == 0) {
            return;
        }
        const ssize_t n = ::recvmsg(fd_, &receive_message_, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            drained_ = true;
            return;
        }
        take(n < 0 ? -errno : static_cast<int>(n));
        bytes += static_cast<std::size_t>(std::max<ssize_t>(n, 0));
    }
}

void Stream::take(int result) {
    mark();
    if (state_ != State::open) {
        return;
    }
    drained_ = true;
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
    drained_ = bytes < offered_bytes_;
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
    if (send_op_.pending() || receive_op_.pending()) {
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

#include "sim/socket.hpp"

#include "sim/kernel.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <utility>

namespace iscsi::sim {

void Socket::put(Way& way, base::Bytes bytes, std::uint64_t damage_at) {
    const std::size_t at = way.bytes.size();
    way.bytes.insert(way.bytes.end(), bytes.begin(), bytes.end());
    if (damage_ && damage_at >= way.sent && damage_at - way.sent < bytes.size()) {
        way.bytes[at + (damage_at - way.sent)] ^= std::byte{0x10};
        kernel_.stage().say("a byte is damaged");
    }
    way.sent += bytes.size();
}

void Socket::start_moving(Way& way, What what) {
    if (way.moving || silent_) {
        return;
    }
    way.moving = true;
    const auto longest = static_cast<std::uint64_t>(network_.delay_max.count());
    Dice& dice = kernel_.stage().dice;
    // Many pieces follow each other closely; now and then one takes long.
    std::uint64_t delay = 1000;
    if (longest > 0 && !dice.one_in(3)) {
        delay += dice.below(dice.one_in(8) ? longest : longest / 16 + 1);
    }
    kernel_.after(base::Duration(delay), *this, what);
}

std::size_t Socket::next_piece(const Way& way, std::uint64_t cut) {
    std::size_t n = way.in_flight();
    if (network_.piece_max != 0 && n > 0 && !kernel_.stage().dice.one_in(3)) {
        n = std::min<std::size_t>(n, 1 + kernel_.stage().dice.below(network_.piece_max));
    }
    if (cut != Network::never && way.came + n > cut) {
        n = cut > way.came ? static_cast<std::size_t>(cut - way.came) : 0;
    }
    return n;
}

void Socket::consume(Way& way, std::size_t n) {
    way.read += n;
    if (way.read == way.bytes.size()) {
        way.bytes.clear();
        way.read = 0;
        way.arrived = 0;
    }
}

// --- The target's end.

void Socket::send(base::Bytes bytes) {
    if (peer_ == nullptr || to_initiator_.ends) {
        return;
    }
    put(to_initiator_, bytes, damage_from_to_initiator_ + network_.damage_to_initiator);
    start_moving(to_initiator_, move_to_initiator);
}

void Socket::close() {
    to_initiator_.ends = true;
    peer_ = nullptr;
    start_moving(to_initiator_, move_to_initiator);
}

void Socket::reset() {
    peer_ = nullptr;
    break_down(true, false);
}

void Socket::break_down(bool reset, bool silent) {
    if (silent_ || error_ != 0 || ended_) {
        return;
    }
    kernel_.stage().say("the connection breaks{}", silent ? " silently" : reset ? ", reset" : "");
    if (silent) {
        silent_ = true;
        return;
    }
    error_ = reset ? ECONNRESET : 0;
    ended_ = true;
    to_initiator_.ends = true;
    // What has not arrived is lost.
    to_initiator_.bytes.resize(to_initiator_.arrived);
    if (Peer* peer = std::exchange(peer_, nullptr)) {
        peer->on_closed();
    }
    if (open_) {
        tell_watch();
        serve_receive();
        serve_send();
    }
}

// --- Between the ends.

void Socket::happen(std::uint32_t what) {
    switch (what) {
    case connected: {
        ring::Op* op = std::exchange(connecting_, nullptr);
        if (op == nullptr) {
            return;
        }
        network_ = kernel_.network;
        peer_ = kernel_.listener().accept(*this);
        open_ = peer_ != nullptr;
        kernel_.complete(*op, open_ ? 0 : -ECONNREFUSED);
        return;
    }
    case move_to_target:
        return arrive_at_target();
    default:
        return arrive_at_initiator();
    }
}

void Socket::arrive_at_target() {
    Way& way = to_target_;
    way.moving = false;
    if (silent_ || peer_ == nullptr) {
        return;
    }
    const std::size_t n = next_piece(way, network_.cut_to_target);
    way.came += n;
    way.arrived += n;
    kernel_.stage().mix(n * 2);
    if (n > 0) {
        peer_->on_bytes({way.bytes.data() + way.read, n});
        consume(way, n);
    }
    if (peer_ == nullptr) {
        return;
    }
    if (way.came >= network_.cut_to_target) {
        return break_down(network_.cut_is_reset, network_.cut_is_silent);
    }
    if (way.in_flight() > 0) {
        start_moving(way, move_to_target);
    } else if (way.ends) {
        std::exchange(peer_, nullptr)->on_closed();
        return;
    }
    serve_send();
}

void Socket::arrive_at_initiator() {
    Way& way = to_initiator_;
    way.moving = false;
    if (silent_ || !open_ || ended_) {
        return;
    }
    const std::size_t n = next_piece(way, network_.cut_to_initiator);
    way.came += n;
    way.arrived += n;
    kernel_.stage().mix(n * 2 + 1);
    if (way.came >= network_.cut_to_initiator) {
        return break_down(network_.cut_is_reset, network_.cut_is_silent);
    }
    if (way.in_flight() > 0) {
        start_moving(way, move_to_initiator);
    } else if (way.ends) {
        ended_ = true;
    }
    wake_receive();
}

// --- The initiator's end.

void Socket::connect(ring::Op& op) {
    if (connecting_ != nullptr || open_) {
        return kernel_.complete(op, -EINVAL);
    }
    connecting_ = &op;
    if (kernel_.listener().answers()) {
        kernel_.after(std::chrono::microseconds(10), *this, connected);
    }
}

void Socket::receive(ring::Op& op, msghdr* message, base::MutableBytes single, std::uint32_t flags) {
    receiving_ = &op;
    receive_message_ = message;
    receive_single_ = {single.data(), single.size()};
    serve_receive();
    if (receiving_ != nullptr && (flags & MSG_DONTWAIT) != 0) {
        kernel_.complete(*std::exchange(receiving_, nullptr), -EAGAIN);
    }
}

/// What has arrived goes to `places`: how much, 0 at the end, or -errno.
ssize_t Socket::give(std::span<const iovec> places) {
    Way& way = to_initiator_;
    const std::size_t there = way.arrived - way.read;
    if (there == 0 && !ended_) {
        return -EAGAIN;
    }
    std::size_t given = 0;
    for (const iovec& place : places) {
        const std::size_t n = std::min(place.iov_len, there - given);
        if (n > 0) {
            std::memcpy(place.iov_base, way.bytes.data() + way.read + given, n);
            given += n;
        }
    }
    consume(way, given);
    return given > 0 ? static_cast<ssize_t>(given) : -error_;
}

void Socket::serve_receive() {
    if (receiving_ == nullptr) {
        return;
    }
    const std::span<const iovec> single(&receive_single_, 1);
    const ssize_t given =
        give(receive_message_ == nullptr
                 ? single
                 : std::span<const iovec>(receive_message_->msg_iov, receive_message_->msg_iovlen));
    if (given != -EAGAIN) {
        kernel_.complete(*std::exchange(receiving_, nullptr), static_cast<int>(given));
    }
}

void Socket::watch(ring::Op& op) {
    watching_ = &op;
    if (has_something()) {
        tell_watch();
    }
}

bool Socket::has_something() const {
    return ended_ || to_initiator_.arrived - to_initiator_.read >= low_water_;
}

void Socket::tell_watch() {
    if (watching_ == nullptr) {
        return;
    }
    // Now and then a kernel has no room to tell more, and the poll ends with what it tells.
    const bool goes_on = kernel_.happenings() % 16 != 0;
    const int events = POLLIN | (ended_ ? POLLRDHUP : 0) | (error_ != 0 ? POLLERR | POLLHUP : 0);
    kernel_.complete(*(goes_on ? watching_ : std::exchange(watching_, nullptr)), events,
                     goes_on ? IORING_CQE_F_MORE : 0);
}

void Socket::wake_receive() {
    if (has_something()) {
        tell_watch();
        serve_receive();
    }
}

void Socket::set_low_water(std::size_t bytes) {
    low_water_ = bytes;
    wake_receive();
}

ssize_t Socket::take(const msghdr& message) {
    if (ended_) {
        return -(error_ != 0 ? error_ : EPIPE);
    }
    std::size_t room =
        network_.send_buffer - std::min<std::size_t>(network_.send_buffer, to_target_.in_flight());
    std::size_t taken = 0;
    for (std::size_t i = 0; i < message.msg_iovlen && room > 0; ++i) {
        const iovec& piece = message.msg_iov[i];
        const std::size_t n = std::min(room, piece.iov_len);
        put(to_target_, {static_cast<const std::byte*>(piece.iov_base), n},
            damage_from_to_target_ + network_.damage_to_target);
        room -= n;
        taken += n;
    }
    if (taken > 0) {
        start_moving(to_target_, move_to_target);
    }
    return taken > 0 ? static_cast<ssize_t>(taken) : -EAGAIN;
}

ssize_t Socket::send_now(const msghdr& message) {
    return open_ ? take(message) : -ENOTCONN;
}

void Socket::send(ring::Op& op, const msghdr& message) {
    kernel_.stage().met.add(Encounter::full_buffer);
    sending_ = &op;
    send_message_ = &message;
    serve_send();
}

void Socket::serve_send() {
    if (sending_ == nullptr) {
        return;
    }
    const ssize_t taken = take(*send_message_);
    if (taken != -EAGAIN) {
        kernel_.complete(*std::exchange(sending_, nullptr), static_cast<int>(taken));
    }
}

bool Socket::cancel(ring::Op& op) {
    for (ring::Op** mine : {&connecting_, &receiving_, &watching_, &sending_}) {
        if (*mine == &op) {
            *mine = nullptr;
            kernel_.complete(op, -ECANCELED);
            return true;
        }
    }
    return false;
}

void Socket::close_by_initiator() {
    open_ = false;
    if (peer_ == nullptr || silent_) {
        return;
    }
    Way& way = to_target_;
    if (abort_on_close_ && way.in_flight() > 0) {
        // What has left the host is not called back.
        way.bytes.resize(way.bytes.size() - kernel_.stage().dice.below(way.in_flight() + 1));
    }
    way.ends = true;
    start_moving(way, move_to_target);
}

} // namespace iscsi::sim

#include "faults/proxy_lane.hpp"

#include <algorithm>
#include <utility>

namespace iscsi::faults {
namespace {

constexpr auto split_pause = std::chrono::milliseconds(1);
constexpr auto withheld_most = std::chrono::milliseconds(50);

} // namespace

void Lane::take(base::Bytes received, TimePoint now) {
    if (plan_.mode(way_).hole) {
        lost_ = true;
        return;
    }
    if (ended_) {
        return;
    }
    cutter_.add(received);
    while (auto pdu = cutter_.next()) {
        if (way_ == Way::in) {
            login_.from_target(*pdu, digests_);
        }
        pass(std::move(*pdu), now);
        if (ended_) {
            return;
        }
    }
}

void Lane::take_end(Ending ending, TimePoint now) {
    if (plan_.mode(way_).hole || lost_ || ended_) {
        return; // nobody hears of it
    }
    const base::Bytes rest = cutter_.rest();
    queue({rest.begin(), rest.end()}, now + plan_.mode(way_).delay, ending);
    ended_ = true;
}

void Lane::pass(Pdu pdu, TimePoint now) {
    const Mode& mode = plan_.mode(way_);
    const TimePoint due = now + mode.delay;
    if (orphaning_) {
        withhold(std::move(pdu.bytes), now);
        return;
    }
    const auto strike = plan_.strike(way_, pdu);
    if (strike && strike->kind == Strike::Kind::orphan) {
        orphaning_ = strike;
        orphaned_at_ = now + withheld_most;
        withhold(std::move(pdu.bytes), now);
        return;
    }
    if (strike && (strike->kind == Strike::Kind::reset || strike->kind == Strike::Kind::truncate)) {
        pdu.bytes.resize(strike->left);
        queue(std::move(pdu.bytes), due,
              strike->kind == Strike::Kind::reset ? Ending::reset : Ending::finish);
        ended_ = true;
        return;
    }
    if (strike && strike->kind == Strike::Kind::flip) {
        const base::MutableBytes region = pdu.region(strike->region);
        region[plan_.draw(region.size())] ^= std::byte{1} << plan_.draw(8);
    }
    if (strike && strike->kind == Strike::Kind::hold) {
        held_.push_back({std::move(pdu.bytes), 0, due + strike->late, Ending::none});
        return;
    }
    if (strike && strike->kind == Strike::Kind::drop) {
        return;
    }
    if (strike && strike->kind == Strike::Kind::duplicate) {
        queue(pdu.bytes, due);
    }
    if (mode.split > 0 && mode.split < pdu.bytes.size()) {
        const auto middle = pdu.bytes.begin() + static_cast<std::ptrdiff_t>(mode.split);
        queue({pdu.bytes.begin(), middle}, due);
        queue({middle, pdu.bytes.end()}, due + split_pause);
        return;
    }
    queue(std::move(pdu.bytes), due);
}

void Lane::withhold(std::vector<std::byte> bytes, TimePoint now) {
    orphaning_->bytes -= std::min<std::uint64_t>(orphaning_->bytes, bytes.size());
    queue(std::move(bytes), TimePoint::max());
    if (orphaning_->bytes == 0) {
        finish_orphaning(now);
    }
}

void Lane::finish_orphaning(TimePoint now) {
    for (Piece& piece : pieces_) {
        piece.due = std::min(piece.due, now + orphaning_->late);
    }
    orphaning_.reset();
    ended_ = orphaned_ = true;
}

void Lane::queue(std::vector<std::byte> bytes, TimePoint due, Ending ending) {
    // What passes without a delay joins what waits to be sent: one write for many PDUs.
    if (!pieces_.empty() && pieces_.back().ending == Ending::none && ending == Ending::none &&
        pieces_.back().due >= due && plan_.mode(way_).split == 0) {
        auto& last = pieces_.back().bytes;
        last.insert(last.end(), bytes.begin(), bytes.end());
        waiting_bytes_ += bytes.size();
        return;
    }
    waiting_bytes_ += bytes.size();
    pieces_.push_back({std::move(bytes), 0, due, ending});
}

void Lane::wake(TimePoint now) {
    if (orphaning_ && orphaned_at_ <= now) {
        finish_orphaning(now);
    }
    for (Piece& piece : held_) {
        if (piece.due <= now && !ended_) {
            queue(std::move(piece.bytes), now);
        }
    }
    std::erase_if(held_, [now](const Piece& piece) { return piece.due <= now; });
}

base::Bytes Lane::sendable(TimePoint now) const {
    const Mode& mode = plan_.mode(way_);
    if (mode.stall || mode.hole || pieces_.empty() || pieces_.front().due > now || next_dribble_ > now) {
        return {};
    }
    const Piece& piece = pieces_.front();
    const base::Bytes rest = base::Bytes(piece.bytes).subspan(piece.sent);
    return mode.dribble > 0 ? rest.first(std::min(rest.size(), mode.dribble)) : rest;
}

void Lane::sent(std::size_t bytes, TimePoint now) {
    Piece& piece = pieces_.front();
    piece.sent += bytes;
    waiting_bytes_ -= bytes;
    const Mode& mode = plan_.mode(way_);
    next_dribble_ = mode.dribble > 0 ? now + mode.dribble_pause : TimePoint{};
    if (piece.sent == piece.bytes.size() && piece.ending == Ending::none) {
        pieces_.pop_front();
    }
}

Ending Lane::take_ending(TimePoint now) {
    const Mode& mode = plan_.mode(way_);
    if (mode.stall || mode.hole || pieces_.empty()) {
        return Ending::none;
    }
    const Piece& piece = pieces_.front();
    if (piece.due > now || piece.sent != piece.bytes.size()) {
        return Ending::none;
    }
    const Ending ending = piece.ending;
    pieces_.pop_front();
    return ending;
}

std::optional<Lane::TimePoint> Lane::wakes() const {
    std::optional<TimePoint> out;
    if (!pieces_.empty() && pieces_.front().due != TimePoint::max()) {
        out = std::max(pieces_.front().due, next_dribble_);
    }
    if (orphaning_) {
        out = out ? std::min(*out, orphaned_at_) : orphaned_at_;
    }
    for (const Piece& piece : held_) {
        out = out ? std::min(*out, piece.due) : piece.due;
    }
    return out;
}

} // namespace iscsi::faults

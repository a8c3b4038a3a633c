// One direction of a connection through the fault proxy: bytes that came, cut into PDUs, what the plan makes
// of them, and what may be sent on at which moment. Opens nothing and reads no clock. Owns the bytes. One
// thread.
#pragma once

#include "faults/fault_plan.hpp"

#include <chrono>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

namespace iscsi::faults {

/// What becomes of the connection when the bytes before it are gone.
enum class Ending { none, finish, reset };

class Lane {
public:
    using TimePoint = std::chrono::steady_clock::time_point;

    Lane(Way way, FaultPlan& plan, Digests& digests)
        : way_(way), plan_(plan), digests_(digests), cutter_(digests) {}

    /// Bytes that arrived.
    void take(base::Bytes received, TimePoint now);
    /// No more will arrive; what was a part of a PDU is sent on as it is, and then the connection ends so.
    void take_end(Ending ending, TimePoint now);

    /// What has waited for its time long enough: PDUs that were held join what is to be sent.
    void wake(TimePoint now);
    /// What may be sent now, from one place; empty: nothing. Then how much of it was.
    base::Bytes sendable(TimePoint now) const;
    void sent(std::size_t bytes, TimePoint now);

    /// How it ends, once nothing is left to be sent before that; says so once.
    Ending take_ending(TimePoint now);
    /// The initiator is to be reset, and the target to hear later what is on its way; says so once.
    bool take_orphaning() { return std::exchange(orphaned_, false); }

    /// When there is something to be sent that is only waiting for its time.
    std::optional<TimePoint> wakes() const;
    std::size_t waiting_bytes() const { return waiting_bytes_; }
    /// Bytes were thrown away: what would come behind them must not be sent.
    bool broken() const { return lost_ && !plan_.mode(way_).hole; }

private:
    struct Piece {
        std::vector<std::byte> bytes;
        std::size_t sent = 0;
        TimePoint due;
        Ending ending = Ending::none;
    };

    void pass(Pdu pdu, TimePoint now);
    void withhold(std::vector<std::byte> bytes, TimePoint now);
    void finish_orphaning(TimePoint now);
    void queue(std::vector<std::byte> bytes, TimePoint due, Ending ending = Ending::none);

    Way way_;
    FaultPlan& plan_;
    Digests& digests_;
    PduCutter cutter_;
    LoginReader login_;
    std::deque<Piece> pieces_; ///< in the order in which they are sent
    std::vector<Piece> held_;  ///< until their time, then behind all others
    std::size_t waiting_bytes_ = 0;
    TimePoint next_dribble_{};
    std::optional<Strike> orphaning_; ///< its bytes are being withheld
    TimePoint orphaned_at_{}; ///< at the latest, for an initiator that waits for answers sends no more
    bool lost_ = false, ended_ = false, orphaned_ = false;
};

} // namespace iscsi::faults

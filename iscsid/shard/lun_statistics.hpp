// What the requests of a logical unit were, how they ended and how long they took: from the moment that a
// request came until the block device was told its end, with whatever it waited for on the way (memory, a
// slot, the target, a session that was lost). Counted by the shard's thread, read by any at any time; what
// is read is no one moment's. Times are those of the loop, one a turn, so that nothing is asked of a clock.
// Memory: 5 KiB, of fixed size.
#pragma once

#include "base/histogram.hpp"
#include "block/block.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace iscsi::shard {

/// What requests of one kind have in common.
struct KindStatistics {
    base::Counter failures;         ///< that ended with an errno
    base::Counter bytes;            ///< of those that ended well
    base::LatencyHistogram latency; ///< of all that ended
};

class LunStatistics {
public:
    /// As statistics of block devices divide them; `other` are flush, discard and write_zeroes.
    enum class Kind : std::uint8_t { read, write, other };
    static constexpr std::size_t kinds = 3;

    static constexpr Kind kind_of(block::Verb verb) {
        switch (verb) {
        case block::Verb::read:
            return Kind::read;
        case block::Verb::write:
            return Kind::write;
        default:
            return Kind::other;
        }
    }

    // By the shard.
    void on_started() { started_.add(1); }
    /// It had to wait before its first command was made: for memory, a slot, a session, or until fewer were
    /// at the target.
    void on_waited(base::Duration waited) {
        waits_.add(1);
        waited_us_.add(base::latency::whole_us(waited));
    }
    void on_ended(const block::Request& request, int error_number, base::TimePoint now) {
        KindStatistics& kind = kinds_[static_cast<std::size_t>(kind_of(request.verb))];
        kind.latency.add(now - request.came_at);
        if (error_number != 0) {
            kind.failures.add(1);
        } else {
            kind.bytes.add(request.length_bytes);
        }
        ended_.add(1);
    }

    // By anybody.
    const KindStatistics& of(Kind kind) const { return kinds_[static_cast<std::size_t>(kind)]; }
    std::uint64_t in_hand() const {
        const std::uint64_t ended = ended_.value(); // first, so that it is never more than have started
        return started_.value() - ended;
    }
    std::uint64_t waits() const { return waits_.value(); }
    std::uint64_t waited_us() const { return waited_us_.value(); }

private:
    std::array<KindStatistics, kinds> kinds_;
    base::Counter started_;
    base::Counter ended_;
    base::Counter waits_;
    base::Counter waited_us_;
};

} // namespace iscsi::shard

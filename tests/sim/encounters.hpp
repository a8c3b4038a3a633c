// What a schedule has met, so that it can be shown that schedules meet everything they are made for. Values;
// any thread.
#pragma once

#include "sim/plan.hpp"

#include <cstdint>

namespace iscsi::sim {

enum class Encounter : std::uint8_t {
    reinstatement, ///< a login took the place of a session that was still there
    refused_connect,
    refused_login,
    header_digest,  ///< a wrong one, at the target
    data_digest,    ///< a wrong one, at the target
    digest_of_ours, ///< a wrong one, at the initiator
    cache_lost,
    stranger, ///< another unit was asked who it is
    abort_task,
    unit_reset,
    target_reset,
    held,   ///< the block queue took a request back
    parked, ///< the Lun kept one over a drop
    path_failed,
    full_buffer, ///< the initiator's kernel took no more for a while
    count,
};

/// A set of fates, mishaps and encounters.
class Met {
public:
    void add(Fate fate) { bits_ |= bit(static_cast<unsigned>(fate)); }
    void add(Mishap mishap) { bits_ |= bit(mishaps + static_cast<unsigned>(mishap)); }
    void add(Encounter encounter) { bits_ |= bit(encounters + static_cast<unsigned>(encounter)); }
    void add(Met other) { bits_ |= other.bits_; }
    bool has(unsigned number) const { return (bits_ & bit(number)) != 0; }

    bool has_all() const { return bits_ == (bit(count) - 1); }

    static constexpr unsigned mishaps = static_cast<unsigned>(Fate::count);
    static constexpr unsigned encounters = mishaps + static_cast<unsigned>(Mishap::count);
    static constexpr unsigned count = encounters + static_cast<unsigned>(Encounter::count);
    static_assert(count <= 64);

private:
    static constexpr std::uint64_t bit(unsigned number) { return std::uint64_t{1} << number; }
    std::uint64_t bits_ = 0;
};

} // namespace iscsi::sim

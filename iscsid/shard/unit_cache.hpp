// What the Luns of one unit, one for each queue of its device, know together of the unit's volatile cache: a
// flush may come by another queue than the writes before it, and what was lost may be heard of by any nexus.
// One queue has one, too. No locks: whoever hears of something counts it here, the others look. Any thread.
#pragma once

#include "shard/volatile_writes.hpp"

#include <atomic>
#include <cstdint>

namespace iscsi::shard {

struct UnitCache {
    explicit UnitCache(unsigned queues) : unflushed(queues) {}

    VolatileWrites unflushed;
    /// Times that it was lost with unflushed writes in it; counted before they stop being unflushed.
    std::atomic<std::uint32_t> losses = 0;
    /// Times that it was lost with none in it that anybody knew of: what a queue has no answer to yet may be
    /// on either side of that, too.
    std::atomic<std::uint32_t> empty_losses = 0;
    /// So many of losses a flush has failed for, or one in hand fails; else the next one does, through
    /// whichever queue.
    std::atomic<std::uint32_t> losses_told = 0;
    std::atomic<int> deferred_error = 0;   ///< an acknowledged write failed later: the next flush says so
    std::atomic<std::uint32_t> resets = 0; ///< of the unit that one of our sessions had to ask for
};

} // namespace iscsi::shard

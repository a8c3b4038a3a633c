// What lives on a shard, at one moment, for people: of a nexus, a unit and the shard's data pool. Plain
// values, made on the shard; any thread reads them.
#pragma once

#include "base/time.hpp"
#include "session/view.hpp"
#include "shard/path.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>

namespace iscsi::shard {

struct NexusView {
    PathState path = PathState::down;
    std::optional<session::View> session; ///< none: there is no connection, or its login is not done
    bool may_have_stranded = false;       ///< the target may yet execute commands of a lost connection
};

struct LunView {
    std::uint32_t in_hand = 0;   ///< requests that have a slot
    std::uint32_t not_begun = 0; ///< requests that wait for one
    std::uint32_t at_target = 0; ///< commands that the session has
    std::uint32_t allowed = 0;   ///< of them at a time
    std::uint32_t parked = 0;    ///< until the path is up, or the unit was compared
    std::uint32_t delayed = 0;   ///< until they are sent again
    std::uint32_t for_room = 0;  ///< until fewer are at the target
    bool barred = false;
    bool in_doubt = false;
    std::uint64_t retries = 0;
    std::uint64_t replays = 0;
    std::uint64_t failures = 0;
    std::optional<base::Duration> timer_in{}; ///< until something is sent again, or a doubt is given up
};

struct PoolView {
    std::size_t bytes = 0;
    std::size_t claimed = 0; ///< bytes
    std::size_t waiting = 0; ///< queues in line for memory
};

} // namespace iscsi::shard

// The state of everything in lines for people, as SIGUSR1 has it logged: what control knows, and what shards
// said of what lives on them. No secret is in a line: nothing is shown of the record but names, places and
// times. Control's thread.
#pragma once

#include "base/time.hpp"
#include "control/log.hpp"
#include "control/managed_session.hpp"
#include "shard/views.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace iscsi::control {

/// All in all; sessions beyond them are counted.
inline constexpr std::size_t state_lines_max = 2000;
/// Of one session and queue; the rest is counted.
inline constexpr std::size_t state_units_max = 32;

/// What a shard says of one nexus and its units.
struct MemberView {
    shard::NexusView nexus;
    std::map<base::Lun, shard::LunView> luns;
};

struct ShardView {
    shard::PoolView pool;
    /// By session, and by queue: 0 is the leading session's.
    std::map<std::pair<std::uint32_t, std::size_t>, MemberView> members;
};

/// When it is: the loop's time, and CLOCK_BOOTTIME.
struct Moment {
    base::TimePoint now;
    base::Duration boot_time{};
};

/// A line of the dump.
struct StateLine {
    log::About about{}; ///< a session's
    std::string text;
};

/// One line: which shard it is, how many sessions were placed there, its pool. `view`: none, it did not
/// answer in time.
std::string shard_line(std::size_t index, std::size_t sessions, const std::optional<ShardView>& view);

/// One session that was asked for, its companions and units. `views`: what was answered, of all shards.
std::vector<std::string> session_lines(ManagedSession& session, const ShardView& views, Moment moment);

} // namespace iscsi::control

// One way from a block device to its logical unit: a nexus and a LUN. A Lun asks its path for each command;
// today there is one path a LUN. Commands travel as PathCommand: the session's command with the place to go
// when it has ended. Thread of the shard.
#pragma once

#include "base/units.hpp"
#include "scsi/disposition.hpp"
#include "session/command.hpp"

#include <cstdint>
#include <optional>

namespace iscsi::shard {

struct PathCommand : session::Command {
    using Handler = void (*)(void* owner, PathCommand& command);
    void* owner = nullptr;
    Handler on_done = nullptr; ///< outcome is set; the command is the submitter's again
};

enum class PathState : std::uint8_t {
    down,   ///< no session for now: commands come back lost, those who wait may wait on
    up,     ///< commands are taken
    failed, ///< not to be waited for: what waits and what comes fails (Nexus::fail, retire, seal)
};

/// Told when the path changes. Commands that are lost in a drop come back before `down` is told, those that a
/// logout finds at the target after it.
class PathUser {
public:
    PathUser() = default;
    PathUser(const PathUser&) = delete;
    PathUser& operator=(const PathUser&) = delete;
    virtual ~PathUser() = default;

    virtual void on_path_state(PathState state) = 0;
    /// Somebody else's command, or the target unasked, brought word of the unit `lun`: before anything more
    /// is sent to it.
    virtual void on_lun_effects(base::Lun lun, scsi::Effects effects) = 0;
    /// The session had to ask for a reset of the unit `lun`, or of all of them when it is empty: what is said
    /// of a reset next may be this one.
    virtual void on_reset_by_us(std::optional<base::Lun> lun) = 0;
    /// The target said more than could be kept: it may have been anything, of any unit.
    virtual void on_news_missed() = 0;
};

} // namespace iscsi::shard

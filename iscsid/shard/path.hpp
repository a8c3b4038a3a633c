// One way from a block device to its logical unit: a nexus and a LUN. A Lun asks its path for each command;
// today there is one path a LUN. Commands travel as PathCommand: the session's command with the place to go
// when it has ended. Thread of the shard.
#pragma once

#include "session/command.hpp"

#include <cstdint>

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

/// Told when the path changes. Commands lost with the session come back before `down` is told.
class PathUser {
public:
    PathUser() = default;
    PathUser(const PathUser&) = delete;
    PathUser& operator=(const PathUser&) = delete;
    virtual ~PathUser() = default;

    virtual void on_path_state(PathState state) = 0;
};

} // namespace iscsi::shard

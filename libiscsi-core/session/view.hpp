// A session at one moment, for people who look for the reason why it stands still. Plain values; any thread.
#pragma once

#include "base/serial.hpp"
#include "base/time.hpp"
#include "session/recovery.hpp"

#include <cstddef>
#include <optional>

namespace iscsi::session {

struct View {
    base::CmdSn next_cmd_sn; ///< of the next command
    base::CmdSn exp_cmd_sn;
    base::CmdSn max_cmd_sn;
    base::StatSn exp_stat_sn;
    std::size_t at_target = 0;                ///< commands that the target knows of
    std::size_t queued = 0;                   ///< submitted, and not sent: no task, or the window is closed
    std::size_t held = 0;                     ///< those that wait for the end of task management
    RecoveryStep step = RecoveryStep::none;   ///< task management that is at work
    base::Duration silent_for{};              ///< nothing was received
    std::optional<base::Duration> ping_for{}; ///< our NOP-Out has had no answer for that long
    std::optional<base::Duration> timer_in{}; ///< until the next deadline; below 0: it is due
    bool is_logging_out = false;
};

} // namespace iscsi::session

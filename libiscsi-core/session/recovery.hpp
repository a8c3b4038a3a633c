// What is done about a command whose time is over, at ErrorRecoveryLevel 0: it is aborted; when that does not
// help its logical unit is reset, then the target, and at last the session ends. The answer to one task
// management function is awaited at a time; one that was given up may still be at the target when the next is
// sent. Session-wide. Plain values; one thread (that of the session). RFC 7143 sections 4.2.3, 7.11, 11.5 and
// 11.6.
#pragma once

#include "base/serial.hpp"
#include "base/time.hpp"
#include "base/units.hpp"
#include "session/tasks.hpp"

#include <chrono>
#include <cstdint>

namespace iscsi::session {

/// How long things may take. A step of zero is left out.
struct RecoveryTimeouts {
    base::Duration command{};      ///< a command, from being sent to its end; 0 = for ever
    base::Duration abort_task{};   ///< the answer to ABORT TASK
    base::Duration lun_reset{};    ///< the answer to LOGICAL UNIT RESET
    base::Duration target_reset{}; ///< the answer to TARGET WARM RESET
};

/// In the order in which they are tried.
enum class RecoveryStep : std::uint8_t { none, abort_task, lun_reset, target_reset, end_session };

/// A target that takes no immediate request for now is asked again after so long (RFC 7143 section 11.17.1,
/// reason 06h).
inline constexpr std::chrono::seconds management_retry_delay{1};

/// A command of which something moves gets its time once more, but no more often than this: nothing that a
/// target does keeps a command for longer than six times its time.
inline constexpr std::uint8_t put_off_max = 5;

/// While something waits to be sent the session wants to hear the time at least this often: nobody tells it
/// the time when the socket has taken bytes, and what goes out then counts from the time it heard last.
inline constexpr std::chrono::seconds time_error_max{1};

/// The function whose answer is awaited, or that is on its way.
struct TaskManagement {
    RecoveryStep step = RecoveryStep::none;
    bool queued = false; ///< not made yet
    std::uint32_t itt = management_slot;
    std::uint32_t referenced_itt = base::reserved_tag; ///< of the command whose time was over
    base::CmdSn referenced_cmd_sn;
    base::Lun lun;
    base::TimePoint give_up_at;
    base::Deadline again_at; ///< it was rejected, and is made anew then
};

} // namespace iscsi::session

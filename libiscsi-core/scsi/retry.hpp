// How often and for how long one command is tried: the bounds behind classify(), for commands of the data
// path and of the scan alike. A Retry belongs to its command and is told the time; no allocation. Any thread.
// SAM-5 section 5.3 says what may be tried again, the bounds are ours (base/limits.hpp).
#pragma once

#include "base/limits.hpp"
#include "base/time.hpp"
#include "scsi/disposition.hpp"

#include <cstdint>
#include <optional>

namespace iscsi::scsi {

/// How long a command is put off at most, all its delays together. How long it waits to be sent, or at the
/// target, does not count.
struct RetryTimes {
    base::Duration busy = base::limits::scsi_busy_deadline; ///< BUSY, TASK SET FULL, becoming ready
    /// While asymmetric access states change: the unit's IMPLICIT TRANSITION TIME if that is longer.
    base::Duration transition = base::limits::scsi_busy_deadline;
};

class Retry {
public:
    /// A new command: what those before it ran into does not count.
    void begin() { *this = Retry(); }
    /// The same command, when the path or the look at its unit that it waited for has come: it may be put off
    /// as long as at the beginning; errors and attentions still count.
    void go_on() { put_off_ = {}; }

    /// When the command may be sent again after `disposition`, whose action is retry_now or retry_later: now,
    /// or later. Empty: not any more, it fails with the disposition's errno. Delays after BUSY and TASK SET
    /// FULL double up to limits::scsi_delay_max and are spread, so that many hosts do not come back together.
    base::Deadline next(const Disposition& disposition, base::TimePoint now, const RetryTimes& times = {});

    /// It has met a unit attention.
    bool has_attentions() const { return attentions_ != 0; }

private:
    base::Duration delay_of(const Disposition& disposition, base::TimePoint now);

    base::Duration put_off_{};
    std::uint8_t errors_ = 0;
    std::uint8_t attentions_ = 0;
    std::uint8_t delays_ = 0;
};

} // namespace iscsi::scsi

// How many commands a unit is sent at a time: half as many when it says TASK SET FULL, and slowly more again.
// Belongs to whoever sends (shard/lun) and is told the time; no allocation. One thread. SAM-5 section 5.3.1;
// Linux does the like in scsi_track_queue_full and scsi_handle_queue_ramp_up.
#pragma once

#include "base/time.hpp"

#include <cstdint>

namespace iscsi::scsi {

class QueueDepth {
public:
    /// `most`: commands at a time that were asked for, from 1.
    explicit QueueDepth(std::uint32_t most) : most_(most), allowed_(most) {}

    std::uint32_t allowed() const { return allowed_; }

    /// Goes with a command that is sent: which of the falls of allowed() it has seen.
    std::uint32_t age() const { return falls_; }

    /// A command sent at `age` was answered TASK SET FULL; `at_target` commands were there, this one counted.
    /// Answers to what was sent before the last fall are of the same event and change nothing.
    void on_full(std::uint32_t age, std::uint32_t at_target, base::TimePoint now);

    /// A command ended well. After limits::scsi_depth_raise_pause without TASK SET FULL a sixteenth of what
    /// was asked for comes back, then another one, as long as it lasts.
    void on_success(base::TimePoint now) {
        if (allowed_ < most_ && now >= raise_at_) [[unlikely]] {
            raise(now);
        }
    }

private:
    void raise(base::TimePoint now);

    std::uint32_t most_;
    std::uint32_t allowed_;
    std::uint32_t falls_ = 0;
    base::TimePoint raise_at_;
};

} // namespace iscsi::scsi

#include "scsi/queue_depth.hpp"

#include "base/limits.hpp"

#include <algorithm>

namespace iscsi::scsi {

void QueueDepth::on_full(std::uint32_t age, std::uint32_t at_target, base::TimePoint now) {
    raise_at_ = now + base::limits::scsi_depth_raise_pause;
    if (age != falls_) {
        return;
    }
    ++falls_;
    allowed_ = std::max(std::min(allowed_, at_target) / 2, 1U);
}

void QueueDepth::raise(base::TimePoint now) {
    constexpr std::uint32_t steps = 16;
    allowed_ = std::min(allowed_ + std::max(most_ / steps, 1U), most_);
    raise_at_ = now + base::limits::scsi_depth_raise_pause;
}

} // namespace iscsi::scsi

#include "scsi/retry.hpp"

#include <algorithm>

namespace iscsi::scsi {

namespace limits = base::limits;

base::Duration Retry::delay_of(const Disposition& disposition, base::TimePoint now) {
    constexpr unsigned doublings_max = 10;
    constexpr std::int64_t spread = 4; // a quarter
    const base::Duration first = disposition.delay;
    const base::Duration most = std::max<base::Duration>(first, limits::scsi_delay_max);
    const base::Duration delay = std::min(first * (1 << std::min<unsigned>(delays_, doublings_max)), most);
    delays_ = static_cast<std::uint8_t>(std::min<unsigned>(delays_ + 1U, doublings_max));
    // No two hosts read the same nanosecond.
    const std::int64_t range = std::max<std::int64_t>(delay.count() / spread, 1);
    return delay + base::Duration(now.time_since_epoch().count() % range);
}

base::Deadline Retry::next(const Disposition& disposition, base::TimePoint now, const RetryTimes& times) {
    if (disposition.action == Action::retry_later) {
        const bool transition = disposition.effects.has(Effect::asymmetric_access_changed);
        const base::Duration delay = delay_of(disposition, now);
        if (put_off_ + delay > (transition ? times.transition : times.busy)) {
            return {};
        }
        put_off_ += delay;
        return now + delay;
    }
    const bool attention = disposition.effects.has(Effect::attention);
    std::uint8_t& count = attention ? attentions_ : errors_;
    if (count >= (attention ? limits::scsi_attentions_max : limits::scsi_retries_max)) {
        return {};
    }
    ++count;
    return now;
}

} // namespace iscsi::scsi

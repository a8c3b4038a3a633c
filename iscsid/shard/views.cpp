#include "shard/views.hpp"

#include "shard/lun.hpp"
#include "shard/nexus.hpp"

namespace iscsi::shard {

NexusView Nexus::view() const {
    NexusView view;
    view.path = state_;
    if (has_session()) {
        view.session = session_->view(loop_.now());
    }
    view.may_have_stranded = stranded_at_.has_value();
    return view;
}

LunView Lun::view() const {
    LunView view;
    view.in_hand = busy_;
    view.not_begun = static_cast<std::uint32_t>(waiting_.count());
    view.at_target = at_target_;
    view.allowed = at_a_time_.allowed();
    view.for_room = static_cast<std::uint32_t>(for_room_.count());
    for (std::uint32_t i = 0; i < depth_; ++i) {
        view.parked += slots_[i].request != nullptr && slots_[i].parked ? 1 : 0;
        view.delayed += slots_[i].request != nullptr && slots_[i].delayed ? 1 : 0;
    }
    view.barred = barred_;
    view.in_doubt = doubted_;
    view.retries = counters_.retries;
    view.replays = counters_.replays;
    view.failures = counters_.failures;
    if (delay_timer_.armed()) {
        view.timer_in = delay_timer_.when() - loop_.now();
    }
    return view;
}

} // namespace iscsi::shard

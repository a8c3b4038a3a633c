#include "session/view.hpp"

#include "session/session.hpp"

namespace iscsi::session {

View Session::view(base::TimePoint now) const {
    View view;
    view.next_cmd_sn = window_.next();
    view.exp_cmd_sn = window_.expected();
    view.max_cmd_sn = window_.max();
    view.exp_stat_sn = connection_.exp_stat_sn;
    view.at_target = tasks_.used();
    view.queued = waiting_.count();
    view.held = held_.count();
    view.step = management_.step;
    view.silent_for = now - connection_.last_receive;
    if (connection_.ping_since) {
        view.ping_for = now - *connection_.ping_since;
    }
    if (const base::Deadline next = deadline()) {
        view.timer_in = *next - now;
    }
    view.is_logging_out = logging_out_;
    return view;
}

} // namespace iscsi::session

// Commands whose time is over, and task management (RFC 7143 sections 4.2.3.3, 7.11, 11.5 and 11.6).

#include "session/session.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace iscsi::session {
namespace {

using Step = RecoveryStep;
using Function = wire::TaskManagementFunction;

Function function_of(Step step) {
    switch (step) {
    case Step::abort_task:
        return Function::abort_task;
    case Step::lun_reset:
        return Function::logical_unit_reset;
    default:
        return Function::target_warm_reset;
    }
}

base::Duration time_for(Step step, const RecoveryTimeouts& timeouts) {
    switch (step) {
    case Step::abort_task:
        return timeouts.abort_task;
    case Step::lun_reset:
        return timeouts.lun_reset;
    default:
        return timeouts.target_reset;
    }
}

base::Duration time_of(const Task& task, const RecoveryTimeouts& timeouts) {
    base::Duration own = task.command->timeout;
    base::Duration time = own > base::Duration{} ? own : timeouts.command;
    // What is left of an answered one is up to the connection, however little time the command had.
    return task.state == Task::State::answered ? std::max(time, timeouts.command) : time;
}

/// The target has it, and its time is over.
bool is_overdue(const Task& task, base::TimePoint now) {
    return task.state == Task::State::active && task.due_at <= now;
}

} // namespace

/// A command was sent, or was answered before all of it had left. Its end unwatches it by itself: check_at_
/// may be early, and nobody minds.
void Session::watch(Task& task) {
    base::Duration time = time_of(task, recovery_timeouts_);
    task.moved_at = now_;
    task.due_at = time > base::Duration{} ? now_ + time : Task::never;
    if (task.due_at != Task::never && (!check_at_ || task.due_at < *check_at_)) {
        check_at_ = task.due_at;
    }
}

/// With nothing at the target only the target itself can open its window.
void Session::note_blocked() {
    bool blocked = !window_.is_open() && tasks_.used() == 0;
    if (blocked && !blocked_until_ && recovery_timeouts_.command > base::Duration{}) {
        blocked_until_ = now_ + recovery_timeouts_.command;
    }
}

/// tx_done is told no time, and what it lets go out has its time from the last that was told. So while there
/// is something to go out that must not be long ago.
base::Deadline Session::time_deadline() const {
    bool more = !waiting_.empty() || !sequences_.empty() || unsolicited_.offset < unsolicited_.end;
    return more ? base::Deadline(now_ + time_error_max) : base::Deadline{};
}

base::Deadline Session::recovery_deadline() const {
    if (management_.step != Step::none) [[unlikely]] {
        return base::earliest(management_.give_up_at, management_.again_at);
    }
    return base::earliest(check_at_, blocked_until_);
}

base::Result<void> Session::on_time_over() {
    if (management_.step != Step::none) {
        if (now_ < management_.give_up_at) {
            management_.again_at.reset();
            management_.queued = true;
            return {};
        }
        // What was to be aborted has ended by itself: nothing is left to be done. A reset that is not
        // answered may yet end commands that are sent after it.
        if (management_.step == Step::abort_task && tasks_.find(management_.referenced_itt) == nullptr) {
            conclude_management();
            return {};
        }
        return escalate();
    }
    if (base::is_due(blocked_until_, now_)) {
        bool blocked = !waiting_.empty() && !window_.is_open() && tasks_.used() == 0;
        blocked_until_.reset();
        if (blocked) {
            return base::fail(base::Errc::transport, "the target's command window stays closed");
        }
    }
    return check_tasks();
}

/// Data of the task, or of one that was sent before it, came or went in the time it had: then the target is
/// slow, not stuck, and it gets that time once more (as Linux does).
bool Session::has_moved(const Task& task) {
    base::TimePoint since = task.due_at - time_of(task, recovery_timeouts_);
    return std::ranges::any_of(tasks_.all(), [&](const Task& other) {
        return other.state == Task::State::active && other.moved_at > since &&
               !other.cmd_sn.after(task.cmd_sn);
    });
}

/// Of those at the target whose time is over; nullptr when there is none.
Task* Session::oldest_overdue() {
    Task* oldest = nullptr;
    for (Task& task : tasks_.all()) {
        if (is_overdue(task, now_) && (oldest == nullptr || task.cmd_sn.before(oldest->cmd_sn))) {
            oldest = &task;
        }
    }
    return oldest;
}

void Session::put_off_overdue() {
    for (Task& task : tasks_.all()) {
        if (is_overdue(task, now_) && task.times_put_off < put_off_max) {
            ++task.times_put_off;
            task.due_at = now_ + time_of(task, recovery_timeouts_);
        }
    }
}

/// Looks at all tasks a few times; called no more often than once in a command's time while none is overdue.
/// While some are it stays due, for the time after task management.
base::Result<void> Session::check_tasks() {
    Task* overdue = oldest_overdue();
    // What is older than the oldest of them is older than all of them.
    if (overdue != nullptr && has_moved(*overdue)) {
        put_off_overdue();
        overdue = oldest_overdue();
    }
    check_at_.reset();
    for (const Task& task : tasks_.all()) {
        if (task.state == Task::State::free || task.due_at == Task::never) {
            continue;
        }
        if (task.state == Task::State::answered && task.due_at <= now_) {
            return base::fail(base::Errc::transport, "the target does not take what it was sent");
        }
        check_at_ = base::earliest(check_at_, task.due_at);
    }
    if (overdue == nullptr) {
        return {};
    }
    management_.lun = overdue->command->lun;
    management_.referenced_itt = overdue->itt;
    management_.referenced_cmd_sn = overdue->cmd_sn;
    return escalate();
}

/// The next step that has time; at the last one the session ends.
base::Result<void> Session::escalate() {
    base::Duration time{};
    while (time <= base::Duration{}) {
        management_.step = static_cast<Step>(static_cast<unsigned>(management_.step) + 1);
        if (management_.step == Step::end_session) {
            if (Task* task = tasks_.find(management_.referenced_itt); task != nullptr) {
                task->command->blamed = true;
            }
            return base::fail(
                base::Errc::transport,
                fmt::format("a SCSI command of LUN {:016x} was not answered in time, and nothing ended it",
                            management_.lun.value()));
        }
        time = time_for(management_.step, recovery_timeouts_);
    }
    management_.itt = next_generation(management_.itt);
    management_.queued = true;
    management_.again_at.reset();
    management_.give_up_at = now_ + time;
    Event event;
    event.kind = Event::Kind::task_management;
    event.code = static_cast<std::uint8_t>(function_of(management_.step));
    event.lun = management_.lun;
    events_.push(event);
    return {};
}

/// New commands to what it works on wait for its end.
bool Session::covers(const Command& command) const {
    return management_.step == Step::target_reset || command.lun == management_.lun;
}

void Session::hold_back() {
    while (!waiting_.empty() && covers(*waiting_.front())) {
        held_.push(*waiting_.pop());
    }
}

void Session::conclude_management() {
    management_.step = Step::none;
    management_.queued = false;
    waiting_.prepend(held_);
}

void Session::send_task_management() {
    management_.queued = false;
    auto& pdu = connection_.transmitter.begin<wire::TaskManagementRequest>();
    pdu.opcode_byte = wire::opcode_byte(wire::Opcode::task_management_request, true);
    pdu.flags = wire::final_bit | static_cast<std::uint8_t>(function_of(management_.step));
    pdu.itt = management_.itt;
    if (management_.step != Step::target_reset) {
        pdu.lun = management_.lun.value();
    }
    if (management_.step == Step::abort_task) {
        pdu.referenced_task_tag = management_.referenced_itt;
        pdu.ref_cmd_sn = management_.referenced_cmd_sn.value();
    }
    pdu.cmd_sn = window_.next().value();
    pdu.exp_stat_sn = connection_.acknowledge();
    connection_.transmitter.end();
    ++statistics_.tmfcmd_pdus;
}

/// Its answer says that they have ended: no new ones were sent meanwhile, so all there are were before it.
void Session::end_covered_tasks() {
    for (Task& task : tasks_.all()) {
        if (task.state != Task::State::active || !covers(*task.command)) {
            continue;
        }
        if (management_.step == Step::abort_task && task.itt != management_.referenced_itt) {
            continue;
        }
        constexpr std::uint8_t task_aborted = 0x40;
        task.aborted_itt = task.itt;
        task.command->status = task_aborted;
        finish(task, Outcome::aborted);
    }
}

base::Result<void> Session::on_task_management_response(const wire::TaskManagementResponse& pdu) {
    using Response = wire::TaskManagementResponseCode;
    ++statistics_.tmfrsp_pdus;
    if (base::StatSn stat_sn(pdu.stat_sn); !connection_.take_status(stat_sn)) {
        return connection_.status_gap(stat_sn);
    }
    bool awaited = management_.step != Step::none && !management_.queued && pdu.itt == management_.itt;
    if (!awaited) {
        return {}; // Too late: that step was given up.
    }
    auto response = static_cast<Response>(pdu.response);
    if (response == Response::complete) {
        end_covered_tasks();
        conclude_management();
        return {};
    }
    if (response != Response::no_such_task || management_.step != Step::abort_task) {
        return escalate();
    }
    // The target answered the command before this, and on one connection that answer would be here.
    if (Task* task = tasks_.find(management_.referenced_itt); task != nullptr) {
        task->command->blamed = true;
        return base::fail(base::Errc::transport, "the target has answered a command, and the answer is lost");
    }
    conclude_management();
    return {};
}

base::Result<void> Session::on_management_rejected(std::uint32_t itt, wire::RejectReason reason) {
    bool awaited = management_.step != Step::none && !management_.queued && itt == management_.itt;
    if (!awaited) {
        return {};
    }
    if (reason != wire::RejectReason::immediate_command_reject) {
        return escalate();
    }
    management_.again_at = now_ + management_retry_delay;
    return {};
}

} // namespace iscsi::session

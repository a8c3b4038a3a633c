#include "ring/await.hpp"

#include <cerrno>

namespace iscsi::ring {

OpWait::OpWait(Loop& loop)
    : loop_(loop), op_(Op::to<&OpWait::on_complete>(this)),
      timer_(Timer::to<&OpWait::on_deadline>(loop.timers(), this)) {}

void OpWait::expire_at(base::Deadline deadline) {
    if (deadline) {
        timer_.arm(*deadline);
    }
}

void OpWait::on_complete(Completion completion) {
    timer_.disarm();
    result_ = completion.result;
    done_ = true;
    if (waiter_) {
        waiter_.resume();
    }
}

void OpWait::on_deadline() {
    expired_ = true;
    loop_.ring().cancel(op_);
}

Sleep::Sleep(Loop& loop, base::TimePoint when)
    : when_(when), timer_(Timer::to<&Sleep::on_deadline>(loop.timers(), this)) {}

void Sleep::await_suspend(std::coroutine_handle<> waiter) {
    waiter_ = waiter;
    timer_.arm(when_);
}

EventOrDeadline::EventOrDeadline(Loop& loop, Event& event, base::Deadline deadline)
    : event_(event), deadline_(deadline),
      timer_(Timer::to<&EventOrDeadline::on_deadline>(loop.timers(), this)) {}

void EventOrDeadline::await_suspend(std::coroutine_handle<> waiter) {
    event_.await_suspend(waiter);
    if (deadline_) {
        timer_.arm(*deadline_);
    }
}

void EventOrDeadline::on_deadline() {
    if (event_.waiter_) {
        std::exchange(event_.waiter_, {}).resume();
    }
}

void TaskGroup::spawn(Task<void> task) {
    tasks_.push_back({this, std::move(task), {}});
    Entry& entry = tasks_.back();
    entry.self = std::prev(tasks_.end());
    entry.task.start(&TaskGroup::on_done, &entry);
}

void TaskGroup::on_done(void* entry) {
    auto* done = static_cast<Entry*>(entry);
    TaskGroup* group = done->group;
    group->tasks_.erase(done->self);
    if (group->tasks_.empty() && group->joined_ != nullptr) {
        group->joined_->set();
    }
}

Task<void> TaskGroup::join() {
    if (tasks_.empty()) {
        co_return;
    }
    Event joined;
    joined_ = &joined;
    co_await joined;
    joined_ = nullptr;
}

} // namespace iscsi::ring

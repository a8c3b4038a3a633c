// What a procedure can wait for: an operation of the kernel, a moment, an event, a group of procedures, work
// on another thread. Each waiter is an object named on its own line and then awaited once; it lives in the
// waiting frame. Thread of the loop it was made with, unless said otherwise.
#pragma once

#include "base/time.hpp"
#include "ring/loop.hpp"
#include "ring/task.hpp"

#include <coroutine>
#include <list>
#include <optional>
#include <type_traits>
#include <utility>

namespace iscsi::ring {

/// One operation: prepare it on sqe(), then co_await the object; the result is the system call's, errors as
/// -errno.
class OpWait {
public:
    explicit OpWait(Loop& loop);

    io_uring_sqe* sqe() { return loop_.sqe(op_); }
    /// Ends the operation at `deadline`; the result is then -ECANCELED and expired() is true.
    void expire_at(base::Deadline deadline);
    bool expired() const { return expired_; }
    /// Ends the operation; the result is then -ECANCELED, or what it came to meanwhile.
    void cancel() { loop_.ring().cancel(op_); }

    bool await_ready() const { return done_; }
    void await_suspend(std::coroutine_handle<> waiter) { waiter_ = waiter; }
    int await_resume() const { return result_; }

private:
    void on_complete(Completion completion);
    void on_deadline();

    Loop& loop_;
    Op op_;
    Timer timer_;
    std::coroutine_handle<> waiter_;
    int result_ = 0;
    bool done_ = false;
    bool expired_ = false;
};

/// Waits until `when`.
class Sleep {
public:
    Sleep(Loop& loop, base::TimePoint when);
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> waiter);
    void await_resume() const {}

private:
    void on_deadline() { waiter_.resume(); }
    base::TimePoint when_;
    Timer timer_;
    std::coroutine_handle<> waiter_;
};

/// Something that happens once; set() wakes the one waiter there may be. reset() makes it usable again.
class Event {
public:
    Event() = default;
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;

    void set() {
        set_ = true;
        if (waiter_) {
            std::exchange(waiter_, {}).resume();
        }
    }
    void reset() { set_ = false; }
    bool is_set() const { return set_; }
    bool has_waiter() const { return static_cast<bool>(waiter_); }

    bool await_ready() const { return set_; }
    void await_suspend(std::coroutine_handle<> waiter) {
        base::check(!waiter_, "an event has one waiter");
        waiter_ = waiter;
    }
    void await_resume() const {}

private:
    friend class EventOrDeadline;
    bool set_ = false;
    std::coroutine_handle<> waiter_;
};

/// Waits for `event` until `deadline`; true when the event came.
class EventOrDeadline {
public:
    EventOrDeadline(Loop& loop, Event& event, base::Deadline deadline);
    bool await_ready() const { return event_.is_set(); }
    void await_suspend(std::coroutine_handle<> waiter);
    bool await_resume() {
        timer_.disarm();
        return event_.is_set();
    }

private:
    void on_deadline();
    Event& event_;
    base::Deadline deadline_;
    Timer timer_;
};

/// Procedures that nobody awaits one by one. Must be empty (see join) when it dies.
class TaskGroup {
public:
    TaskGroup() = default;
    TaskGroup(const TaskGroup&) = delete;
    TaskGroup& operator=(const TaskGroup&) = delete;
    ~TaskGroup() { base::check(tasks_.empty(), "a task group is joined before it dies"); }

    void spawn(Task<void> task);
    bool empty() const { return tasks_.empty(); }
    /// Set when the group is empty; for co_await.
    Task<void> join();

private:
    struct Entry {
        TaskGroup* group;
        Task<void> task;
        std::list<Entry>::iterator self;
    };
    static void on_done(void* entry);

    std::list<Entry> tasks_;
    Event* joined_ = nullptr;
};

/// Runs `work` on the thread of `there` and gives its result back on the thread of `here`. `work` is a plain
/// function object; when it returns a Task, that is run there to its end. What it refers to stays alive
/// because the caller waits.
template <class Work>
class Call {
    template <class T>
    struct Unwrap {
        using type = T;
        static constexpr bool is_task = false;
    };
    template <class T>
    struct Unwrap<Task<T>> {
        using type = T;
        static constexpr bool is_task = true;
    };
    using Returned = std::invoke_result_t<Work&>;
    using Value = typename Unwrap<Returned>::type;
    static constexpr bool is_task = Unwrap<Returned>::is_task;
    static constexpr bool is_void = std::is_void_v<Value>;

public:
    Call(Loop& here, Loop& there, Work& work)
        : here_(here), there_(there), work_(work), request_(*this), reply_(*this) {}
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> waiter) {
        waiter_ = waiter;
        there_.post(request_);
    }
    Value await_resume() {
        if constexpr (!is_void) {
            return std::move(*value_);
        }
    }

private:
    struct Request final : Message {
        explicit Request(Call& owner) : call(owner) {}
        void deliver() override { call.run(); }
        Call& call;
    };
    struct Reply final : Message {
        explicit Reply(Call& owner) : call(owner) {}
        void deliver() override { call.waiter_.resume(); }
        Call& call;
    };

    void run() {
        if constexpr (is_task) {
            task_ = work_();
            task_.start([](void* self) { static_cast<Call*>(self)->on_task_done(); }, this);
        } else if constexpr (is_void) {
            work_();
            reply();
        } else {
            value_.emplace(work_());
            reply();
        }
    }
    void on_task_done() {
        if constexpr (is_task && !is_void) {
            value_.emplace(task_.result());
        }
        if constexpr (is_task) {
            task_ = Returned();
        }
        reply();
    }
    void reply() { here_.post(reply_); }

    Loop& here_;
    Loop& there_;
    Work& work_;
    Request request_;
    Reply reply_;
    std::coroutine_handle<> waiter_;
    std::optional<std::conditional_t<is_void, char, Value>> value_;
    std::conditional_t<is_task, Returned, char> task_{};
};

} // namespace iscsi::ring

// Work that blocks (a name server, netlink, libmount), done on a thread of its own while the procedure that
// asked for it waits on its loop. The thread lives as long as the work. Made and awaited on the loop's
// thread; the object lives in the waiting frame. When the system has no thread to give, the work is done on
// the loop's own thread: late is better than not at all.
#pragma once

#include "ring/loop.hpp"

#include <condition_variable>
#include <coroutine>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>

namespace iscsi::ring {

/// Name it on its own line, then co_await it: gives what `work` returns (not void). `work` is a plain
/// function object; what it refers to stays alive because the caller waits.
template <class Work>
class Aside final : private Message {
    using Value = std::invoke_result_t<Work&>;

public:
    Aside(Loop& loop, Work& work) : loop_(loop), work_(work) {}

    bool await_ready() const { return false; }
    bool await_suspend(std::coroutine_handle<> waiter) {
        waiter_ = waiter;
        try {
            thread_ = std::thread([this] {
                value_.emplace(work_());
                loop_.post(*this);
            });
        } catch (const std::system_error&) {
            value_.emplace(work_());
            return false;
        }
        return true;
    }
    Value await_resume() { return std::move(*value_); }

private:
    void deliver() override {
        thread_.join();
        waiter_.resume();
    }

    Loop& loop_;
    Work& work_;
    std::thread thread_;
    std::coroutine_handle<> waiter_;
    std::optional<Value> value_;
};

/// The same for work that nobody may have the time for: gives what `work` returns, or nothing once it was
/// abandoned. The thread goes on then, alone: `work` owns all that it refers to.
template <class Work>
class AbandonableAside {
    using Value = std::invoke_result_t<Work&>;

public:
    AbandonableAside(Loop& loop, Work work) : shared_(std::make_shared<Shared>(loop, std::move(work))) {}

    /// Who waits goes on from within this. Idempotent; nothing when the work is done. Thread of the loop.
    void abandon() {
        abandoned_ = true;
        {
            const std::lock_guard lock(shared_->mutex);
            shared_->loop = nullptr;
        }
        if (shared_->waiter) {
            std::exchange(shared_->waiter, {}).resume();
        }
    }

    bool await_ready() const { return abandoned_; }
    bool await_suspend(std::coroutine_handle<> waiter) {
        shared_->waiter = waiter;
        try {
            std::thread([shared = shared_] { shared->run(shared); }).detach();
        } catch (const std::system_error&) {
            shared_->waiter = {};
            shared_->value.emplace(shared_->work());
            return false;
        }
        return true;
    }
    std::optional<Value> await_resume() { return abandoned_ ? std::nullopt : std::move(shared_->value); }

private:
    struct Shared final : Message {
        Shared(Loop& where, Work what) : work(std::move(what)), loop(&where) {}

        void run(const std::shared_ptr<Shared>& me) {
            value.emplace(work());
            const std::lock_guard lock(mutex);
            if (loop != nullptr) {
                self = me;
                loop->post(*this);
            }
        }
        void deliver() override {
            const std::shared_ptr<Shared> last = std::move(self);
            if (waiter) {
                std::exchange(waiter, {}).resume();
            }
        }

        Work work;
        std::optional<Value> value;
        std::mutex mutex;
        Loop* loop;                   ///< under the mutex; nullptr: nobody waits any more
        std::shared_ptr<Shared> self; ///< while it is in the loop's mailbox
        std::coroutine_handle<> waiter;
    };

    std::shared_ptr<Shared> shared_;
    bool abandoned_ = false;
};

/// The other way round: the work of an Aside asks its loop's thread, and waits for the answer. `question` is
/// a plain function object.
template <class Question>
std::invoke_result_t<Question&> ask_loop(Loop& loop, Question& question) {
    struct Asking final : Message {
        explicit Asking(Question& what) : question(what) {}
        void deliver() override {
            auto value = question();
            // Under the mutex to the end: with the answer this object dies.
            const std::lock_guard lock(mutex);
            answer.emplace(std::move(value));
            answered.notify_one();
        }
        Question& question;
        std::mutex mutex;
        std::condition_variable answered;
        std::optional<std::invoke_result_t<Question&>> answer;
    };
    if (loop.is_on_its_thread()) {
        return question();
    }
    Asking asking(question);
    loop.post(asking);
    std::unique_lock lock(asking.mutex);
    asking.answered.wait(lock, [&] { return asking.answer.has_value(); });
    return std::move(*asking.answer);
}

} // namespace iscsi::ring

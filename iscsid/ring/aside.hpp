// Work that blocks (a name server, netlink, libmount), done on a thread of its own while the procedure that
// asked for it waits on its loop. The thread lives as long as the work. Made and awaited on the loop's
// thread; the object lives in the waiting frame.
#pragma once

#include "ring/loop.hpp"

#include <coroutine>
#include <optional>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>

namespace iscsi::ring {

/// Name it on its own line, then co_await it: gives what `work` returns (not void). `work` is a plain
/// function object; what it refers to stays alive because the caller waits. When the system has no thread to
/// give, the work is done on the loop's own thread: late is better than not at all.
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

} // namespace iscsi::ring

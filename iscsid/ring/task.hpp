// The one coroutine type: for procedures that wait (login, scan, logout), never for an I/O. A Task is lazy:
// it begins when it is awaited. Its frame is owned by the Task object, which lives in the awaiting frame, so
// a parent that dies takes its children along; what a child has given to the kernel must be ended before
// that. Thread of its loop.
//
// GCC 12 destroys temporaries of aggregates twice in statements that hold a co_await. Therefore: in such a
// statement no brace, no bracket and no question mark, and no default arguments on coroutines; name things on
// the line above.
#pragma once

#include "base/check.hpp"

#include <coroutine>
#include <cstdlib>
#include <optional>
#include <utility>

namespace iscsi::ring {

template <class T>
class Task;

namespace detail {

class PromiseBase {
public:
    struct FinalAwaiter {
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) const noexcept {
            PromiseBase& promise = self.promise();
            if (promise.continuation) {
                return promise.continuation;
            }
            if (promise.on_done != nullptr) {
                promise.on_done(promise.on_done_context);
            }
            return std::noop_coroutine();
        }
        void await_resume() const noexcept {}
    };

    std::suspend_always initial_suspend() const noexcept { return {}; }
    FinalAwaiter final_suspend() const noexcept { return {}; }
    // Exceptions do not cross interfaces here; one that reaches a coroutine's edge is a defect of ours.
    [[noreturn]] void unhandled_exception() const noexcept { base::check_failed_exception(); }

    std::coroutine_handle<> continuation;
    void (*on_done)(void*) = nullptr; ///< for a root: called at the end; may destroy the frame
    void* on_done_context = nullptr;
};

template <class T>
class Promise : public PromiseBase {
public:
    Task<T> get_return_object();
    template <class U>
    void return_value(U&& value) {
        value_.emplace(std::forward<U>(value));
    }
    T take() { return std::move(*value_); }

private:
    std::optional<T> value_;
};

template <>
class Promise<void> : public PromiseBase {
public:
    Task<void> get_return_object();
    void return_void() const noexcept {}
    void take() const noexcept {}
};

} // namespace detail

template <class T>
class [[nodiscard]] Task {
public:
    using promise_type = detail::Promise<T>;
    using Handle = std::coroutine_handle<promise_type>;

    Task() = default;
    explicit Task(Handle handle) : handle_(handle) {}
    Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
    Task& operator=(Task&& other) noexcept {
        if (this != &other) {
            destroy();
            handle_ = std::exchange(other.handle_, {});
        }
        return *this;
    }
    ~Task() { destroy(); }

    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> parent) noexcept {
        handle_.promise().continuation = parent;
        return handle_;
    }
    T await_resume() { return handle_.promise().take(); }

    /// Begins a root: nobody awaits it; `on_done(context)` is called at its end and may destroy this Task.
    void start(void (*on_done)(void*), void* context) {
        handle_.promise().on_done = on_done;
        handle_.promise().on_done_context = context;
        handle_.resume();
    }
    /// Of a root that is done: its value, once.
    T result() { return handle_.promise().take(); }
    bool done() const { return handle_ && handle_.done(); }

private:
    void destroy() {
        if (handle_) {
            handle_.destroy();
        }
    }
    Handle handle_;
};

namespace detail {

template <class T>
Task<T> Promise<T>::get_return_object() {
    return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}

inline Task<void> Promise<void>::get_return_object() {
    return Task<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}

} // namespace detail
} // namespace iscsi::ring

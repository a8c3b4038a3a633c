// Runs a procedure from a plain test: turns the loop it waits on until it has ended.
#pragma once

#include "base/check.hpp"
#include "ring/loop.hpp"
#include "ring/task.hpp"

#include <utility>

namespace iscsi::test {

/// What `task` came to, which must not wait for anything.
template <class T>
T result_of(ring::Task<T> task) {
    bool done = false;
    task.start([](void* flag) { *static_cast<bool*>(flag) = true; }, &done);
    base::check(done, "the procedure does not wait");
    return task.result();
}

/// What `task` came to; `loop` is the one it waits on. CTest ends a test that waits for ever.
template <class T>
T run_task(ring::Loop& loop, ring::Task<T> task) {
    bool done = false;
    task.start([](void* flag) { *static_cast<bool*>(flag) = true; }, &done);
    while (!done) {
        loop.turn();
    }
    return task.result();
}

} // namespace iscsi::test

// A thread with one loop, on which sessions and block queues live. Made and ended by control; in between
// control reaches it through messages to loop(). What all its logical units share (the data pool) is here.
#pragma once

#include "base/result.hpp"
#include "block/buffer_pool.hpp"
#include "ring/loop.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <thread>

namespace iscsi::shard {

struct ShardConfig {
    unsigned index = 0; ///< for the thread's name
    std::size_t pool_bytes = 0;
};

class Shard {
public:
    /// Starts the thread and waits until its loop and its memory are there.
    static base::Result<std::unique_ptr<Shard>> start(const ShardConfig& config);

    Shard(const Shard&) = delete;
    Shard& operator=(const Shard&) = delete;
    /// Ends the thread. Everything that lived on it must be gone.
    ~Shard();

    ring::Loop& loop() { return *loop_; }
    /// The shard's thread only.
    block::BufferPool& pool() { return *pool_; }

    std::size_t sessions = 0; ///< that were placed here; control's own note, and its thread's

private:
    Shard() = default;
    base::Result<void> prepare(const ShardConfig& config);

    std::unique_ptr<ring::Loop> loop_;
    std::unique_ptr<block::BufferPool> pool_;
    std::thread thread_;
};

} // namespace iscsi::shard

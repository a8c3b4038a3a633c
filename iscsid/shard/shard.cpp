#include "shard/shard.hpp"

#include <fmt/format.h>
#include <future>
#include <pthread.h>
#include <utility>

namespace iscsi::shard {

base::Result<std::unique_ptr<Shard>> Shard::start(const ShardConfig& config) {
    std::unique_ptr<Shard> shard(new Shard());
    std::promise<base::Result<void>> promise;
    std::future<base::Result<void>> outcome = promise.get_future();
    // The ring must be made by the thread that uses it (IORING_SETUP_SINGLE_ISSUER).
    shard->thread_ = std::thread([prepared = std::move(promise), config, self = shard.get()]() mutable {
        base::Result<void> result = self->prepare(config);
        bool ready = result.has_value();
        ring::Loop* loop = self->loop_.get();
        prepared.set_value(std::move(result));
        if (ready) {
            loop->run();
        }
    });
    base::Result<void> result = outcome.get();
    if (!result) {
        return base::fail(std::move(result.error()));
    }
    return shard;
}

base::Result<void> Shard::prepare(const ShardConfig& config) {
    std::string name = fmt::format("shard-{}", config.index);
    ::pthread_setname_np(::pthread_self(), name.c_str());
    auto loop = ring::Loop::create();
    if (!loop) {
        return base::fail(std::move(loop.error()));
    }
    auto pool = block::BufferPool::create(config.pool_bytes);
    if (!pool) {
        return base::fail(std::move(pool.error()));
    }
    loop_ = std::move(*loop);
    pool_ = std::move(*pool);
    return {};
}

Shard::~Shard() {
    if (!thread_.joinable()) {
        return;
    }
    if (loop_ != nullptr) {
        loop_->stop();
    }
    thread_.join();
}

} // namespace iscsi::shard

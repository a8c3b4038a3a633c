// What a unit has acknowledged and may hold in its volatile cache only: counted up as writes end, down to
// nothing by flushes. A flush covers what had ended when it was sent (SBC-3 section 4.15), through whichever
// queue of the device: the cache is the unit's, not a nexus's. Counts only. Each queue counts in a line of
// its own, so that an I/O costs two additions and no other processor's memory; sums are not of one moment,
// but never more than what had ended when they were read to the end, and errors are on the safe side:
// something counts as not flushed that was. Any thread, but for on_acknowledged().
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace iscsi::shard {

/// To at least `value`, by one of several threads: by how much.
template <class T>
T raise_to(std::atomic<T>& least, T value) {
    T before = least.load(std::memory_order_acquire);
    while (before < value && !least.compare_exchange_weak(before, value, std::memory_order_acq_rel)) {
    }
    return before < value ? value - before : T{};
}

class VolatileWrites {
public:
    /// Of writes that ended well, since the begin.
    struct Amount {
        std::uint64_t writes = 0;
        std::uint64_t bytes = 0;
        friend bool operator==(const Amount&, const Amount&) = default;
    };

    explicit VolatileWrites(unsigned queues = 1)
        : counts_(std::make_unique<Count[]>(queues)), queues_(queues) {}

    unsigned queues() const { return queues_; }
    /// Of the queue with this number, which is below that of the constructor; its thread only. Where there
    /// are several: whoever looks for losses after it, and another who looks for writes after a loss, do not
    /// both miss the other's.
    void on_acknowledged(std::uint64_t bytes, unsigned queue = 0) {
        Count& count = counts_[queue];
        count.bytes.store(count.bytes.load(std::memory_order_relaxed) + bytes, std::memory_order_release);
        count.writes.store(count.writes.load(std::memory_order_relaxed) + 1,
                           queues_ > 1 ? std::memory_order_seq_cst : std::memory_order_release);
    }
    /// What a flush covers that is sent now.
    Amount acknowledged() const {
        Amount sum;
        for (unsigned queue = 0; queue < queues_; ++queue) {
            sum.writes += counts_[queue].writes.load(std::memory_order_seq_cst);
            sum.bytes += counts_[queue].bytes.load(std::memory_order_acquire);
        }
        return sum;
    }
    /// A flush ended well that was sent when acknowledged() was `covered`.
    void on_flushed(Amount covered) {
        raise_to(flushed_writes_, covered.writes);
        raise_to(flushed_bytes_, covered.bytes);
        // Without a count: it was there from the begin.
        unknown_.store(false, std::memory_order_release);
    }
    /// Others have written before the begin; nobody knows how much.
    void assume() { unknown_.store(true, std::memory_order_release); }

    bool any() const {
        const Amount flushed{flushed_writes_.load(std::memory_order_acquire),
                             flushed_bytes_.load(std::memory_order_acquire)};
        return unknown_.load(std::memory_order_acquire) || acknowledged() != flushed;
    }
    /// The cache is gone, with all that it held: that much, nothing where only assume() knows of it.
    Amount lose() {
        Amount gone;
        for (unsigned queue = 0; queue < queues_; ++queue) {
            Count& count = counts_[queue];
            const std::uint64_t writes = count.writes.load(std::memory_order_seq_cst);
            count.gone.store(writes, std::memory_order_release);
            gone.writes += writes;
            gone.bytes += count.bytes.load(std::memory_order_acquire);
        }
        unknown_.store(false, std::memory_order_release);
        return {raise_to(flushed_writes_, gone.writes), raise_to(flushed_bytes_, gone.bytes)};
    }
    /// This queue has acknowledged writes since lose(), which another loss would take; flushed ones count,
    /// too. As long as there is something that only assume() knows of: true.
    bool any_since_lost(unsigned queue) const {
        const Count& count = counts_[queue];
        return unknown_.load(std::memory_order_acquire) ||
               count.writes.load(std::memory_order_acquire) != count.gone.load(std::memory_order_acquire);
    }

private:
    struct alignas(64) Count {
        std::atomic<std::uint64_t> writes = 0;
        std::atomic<std::uint64_t> bytes = 0;
        std::atomic<std::uint64_t> gone = 0; ///< writes, when the cache was lost the last time
    };

    std::unique_ptr<Count[]> counts_;
    unsigned queues_;
    std::atomic<std::uint64_t> flushed_writes_ = 0; ///< never more than was acknowledged
    std::atomic<std::uint64_t> flushed_bytes_ = 0;
    std::atomic<bool> unknown_ = false;
};

} // namespace iscsi::shard

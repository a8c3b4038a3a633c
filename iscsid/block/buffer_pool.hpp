// The one pool of data memory that all block queues of a shard share: a fixed arena cut by a buddy allocator
// into blocks of 4 KiB .. 32 MiB. What was released is joined with its neighbours only when somebody needs
// more than there is in one piece, so that sizes that come and go all the time are neither cut nor joined; a
// claim that finds none of its size cuts the smallest larger block, joined or not. After
// construction nothing is allocated; a claim costs O(log n) but when it has to join, which is once for each
// release.
// Bytes belong to whoever claimed them until released. Those who find the pool empty can wait in line: first
// come, first served, so that large requests are not starved by small ones. Nobody may hold more than a
// quarter of what is left then, or those whose targets do not answer would soon have it all: of two each has
// a sixth, sixteen have a twentieth each, and there is something left for the next. (Switches divide their
// buffers so: Choudhury and Hahne, "Dynamic Queue Length Thresholds".) One alone may have half: over a long
// way what is under way at a time is what it gets through. The shard's thread only.
#pragma once

#include "base/bytes.hpp"
#include "base/limits.hpp"
#include "base/result.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace iscsi::block {

class BufferPool {
public:
    static constexpr std::size_t block_bytes_min = 4096;
    static constexpr unsigned orders = 14;
    static constexpr std::size_t block_bytes_max = block_bytes_min << (orders - 1); ///< 32 MiB

    /// One who claims memory and waits for it. Destroy it only after forget(), or when it never waited, and
    /// when it has released all.
    class Waiter {
    public:
        Waiter() = default;
        Waiter(const Waiter&) = delete;
        Waiter& operator=(const Waiter&) = delete;
        virtual ~Waiter() = default;

        /// Memory came back, and of those in line who may have more this waiter is the first: claim again
        /// soon, but not from in here.
        virtual void on_memory() = 0;

    private:
        friend class BufferPool;
        Waiter* next_ = nullptr;
        Waiter* previous_ = nullptr;
        bool waiting_ = false;
        std::size_t wanted_ = 0; ///< a block of this size, while it waits
        std::size_t held_ = 0;   ///< in blocks that it has
    };

    /// Maps `bytes` (a multiple of 4 KiB, at least that). Errors: no_memory.
    static base::Result<std::unique_ptr<BufferPool>>
    create(std::size_t bytes = base::limits::shard_pool_bytes);

    BufferPool(const BufferPool&) = delete;
    BufferPool& operator=(const BufferPool&) = delete;
    ~BufferPool();

    /// `bytes` (1 .. block_bytes_max) of memory, aligned to 4 KiB, with whatever it held before; empty when
    /// there is none. Does not look at those in line: for a caller that cannot wait.
    base::MutableBytes claim(std::size_t bytes);

    /// As above, in line: empty also when `waiter` would hold more than its share (its first block is
    /// always within it), or when others wait before it who may have more. Then `waiter` is in the line,
    /// keeps its place while it fails again, and leaves it by success or forget(). release() it with the same
    /// waiter.
    base::MutableBytes claim(std::size_t bytes, Waiter& waiter);

    /// Takes `waiter` out of the line, if it is in it.
    void forget(Waiter& waiter);

    /// Makes the kernel give memory for the whole pool now, so that no I/O has to wait for that (or, when the
    /// memory is short, for I/O that waits for this pool). What the blocks hold stays. False when the kernel
    /// does not have that much. Blocks for some milliseconds, the first time.
    bool populate();

    /// Gives back exactly what a claim gave. Tells the first in line who may have more.
    void release(base::MutableBytes bytes);
    void release(base::MutableBytes bytes, Waiter& waiter);

    std::size_t size() const { return arena_.size(); }
    /// Bytes of the blocks that are claimed, their rounding included.
    std::size_t claimed() const { return claimed_; }
    /// How many are in line. It walks along them: for people, and for no I/O.
    std::size_t waiting() const;
    /// What a claim of `bytes` takes from the pool.
    static std::size_t rounded(std::size_t bytes);

private:
    explicit BufferPool(base::MutableBytes arena);

    static constexpr std::uint32_t none = UINT32_MAX;
    enum class State : std::uint8_t {
        inside, ///< not the first page of a block
        free,
        kept, ///< released, and not joined with its neighbours yet
        claimed,
    };
    struct Page {
        std::uint32_t next = none;
        std::uint32_t previous = none;
        std::uint8_t order = 0;
        State state = State::inside;
    };

    static unsigned order_of(std::size_t bytes);
    std::uint32_t take_page(unsigned order);
    std::uint32_t take_kept(unsigned order);
    void join(std::uint32_t page);
    bool join_kept();
    void push_free(std::uint32_t page, unsigned order);
    void take_free(std::uint32_t page);
    bool may_hold(const Waiter& waiter, std::size_t more) const;
    Waiter* first_entitled() const;
    void tell_first();

    base::MutableBytes arena_;
    std::vector<Page> pages_;
    std::array<std::uint32_t, orders> free_{};
    std::array<std::uint32_t, orders> kept_{}; ///< of each order, the one released last first
    std::size_t claimed_ = 0;
    bool populated_ = false;
    Waiter* first_ = nullptr;
    Waiter* last_ = nullptr;
};

} // namespace iscsi::block

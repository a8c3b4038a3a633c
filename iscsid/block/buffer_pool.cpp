#include "block/buffer_pool.hpp"

#include "base/check.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <sys/mman.h>

namespace iscsi::block {
namespace {

#ifndef MADV_POPULATE_WRITE
constexpr int MADV_POPULATE_WRITE = 23; // linux/mman.h since 5.14
#endif

/// A write to each page that changes nothing, whoever else may be writing there: blocks may be claimed, and
/// the kernel receiving into them. (An addition of zero would do, were compilers not clever enough to make a
/// read of it.)
void touch_pages(base::MutableBytes arena) {
    for (std::size_t at = 0; at < arena.size(); at += BufferPool::block_bytes_min) {
        std::atomic_ref byte(reinterpret_cast<unsigned char&>(arena[at]));
        unsigned char value = byte.load(std::memory_order_relaxed);
        while (!byte.compare_exchange_weak(value, value, std::memory_order_relaxed)) {
        }
    }
}

} // namespace

base::Result<std::unique_ptr<BufferPool>> BufferPool::create(std::size_t bytes) {
    base::check(bytes >= block_bytes_min && bytes % block_bytes_min == 0, "a pool is whole pages");
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return base::fail(base::Errc::no_memory, "cannot map the data pool");
    }
    return std::unique_ptr<BufferPool>(
        new BufferPool(base::MutableBytes(static_cast<std::byte*>(memory), bytes)));
}

BufferPool::BufferPool(base::MutableBytes arena) : arena_(arena), pages_(arena.size() / block_bytes_min) {
    free_.fill(none);
    kept_.fill(none);
    std::uint32_t page = 0;
    auto left = static_cast<std::uint32_t>(pages_.size());
    while (left > 0) {
        auto order = std::min<unsigned>(orders - 1, static_cast<unsigned>(std::bit_width(left)) - 1);
        push_free(page, order);
        page += 1U << order;
        left -= 1U << order;
    }
}

BufferPool::~BufferPool() {
    base::check(claimed_ == 0, "a pool dies after its users");
    base::check(first_ == nullptr, "a pool dies after those in line");
    ::munmap(arena_.data(), arena_.size());
}

unsigned BufferPool::order_of(std::size_t bytes) {
    base::check(bytes > 0 && bytes <= block_bytes_max, "a claim is 1 .. 32 MiB");
    return static_cast<unsigned>(std::bit_width((bytes - 1) / block_bytes_min));
}

std::size_t BufferPool::rounded(std::size_t bytes) {
    return block_bytes_min << order_of(bytes);
}

base::MutableBytes BufferPool::claim(std::size_t bytes) {
    const unsigned order = order_of(bytes);
    std::uint32_t page = take_page(order);
    if (page == none && join_kept()) {
        page = take_page(order);
    }
    if (page == none) {
        return {};
    }
    pages_[page].order = static_cast<std::uint8_t>(order);
    pages_[page].state = State::claimed;
    claimed_ += block_bytes_min << order;
    return arena_.subspan(page * block_bytes_min, bytes);
}

/// The one released last: its bytes may still be in the processor's cache.
std::uint32_t BufferPool::take_kept(unsigned order) {
    const std::uint32_t page = kept_[order];
    if (page != none) {
        kept_[order] = pages_[page].next;
    }
    return page;
}

/// Cut off a larger one if need be: off the smallest that there is, kept or joined, so that the large ones
/// stay whole for those who need them.
std::uint32_t BufferPool::take_page(unsigned order) {
    unsigned found = order;
    while (found < orders && kept_[found] == none && free_[found] == none) {
        ++found;
    }
    if (found == orders) {
        return none;
    }
    std::uint32_t page = take_kept(found);
    if (page == none) {
        page = free_[found];
        take_free(page);
    }
    while (found > order) {
        --found;
        push_free(page + (1U << found), found);
    }
    return page;
}

bool BufferPool::may_hold(const Waiter& waiter, std::size_t more) const {
    constexpr std::size_t others_to_own = 4;
    const bool is_alone = waiter.held_ == claimed_;
    if (is_alone && 2 * (waiter.held_ + more) <= arena_.size()) {
        return true;
    }
    return waiter.held_ == 0 || others_to_own * (waiter.held_ + more) + claimed_ + more <= arena_.size();
}

/// Those before it wait for their own to come back, or for more to be left: who has less need not wait for
/// that.
BufferPool::Waiter* BufferPool::first_entitled() const {
    Waiter* waiter = first_;
    while (waiter != nullptr && !may_hold(*waiter, waiter->wanted_)) {
        waiter = waiter->next_;
    }
    return waiter;
}

base::MutableBytes BufferPool::claim(std::size_t bytes, Waiter& waiter) {
    const bool wants_more = waiter.waiting_ && rounded(bytes) > waiter.wanted_;
    waiter.wanted_ = rounded(bytes);
    const Waiter* next = first_entitled();
    if (may_hold(waiter, waiter.wanted_) && (next == nullptr || next == &waiter)) {
        const base::MutableBytes claimed = claim(bytes);
        if (!claimed.empty()) {
            waiter.held_ += waiter.wanted_;
            forget(waiter);
            return claimed;
        }
    }
    if (!waiter.waiting_) {
        waiter.waiting_ = true;
        waiter.previous_ = last_;
        (last_ != nullptr ? last_->next_ : first_) = &waiter;
        last_ = &waiter;
    }
    if (wants_more && next != &waiter) {
        tell_first(); // it was told perhaps that there is enough for what it wanted before: the others were
                      // not
    }
    return {};
}

bool BufferPool::populate() {
    if (populated_) {
        return true;
    }
    int result = 0;
    do {
        result = ::madvise(arena_.data(), arena_.size(), MADV_POPULATE_WRITE);
    } while (result != 0 && errno == EINTR);
    if (result != 0 && errno == EINVAL) {
        touch_pages(arena_); // a kernel before 5.14
        result = 0;
    }
    populated_ = result == 0;
    return populated_;
}

void BufferPool::forget(Waiter& waiter) {
    if (!waiter.waiting_) {
        return;
    }
    (waiter.previous_ != nullptr ? waiter.previous_->next_ : first_) = waiter.next_;
    (waiter.next_ != nullptr ? waiter.next_->previous_ : last_) = waiter.previous_;
    waiter.next_ = nullptr;
    waiter.previous_ = nullptr;
    waiter.waiting_ = false;
    tell_first();
}

void BufferPool::release(base::MutableBytes bytes, Waiter& waiter) {
    base::check(waiter.held_ >= rounded(bytes.size()), "who releases has claimed");
    waiter.held_ -= rounded(bytes.size());
    release(bytes);
}

void BufferPool::release(base::MutableBytes bytes) {
    base::check(bytes.data() >= arena_.data() && bytes.data() < arena_.data() + arena_.size(),
                "released bytes are of this pool");
    const auto offset = static_cast<std::size_t>(bytes.data() - arena_.data());
    base::check(offset % block_bytes_min == 0, "a block starts on a page");
    auto page = static_cast<std::uint32_t>(offset / block_bytes_min);
    base::check(pages_[page].state == State::claimed, "released bytes were claimed");
    const unsigned order = pages_[page].order;
    base::check(order == order_of(bytes.size()), "a block is released as it was claimed");
    claimed_ -= block_bytes_min << order;
    pages_[page].state = State::kept;
    pages_[page].next = kept_[order];
    kept_[order] = page;
    tell_first();
}

/// Into one block with those neighbours that are free.
void BufferPool::join(std::uint32_t page) {
    unsigned order = pages_[page].order;
    pages_[page].state = State::inside;
    for (; order < orders - 1; ++order) {
        const std::uint32_t buddy = page ^ (1U << order);
        const bool joins =
            buddy < pages_.size() && pages_[buddy].state == State::free && pages_[buddy].order == order;
        if (!joins) {
            break;
        }
        take_free(buddy);
        page = std::min(page, buddy);
    }
    push_free(page, order);
}

/// All that is kept; false when that is nothing.
bool BufferPool::join_kept() {
    bool any = false;
    for (unsigned order = 0; order < orders; ++order) {
        for (std::uint32_t page = take_kept(order); page != none; page = take_kept(order)) {
            join(page);
            any = true;
        }
    }
    return any;
}

void BufferPool::push_free(std::uint32_t page, unsigned order) {
    Page& entry = pages_[page];
    entry.state = State::free;
    entry.order = static_cast<std::uint8_t>(order);
    entry.previous = none;
    entry.next = free_[order];
    if (entry.next != none) {
        pages_[entry.next].previous = page;
    }
    free_[order] = page;
}

void BufferPool::take_free(std::uint32_t page) {
    Page& entry = pages_[page];
    (entry.previous != none ? pages_[entry.previous].next : free_[entry.order]) = entry.next;
    if (entry.next != none) {
        pages_[entry.next].previous = entry.previous;
    }
    entry.state = State::inside;
}

std::size_t BufferPool::waiting() const {
    std::size_t counted = 0;
    for (const Waiter* waiter = first_; waiter != nullptr; waiter = waiter->next_) {
        ++counted;
    }
    return counted;
}

void BufferPool::tell_first() {
    if (Waiter* next = first_entitled(); next != nullptr) {
        next->on_memory();
    }
}

} // namespace iscsi::block

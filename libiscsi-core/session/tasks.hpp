// The tasks of a session: one slot for each command the target knows of, found by its Initiator Task Tag in
// one step. A tag is slot and generation, so that a PDU for a task that has ended names nothing. Also the
// queue of data transfers the target asked for. Session-wide; memory is taken in the constructors. One thread
// (that of the session). RFC 7143 sections 4.2.2.1, 4.2.5 and 11.2.1.8.
#pragma once

#include "base/check.hpp"
#include "base/limits.hpp"
#include "base/serial.hpp"
#include "base/time.hpp"
#include "base/units.hpp"
#include "session/command.hpp"
#include "session/ranges.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

namespace iscsi::session {

/// Tags carry the slot in their low bits and the slot's generation above. Slots above those of tasks tag the
/// session's own requests; the highest is never used, so no tag is the reserved one.
inline constexpr unsigned tag_slot_bits = 12;
inline constexpr std::uint32_t tag_slot_mask = (1U << tag_slot_bits) - 1;
inline constexpr std::uint32_t ping_slot = base::limits::tasks_max;
inline constexpr std::uint32_t logout_slot = base::limits::tasks_max + 1;
inline constexpr std::uint32_t management_slot = base::limits::tasks_max + 2;
static_assert(management_slot < tag_slot_mask);

/// The tag that follows `tag` in its slot.
constexpr std::uint32_t next_generation(std::uint32_t tag) {
    return tag + (1U << tag_slot_bits);
}

struct Task {
    enum class State : std::uint8_t {
        free,
        active,   ///< the target has it, or is about to
        answered, ///< the target is done with it; bytes of its buffer still wait to be sent
    };

    Command* command = nullptr;
    std::uint32_t itt = 0;
    base::CmdSn cmd_sn;
    std::uint32_t expected_bytes = 0;  ///< Expected Data Transfer Length
    std::uint32_t received_bytes = 0;  ///< Data-In placed so far
    std::uint32_t made_bytes = 0;      ///< of its data in PDUs of ours, immediate data too; each byte once
    std::uint32_t data_sn = 0;         ///< next DataSN of Data-In, or next R2TSN
    std::uint16_t payloads_queued = 0; ///< parts of its buffer that the transmitter still points into
    std::uint16_t r2ts_open = 0;       ///< R2Ts whose last Data-Out has not been generated
    State state = State::free;
    Direction direction = Direction::none;
    std::uint32_t aborted_itt = base::reserved_tag; ///< of the slot's last task that task management ended
    base::TimePoint due_at = never;                 ///< its time is over then
    base::TimePoint moved_at;                       ///< data of it last came or went
    std::uint8_t times_put_off = 0;                 ///< due_at was, because something moved
    Ranges asked;                                   ///< of a write: unsolicited, or asked for by an R2T

    static constexpr base::TimePoint never = base::TimePoint::max();
};

class TaskTable {
public:
    /// `count`: a power of two, 2 to limits::tasks_max.
    explicit TaskTable(std::uint32_t count)
        : count_(count), free_count_(count), tasks_(std::make_unique<Task[]>(count)),
          free_(std::make_unique<std::uint16_t[]>(count)) {
        base::check(std::has_single_bit(count) && count >= 2 && count <= base::limits::tasks_max,
                    "a session has 2 to 2048 tasks, a power of two");
        for (std::uint32_t i = 0; i < count; ++i) {
            tasks_[i].itt = i;
            free_[i] = static_cast<std::uint16_t>(count - 1 - i);
        }
    }

    std::uint32_t used() const { return count_ - free_count_; }
    std::uint32_t size() const { return count_; }
    bool has_free() const { return free_count_ > 0; }

    /// The slot freed last, with the tag that follows its last one; there must be one. A tag comes back after
    /// 2^20 commands of its slot: by then nothing of the first is on its way any more, for a connection keeps
    /// its order.
    Task& claim() {
        Task& task = tasks_[free_[--free_count_]];
        task.itt = next_generation(task.itt);
        return task;
    }
    void release(Task& task) {
        task.state = Task::State::free;
        task.command = nullptr;
        free_[free_count_++] = static_cast<std::uint16_t>(slot_of(task));
    }

    /// The active task with this tag, or nullptr.
    Task* find(std::uint32_t itt) {
        std::uint32_t slot = itt & tag_slot_mask;
        if (slot >= count_) {
            return nullptr;
        }
        Task& task = tasks_[slot];
        return task.itt == itt && task.state == Task::State::active ? &task : nullptr;
    }

    /// A task that task management ended had this tag: what still comes for it is not a mistake of ours.
    bool was_aborted(std::uint32_t itt) const {
        std::uint32_t slot = itt & tag_slot_mask;
        return slot < count_ && tasks_[slot].aborted_itt == itt;
    }

    /// Frees every slot in use, calling `visit(task)` first, in the order of their CmdSN.
    template <class Visit>
    void drain(Visit visit) {
        // The part of the stack that holds no free slots has room for exactly the used ones.
        std::span<std::uint16_t> order(free_.get() + free_count_, used());
        std::size_t found = 0;
        for (std::uint32_t i = 0; i < count_; ++i) {
            if (tasks_[i].state != Task::State::free) {
                order[found++] = static_cast<std::uint16_t>(i);
            }
        }
        std::sort(order.begin(), order.end(), [this](std::uint16_t a, std::uint16_t b) {
            return tasks_[a].cmd_sn.before(tasks_[b].cmd_sn);
        });
        for (std::uint16_t i : order) {
            visit(tasks_[i]);
            tasks_[i].state = Task::State::free;
            tasks_[i].command = nullptr;
        }
        free_count_ = count_;
    }

    std::uint32_t slot_of(const Task& task) const { return task.itt & tag_slot_mask; }
    Task& at(std::uint32_t slot) { return tasks_[slot]; }
    std::span<Task> all() { return {tasks_.get(), count_}; }

private:
    std::uint32_t count_;
    std::uint32_t free_count_;
    std::unique_ptr<Task[]> tasks_;
    std::unique_ptr<std::uint16_t[]> free_; ///< a stack: the slot used last is warm
};

/// A run of Data-Out PDUs still to be sent: the unsolicited one of a command, or the answer to one R2T.
struct DataOutSequence {
    std::uint32_t itt = base::reserved_tag;
    std::uint32_t ttt = base::reserved_tag;
    std::uint32_t offset = 0;
    std::uint32_t end = 0;
    std::uint32_t data_sn = 0;
};

/// Sequences in the order in which their R2Ts came. One whose task has ended stays until it is its turn.
class SequenceQueue {
public:
    explicit SequenceQueue(std::size_t capacity)
        : mask_(std::bit_ceil(capacity) - 1), ring_(std::make_unique<DataOutSequence[]>(mask_ + 1)) {}

    bool empty() const { return first_ == last_; }
    bool full() const { return last_ - first_ > mask_; }
    DataOutSequence& front() { return ring_[first_ & mask_]; }
    void push(const DataOutSequence& sequence) { ring_[last_++ & mask_] = sequence; }
    void pop() { ++first_; }
    /// In the order in which they are.
    void keep_if(auto&& wanted) {
        const std::size_t end = std::exchange(last_, first_);
        for (std::size_t at = first_; at != end; ++at) {
            if (wanted(ring_[at & mask_])) {
                ring_[last_++ & mask_] = ring_[at & mask_];
            }
        }
    }
    void clear() { first_ = last_; }

private:
    std::size_t mask_;
    std::size_t first_ = 0;
    std::size_t last_ = 0;
    std::unique_ptr<DataOutSequence[]> ring_;
};

} // namespace iscsi::session

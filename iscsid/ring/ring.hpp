// An io_uring with the features this kernel has. Submissions are queued and leave together with enter();
// completions are first copied out and then run, so that no handler runs while the queue is walked. One
// thread: the creator's.
#pragma once

#include "base/result.hpp"
#include "base/time.hpp"
#include "ring/op.hpp"

#include <cstddef>
#include <liburing.h>
#include <optional>
#include <vector>

namespace iscsi::ring {

class Ring {
public:
    enum class SqeSize : std::uint8_t {
        plain,
        wide, ///< 128 bytes: for commands of drivers that need more room than 16 bytes (ublk's control)
    };

    /// Makes a ring with `entries` submission slots. Asks for SINGLE_ISSUER and DEFER_TASKRUN (Linux 6.1) and
    /// takes what older kernels give. Errors: Errc::internal with the errno's text.
    static base::Result<Ring> create(unsigned entries, SqeSize sqe_size = SqeSize::plain);

    Ring(Ring&& other) noexcept;
    Ring& operator=(Ring&&) = delete;
    ~Ring();

    /// A cleared submission slot that completes `op`. Submits what is queued when the queue is full.
    io_uring_sqe* sqe(Op& op);
    /// Asks the kernel to end `op` early; its handler still runs, mostly with -ECANCELED.
    void cancel(Op& op);

    /// A receive may say that nothing has arrived yet (IORING_RECVSEND_POLL_FIRST, Linux 5.19).
    bool can_poll_first() const { return can_poll_first_; }
    /// One poll tells of all that arrives until it is cancelled (IORING_POLL_ADD_MULTI; sure to do so
    /// from Linux 5.17 on).
    bool can_keep_polling() const { return can_keep_polling_; }

    /// Makes the table of registered buffers, with all its places empty, if it is not there yet. False: the
    /// kernel has no such thing (Linux 5.19).
    bool prepare_buffers();
    /// A place in that table for a buffer that the caller will have registered; none: all are taken.
    std::optional<std::uint32_t> claim_buffer();
    /// What is submitted from here on finds the place empty, or another buffer in it.
    void release_buffer(std::uint32_t index);

    /// Submits what is queued and waits for a completion or until `deadline` (empty = for ever); now and then
    /// it ends without either.
    void enter(base::Deadline deadline);
    /// Submits what is queued and waits for nothing.
    void enter_without_wait();
    /// Runs the handlers of what has completed; returns how many.
    unsigned run_completions();

private:
    Ring() = default;
    io_uring_sqe* raw_sqe();
    void wake_by(base::TimePoint deadline);
    /// A timeout of ours has ended, or a change to it: its completion.
    void on_wake(std::uint64_t tag, int result);
    void drain_task_work();

    static constexpr unsigned batch_size = 256;
    io_uring ring_{};
    bool live_ = false;
    std::size_t sqe_bytes_ = sizeof(io_uring_sqe);
    /// When the timeout that lies at the kernel ends. It stays there from turn to turn: a wait with a timeout
    /// of its own sets and cancels a timer of the kernel each time, which is some 3 % of an I/O that is
    /// alone.
    base::Deadline wake_at_;
    std::uint64_t wake_number_ = 0; ///< of that timeout: each has its own
    __kernel_timespec wake_time_{};
    bool can_skip_success_ = false;
    /// A timeout's time can be changed (Linux 5.11); else it is taken back and another one given.
    bool can_update_timeout_ = false;
    bool can_poll_first_ = false;
    bool can_keep_polling_ = false;
    static constexpr std::uint32_t buffers_max = 256;
    std::vector<std::uint32_t> buffers_; ///< the first free_buffers_ are places that nobody has
    std::uint32_t free_buffers_ = 0;
    bool deferred_ = false; ///< completions are made only in enter (DEFER_TASKRUN)
};

} // namespace iscsi::ring

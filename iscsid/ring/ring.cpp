#include "ring/ring.hpp"

#include "base/check.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace iscsi::ring {
namespace {

/// From the best set of flags to the plainest; the first that the kernel takes is used.
constexpr std::array<unsigned, 3> flag_choices{
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE,
    IORING_SETUP_CQSIZE,
};

/// The user_data of a timeout, and of a change to it: its number and one of these. An Op lies at no odd
/// address, and what nobody waits for has 0.
constexpr std::uint64_t wake_mark = 1;
constexpr std::uint64_t update_mark = 3;
constexpr std::uint64_t marks = 4;

constexpr unsigned wide_ring_workers_max = 1024;

} // namespace

base::Result<Ring> Ring::create(unsigned entries, SqeSize sqe_size) {
    const bool wide = sqe_size == SqeSize::wide;
    Ring ring;
    ring.sqe_bytes_ = wide ? 2 * sizeof(io_uring_sqe) : sizeof(io_uring_sqe);
    int rc = -EINVAL;
    for (unsigned flags : flag_choices) {
        io_uring_params params{};
        params.flags = flags | (wide ? IORING_SETUP_SQE128 : 0U);
        params.cq_entries = entries * 4;
        rc = io_uring_queue_init_params(entries, &ring.ring_, &params);
        if (rc == 0) {
            ring.live_ = true;
            ring.can_skip_success_ = (params.features & IORING_FEAT_CQE_SKIP) != 0;
            // Both came with Linux 5.11, where no feature tells of the first.
            ring.can_update_timeout_ = (params.features & IORING_FEAT_EXT_ARG) != 0;
            // The poll is there from Linux 5.13 on; but before 5.17, with which this feature came, what comes
            // between its wake-up and its return to the queue may be lost, and the end of a connection comes
            // once.
            ring.can_keep_polling_ = (params.features & IORING_FEAT_CQE_SKIP) != 0;
            // Both came with Linux 5.19, where no feature tells of the second.
            ring.can_poll_first_ = flags != flag_choices.back();
            ring.deferred_ = (flags & IORING_SETUP_DEFER_TASKRUN) != 0;
            if (wide) {
                // ublk's commands may each wait for a device; four workers a CPU are soon all waiting.
                std::array<unsigned, 2> workers{wide_ring_workers_max, 0};
                io_uring_register_iowq_max_workers(&ring.ring_, workers.data());
            }
            return ring;
        }
    }
    return base::fail(base::Errc::internal, std::string("io_uring: ") + std::strerror(-rc));
}

Ring::Ring(Ring&& other) noexcept
    : ring_(other.ring_), live_(std::exchange(other.live_, false)), sqe_bytes_(other.sqe_bytes_),
      can_skip_success_(other.can_skip_success_), can_update_timeout_(other.can_update_timeout_),
      can_poll_first_(other.can_poll_first_), can_keep_polling_(other.can_keep_polling_),
      buffers_(std::move(other.buffers_)), free_buffers_(other.free_buffers_), deferred_(other.deferred_) {}

Ring::~Ring() {
    if (live_) {
        io_uring_queue_exit(&ring_);
    }
}

io_uring_sqe* Ring::raw_sqe() {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    if (sqe == nullptr) {
        io_uring_submit(&ring_);
        sqe = io_uring_get_sqe(&ring_);
        base::check(sqe != nullptr, "a submission slot is free after a submit");
    }
    return sqe;
}

io_uring_sqe* Ring::sqe(Op& op) {
    base::check(!op.pending_, "an Op is submitted once at a time");
    io_uring_sqe* sqe = raw_sqe();
    // liburing 2.3's prep functions leave user_data alone, so it can be set before them.
    std::memset(static_cast<void*>(sqe), 0, sqe_bytes_);
    io_uring_sqe_set_data(sqe, &op);
    op.pending_ = true;
    return sqe;
}

void Ring::cancel(Op& op) {
    if (!op.pending_) {
        return;
    }
    io_uring_sqe* sqe = raw_sqe();
    io_uring_prep_cancel(sqe, &op, 0);
    io_uring_sqe_set_data(sqe, nullptr);
}

void Ring::enter(base::Deadline deadline) {
    if (deadline) {
        wake_by(*deadline);
    }
    io_uring_submit_and_wait(&ring_, 1);
    drain_task_work();
}

void Ring::enter_without_wait() {
    if (deferred_) {
        io_uring_submit_and_get_events(&ring_);
    } else {
        io_uring_submit(&ring_);
    }
    drain_task_work();
}

void Ring::wake_by(base::TimePoint deadline) {
    if (wake_at_ && *wake_at_ <= deadline) {
        return; // Once too early costs less than each time in time.
    }
    const base::Duration since_boot = deadline.time_since_epoch();
    wake_time_.tv_sec = since_boot.count() / 1'000'000'000;
    wake_time_.tv_nsec = since_boot.count() % 1'000'000'000;
    if (wake_at_ && can_update_timeout_) {
        io_uring_sqe* sqe = raw_sqe();
        io_uring_prep_timeout_update(sqe, &wake_time_, wake_number_ * marks + wake_mark, IORING_TIMEOUT_ABS);
        sqe->flags |= can_skip_success_ ? IOSQE_CQE_SKIP_SUCCESS : 0U;
        io_uring_sqe_set_data64(sqe, wake_number_ * marks + update_mark);
    } else {
        if (wake_at_) {
            io_uring_sqe* sqe = raw_sqe();
            io_uring_prep_timeout_remove(sqe, wake_number_ * marks + wake_mark, 0);
            io_uring_sqe_set_data(sqe, nullptr);
        }
        ++wake_number_;
        io_uring_sqe* sqe = raw_sqe();
        io_uring_prep_timeout(sqe, &wake_time_, 0, IORING_TIMEOUT_ABS);
        io_uring_sqe_set_data64(sqe, wake_number_ * marks + wake_mark);
    }
    wake_at_ = deadline;
}

void Ring::on_wake(std::uint64_t tag, int result) {
    if (tag / marks != wake_number_) {
        return; // Of a timeout before the one that lies at the kernel now.
    }
    // A change that failed (it came when the timeout had just ended, say) leaves the later time, or none: the
    // next enter() gives the kernel a new timeout.
    if (tag % marks == wake_mark || result < 0) {
        wake_at_.reset();
    }
}

void Ring::drain_task_work() {
    // One enter handles at most 20 pieces of deferred work (Linux 6.1 and later); the flag says that there is
    // more.
    constexpr int rounds_max = 64;
    for (int round = 0; round < rounds_max; ++round) {
        if ((io_uring_smp_load_acquire(ring_.sq.kflags) & IORING_SQ_TASKRUN) == 0) {
            return;
        }
        io_uring_get_events(&ring_);
    }
}

unsigned Ring::run_completions() {
    struct Ready {
        Op* op;
        Completion completion;
    };
    std::array<Ready, batch_size> ready;
    unsigned count = 0;
    unsigned head = 0;
    io_uring_cqe* cqe = nullptr;
    unsigned seen = 0;
    io_uring_for_each_cqe(&ring_, head, cqe) {
        if (count == batch_size) {
            break;
        }
        ++seen;
        const std::uint64_t tag = io_uring_cqe_get_data64(cqe);
        if ((tag & 1U) != 0) {
            on_wake(tag, cqe->res);
            continue;
        }
        auto* op = static_cast<Op*>(io_uring_cqe_get_data(cqe));
        if (op == nullptr) {
            continue;
        }
        ready[count++] = {op, {cqe->res, cqe->flags}};
    }
    io_uring_cq_advance(&ring_, seen);
    for (unsigned i = 0; i < count; ++i) {
        // Only now: until its handler has run, an Op that has completed must not be mistaken for an idle one.
        ready[i].op->pending_ = (ready[i].completion.flags & IORING_CQE_F_MORE) != 0;
        ready[i].op->handler_(ready[i].op->owner_, ready[i].completion);
    }
    return seen;
}

} // namespace iscsi::ring

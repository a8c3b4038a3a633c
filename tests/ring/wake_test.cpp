// The timeout that lies at the kernel from turn to turn, where the kernel does not change it as asked:
// because it is too old, or because the timeout has just ended.
#include "base/check.hpp"
#include "ring/loop.hpp"
#include "ring/other_kernels.hpp"
#include "ring/ring.hpp"

#include <catch2/catch.hpp>
#include <cerrno>
#include <chrono>
#include <liburing.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

using namespace iscsi;
using namespace iscsi::ring_tests;
using namespace std::chrono_literals;

namespace {

/// Every operation but the one is allowed, from now on.
void refuse(io_uring& ring, unsigned operation) {
    std::vector<io_uring_restriction> allowed;
    for (unsigned op = 0; op < IORING_OP_LAST; ++op) {
        io_uring_restriction entry{};
        entry.opcode = IORING_RESTRICTION_SQE_OP;
        entry.sqe_op = static_cast<std::uint8_t>(op);
        if (op != operation) {
            allowed.push_back(entry);
        }
    }
    io_uring_restriction flags{};
    flags.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
    flags.sqe_flags = 0xff;
    allowed.push_back(flags);
    // liburing 2.3's library has no names for these.
    const auto call = [&ring](unsigned what, void* argument, std::size_t count) {
        return ::syscall(SYS_io_uring_register, ring.ring_fd, what, argument, count);
    };
    base::check(call(IORING_REGISTER_RESTRICTIONS, allowed.data(), allowed.size()) == 0,
                "the ring takes restrictions");
    base::check(call(IORING_REGISTER_ENABLE_RINGS, nullptr, 0) == 0, "the ring is enabled");
}

struct Nop {
    void on_done(ring::Completion) { ++done; }
    ring::Op op = ring::Op::to<&Nop::on_done>(this);
    int done = 0;
};

/// Enters the kernel with `deadline`, and comes back because of something else.
void leave_timeout(ring::Ring& ring, base::TimePoint deadline) {
    Nop nop;
    io_uring_prep_nop(ring.sqe(nop.op));
    while (nop.done == 0) {
        ring.enter(deadline);
        ring.run_completions();
    }
}

/// How often it takes to enter until `due`; a lost wake stays in here.
int enters_until(ring::Ring& ring, base::TimePoint due) {
    int enters = 0;
    for (; ring::monotonic_now() < due; ++enters) {
        ring.enter(due);
        ring.run_completions();
    }
    return enters;
}

ring::Ring make_ring() {
    auto ring = ring::Ring::create(8);
    REQUIRE(ring);
    return std::move(*ring);
}

} // namespace

extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier): the linker's names.
int __real_io_uring_queue_init_params(unsigned entries, io_uring* ring, io_uring_params* params);
int __wrap_io_uring_queue_init_params(unsigned entries, io_uring* ring, io_uring_params* params);

int __wrap_io_uring_queue_init_params(unsigned entries, io_uring* ring, io_uring_params* params) {
    params->flags |= rings_of == Kernel::refuses_change ? IORING_SETUP_R_DISABLED : 0U;
    const int rc = __real_io_uring_queue_init_params(entries, ring, params);
    newest_ring = rc == 0 ? ring->ring_fd : -1;
    if (rc == 0 && rings_of == Kernel::refuses_change) {
        refuse(*ring, IORING_OP_TIMEOUT_REMOVE);
    }
    if (rings_of == Kernel::before_5_11) {
        params->features &= ~IORING_FEAT_EXT_ARG;
    }
    if (rings_of <= Kernel::before_5_17 && rings_of != Kernel::this_one) {
        params->features &= ~IORING_FEAT_CQE_SKIP;
    }
    return rc;
}
// NOLINTEND(bugprone-reserved-identifier)
}

TEST_CASE("a nearer deadline wakes also where the kernel does not change a timeout") {
    const Kernel kernel = GENERATE(Kernel::before_5_11, Kernel::refuses_change);
    CAPTURE(static_cast<int>(kernel));
    RingsOf rings(kernel);
    ring::Ring ring = make_ring();
    const base::TimePoint begun = ring::monotonic_now();
    for (int i = 0; i < 20; ++i) {
        leave_timeout(ring, begun + 3600s - i * 1s);
    }
    for (int i = 0; i < 5; ++i) {
        CHECK(enters_until(ring, ring::monotonic_now() + 3ms) > 0);
    }
    CHECK(ring::monotonic_now() < begun + 3000s);
}

TEST_CASE("a timeout that is taken back does not end the wait for the one that replaces it again and again") {
    RingsOf rings(Kernel::before_5_11);
    ring::Ring ring = make_ring();
    leave_timeout(ring, ring::monotonic_now() + 3600s);
    // The two completions of the removal, and the timeout's.
    CHECK(enters_until(ring, ring::monotonic_now() + 20ms) <= 3);
}

TEST_CASE("a timeout that has just ended when it is to end earlier leaves the next one to wake") {
    const Kernel kernel = GENERATE(Kernel::this_one, Kernel::before_5_11, Kernel::refuses_change);
    CAPTURE(static_cast<int>(kernel));
    RingsOf rings(kernel);
    ring::Ring ring = make_ring();
    for (int i = 0; i < 5; ++i) {
        const base::TimePoint first = ring::monotonic_now() + 3ms;
        leave_timeout(ring, first);
        while (ring::monotonic_now() < first + 1ms) {
            // It ends meanwhile, and nobody enters to hear of it.
        }
        leave_timeout(ring, first - 1ms);
        CHECK(enters_until(ring, ring::monotonic_now() + 3ms) > 0);
    }
    // None of those before is left to wake for nothing.
    if (kernel != Kernel::refuses_change) {
        CHECK(enters_until(ring, ring::monotonic_now() + 20ms) <= 3);
    }
}

// Rings as other kernels than this machine's make them, for tests. The linker puts
// __wrap_io_uring_queue_init_params (wake_test.cpp) before liburing's. One thread.
#pragma once

#include <cstdint>

namespace iscsi::ring_tests {

enum class Kernel : std::uint8_t {
    this_one,
    before_5_11,   ///< it says that it is: IORING_FEAT_EXT_ARG is not there
    before_5_17,   ///< likewise: IORING_FEAT_CQE_SKIP is not there
    refuses_change ///< a change of a timeout fails, and so does its removal
};

inline Kernel rings_of = Kernel::this_one;
inline int newest_ring = -1; ///< descriptor of the ring that was made last

/// Rings that are made while it lives are made by `kernel`.
struct RingsOf {
    explicit RingsOf(Kernel kernel) { rings_of = kernel; }
    RingsOf(const RingsOf&) = delete;
    RingsOf& operator=(const RingsOf&) = delete;
    ~RingsOf() { rings_of = Kernel::this_one; }
};

} // namespace iscsi::ring_tests

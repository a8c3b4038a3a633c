#include "base/check.hpp"

#include <cstdio>
#include <cstdlib>
#include <exception>

namespace iscsi::base {

void check_failed(const char* what, Place where) {
    std::fprintf(stderr, "iscsi: broken invariant: %s (%s:%d, %s)\n", what, where.file, where.line,
                 where.function);
    std::abort();
}

void check_failed_exception() noexcept {
    // With an exception in flight, terminate prints its type and what(), then aborts.
    std::terminate();
}

} // namespace iscsi::base

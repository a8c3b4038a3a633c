#include "base/check.hpp"

#include <cstdio>
#include <cstdlib>

namespace iscsi::base {

void check_failed(const char* what, std::source_location where) {
    std::fprintf(stderr, "iscsi: broken invariant: %s (%s:%u, %s)\n", what, where.file_name(), where.line(),
                 where.function_name());
    std::abort();
}

} // namespace iscsi::base

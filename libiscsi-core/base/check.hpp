// Invariants of our own code, always on. A broken one aborts: the daemon's restart brings the devices back,
// going on could lose data. Never for what a peer or an operator can cause.
#pragma once

#include <source_location>

namespace iscsi::base {

[[noreturn]] void check_failed(const char* what, std::source_location where);

/// Aborts with the place when `condition` is false. `what` says the rule that was broken.
inline void check(bool condition, const char* what,
                  std::source_location where = std::source_location::current()) {
    if (!condition) [[unlikely]] {
        check_failed(what, where);
    }
}

} // namespace iscsi::base

// Invariants of our own code, always on. A broken one aborts: the daemon's restart brings the devices back,
// going on could lose data. Never for what a peer or an operator can cause.
#pragma once

namespace iscsi::base {

/// A place in the source; std::source_location is beyond clang 14.
struct Place {
    const char* file;
    const char* function;
    int line;
    static constexpr Place here(const char* file = __builtin_FILE(),
                                const char* function = __builtin_FUNCTION(), int line = __builtin_LINE()) {
        return {file, function, line};
    }
};

[[noreturn]] void check_failed(const char* what, Place where);

/// An exception reached a place that none may reach: prints what it says and aborts.
[[noreturn]] void check_failed_exception() noexcept;

/// Aborts with the place when `condition` is false. `what` says the rule that was broken.
inline void check(bool condition, const char* what, Place where = Place::here()) {
    if (!condition) [[unlikely]] {
        check_failed(what, where);
    }
}

} // namespace iscsi::base

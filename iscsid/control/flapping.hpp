// Sessions that are lost again and again right after their login: another initiator with the same name and
// ISID, perhaps, for each login of one ends the session of the other (RFC 7143 section 6.3.5); or a link or a
// target that does not hold. They wait longer each time, so that two such hosts do not keep each other and
// the target busy. Plain values; any thread.
#pragma once

#include "base/time.hpp"

#include <algorithm>
#include <chrono>

namespace iscsi::control {

class Flapping {
public:
    /// The session is back.
    void on_back(base::TimePoint now) { back_since_ = now; }

    /// It was lost. How long the next login has to wait at least; zero unless it keeps happening. One that
    /// fell silent was ended by nobody, and each such loss takes its time by itself.
    base::Duration on_drop(base::TimePoint now, bool fell_silent) {
        bool soon = !fell_silent && back_since_ && now - *back_since_ < short_life;
        back_since_.reset();
        lives_ = soon ? std::min(lives_ + 1, lives_max) : 0;
        return is_suspicious()
                   ? std::min<base::Duration>(pause_first * (1U << (lives_ - suspicious_lives)), pause_most)
                   : base::Duration{};
    }
    bool is_suspicious() const { return lives_ >= suspicious_lives; }

    /// The other host is back after its Time2Wait (2 s unless negotiated otherwise) and a login.
    static constexpr std::chrono::seconds short_life{5};
    static constexpr unsigned suspicious_lives = 3;
    static constexpr std::chrono::seconds pause_first{2};
    static constexpr std::chrono::seconds pause_most{30};

private:
    static constexpr unsigned lives_max = 16;

    base::Deadline back_since_; ///< empty: not known, or not back
    unsigned lives_ = 0;        ///< short ones in a row
};

} // namespace iscsi::control

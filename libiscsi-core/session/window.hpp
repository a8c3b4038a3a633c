// The command window of a session: which CmdSN comes next and how far the target lets us go
// (RFC 7143 section 4.2.2.1). Session-wide: it outlives any one connection. One thread (that of the session).
#pragma once

#include "base/serial.hpp"

#include <cstdint>

namespace iscsi::session {

class CommandWindow {
public:
    CommandWindow(base::CmdSn next, base::CmdSn expected, base::CmdSn max)
        : next_(next), expected_(expected), max_(max) {}

    /// CmdSN of the next command that is not immediate; immediate ones carry it without taking it.
    base::CmdSn next() const { return next_; }
    /// ExpCmdSN: the target has everything before it.
    base::CmdSn expected() const { return expected_; }
    /// MaxCmdSN: the last number the target takes.
    base::CmdSn max() const { return max_; }
    bool is_open() const { return !next_.after(max_); }

    /// Takes the next number; the window must be open.
    base::CmdSn take() {
        base::CmdSn taken = next_;
        ++next_;
        return taken;
    }

    /// What a PDU of the target says. Numbers that would go backwards, or that contradict each other, are
    /// left alone (RFC 7143 section 4.2.2.1).
    void update(base::CmdSn expected, base::CmdSn max) {
        if (max.before(expected - 1)) {
            return;
        }
        if (expected.after(expected_)) {
            expected_ = expected;
        }
        if (max.after(max_)) {
            max_ = max;
        }
    }

private:
    base::CmdSn next_;
    base::CmdSn expected_;
    base::CmdSn max_;
};

} // namespace iscsi::session

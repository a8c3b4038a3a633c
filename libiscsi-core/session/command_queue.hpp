// Commands that wait for their turn to be sent. Units take turns, a command each, whichever has how many
// waiting: where the command window is full all the time, each unit has the same part of it. (Linux divides a
// host's tags among the units that are in use: block/blk-mq.h, hctx_may_queue.) Within a unit it is first
// come, first served. The queue owns nothing and allocates nothing. One thread.
#pragma once

#include "base/fifo.hpp"
#include "session/command.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace iscsi::session {

/// Commands in order.
using CommandList = base::Fifo<&Command::next>;

class CommandQueue {
public:
    bool empty() const { return ahead_.empty() && turns_.empty(); }

    /// The one that pop() gives next; nullptr when there is none.
    const Command* front() const {
        return !ahead_.empty() || turns_.empty() ? ahead_.front() : turns_.front()->commands.front();
    }

    /// How many wait. It walks along them: for people, and for no I/O.
    std::size_t count() const {
        std::size_t counted = ahead_.count();
        for (const Unit& unit : units_) {
            counted += unit.commands.count();
        }
        return counted;
    }

    void push(Command& command) {
        Unit& unit = units_[unit_of(command.lun)];
        if (unit.commands.empty()) {
            turns_.push(unit);
        }
        unit.commands.push(command);
    }

    /// Whose turn it is, which is that of the next unit then; nullptr when there is none.
    Command* pop() {
        if (!ahead_.empty() || turns_.empty()) {
            return ahead_.pop();
        }
        Unit& unit = *turns_.pop();
        Command* popped = unit.commands.pop();
        if (!unit.commands.empty()) {
            turns_.push(unit);
        }
        return popped;
    }

    /// Those of `others`, which it leaves empty, go before all that are here, in their order.
    void prepend(CommandList& others) { ahead_.prepend(others); }

private:
    /// Units whose numbers have the same here share their turns: 64 that follow each other do not.
    static constexpr std::size_t units_max = 64;

    struct Unit {
        CommandList commands;
        Unit* next = nullptr;
    };

    static std::size_t unit_of(base::Lun lun) {
        // The number is in the first two bytes (SAM-5 section 4.7).
        const std::uint64_t number = lun.value() >> 48U;
        return (number ^ (number >> 6U)) % units_max;
    }

    CommandList ahead_;
    base::Fifo<&Unit::next> turns_; ///< units with commands
    std::array<Unit, units_max> units_;
};

} // namespace iscsi::session

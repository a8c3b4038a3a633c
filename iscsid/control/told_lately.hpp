// How often the log hears of one thing. A target can repeat itself at the speed of the wire, and would fill
// the journal. Each object belongs to what it is about and is told the time. Control's thread.
#pragma once

#include "base/time.hpp"
#include "ipc/events.hpp"
#include "scsi/disposition.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <tuple>

namespace iscsi::control {

/// What is worth a line: each kind of news of a unit once a minute.
class ToldLately {
public:
    scsi::Effects news(scsi::Effects effects, base::TimePoint now);

private:
    scsi::Effects told_;
    base::TimePoint since_;
};

/// One line a minute.
class LineLimit {
public:
    /// Empty when there was a line in the last minute; else how many there were not since the last one.
    std::optional<unsigned> admit(base::TimePoint now);

private:
    base::Deadline last_;
    unsigned left_out_ = 0;
};

/// What all lines of events pass on their way to the log, whoever limits them before: of each event, session
/// and unit, or node that has no session, some a minute. Its memory is bounded.
class EventLimiter {
public:
    static constexpr unsigned lines_a_minute = 60;
    static constexpr std::size_t keys_max = 4096;

    struct Key {
        ipc::Event event;
        std::uint32_t sid; ///< 0: of none
        std::uint64_t lun;
        std::size_t node = 0; ///< of what has no session: a hash of target, portal and interface
        friend bool operator<(const Key& a, const Key& b) {
            return std::tie(a.event, a.sid, a.lun, a.node) < std::tie(b.event, b.sid, b.lun, b.node);
        }
    };

    /// Empty when there were enough in this minute; else how many were left out since the last line.
    std::optional<unsigned> admit(const Key& key, base::TimePoint now);
    std::size_t size() const { return counts_.size(); }

private:
    struct Count {
        base::TimePoint since; ///< its minute began
        unsigned lines = 0;
        unsigned left_out = 0;
    };
    Count& count_of(const Key& key, base::TimePoint now);

    std::map<Key, Count> counts_;
};

} // namespace iscsi::control

// How often the log hears of one thing. A target can repeat itself at the speed of the wire, and would fill
// the journal. Each object belongs to what it is about and is told the time; no allocation. Control's thread.
#pragma once

#include "base/time.hpp"
#include "scsi/disposition.hpp"

#include <optional>

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

} // namespace iscsi::control

// What of a session's units has to be looked at again, and when. Targets tell of one change many times (every
// unit says that the list of units has changed), and a broken or hostile one does not stop: news are
// collected and looked after in rounds, farther and farther apart while they keep coming. A unit is looked at
// by one at a time; how many looks nobody waits for go on side by side is limited, and a look that somebody
// waits for begins whatever else goes on. Knows no clock and does nothing itself. Control's thread.
#pragma once

#include "base/time.hpp"
#include "base/units.hpp"
#include "scsi/disposition.hpp"

#include <deque>
#include <map>
#include <set>
#include <vector>

namespace iscsi::control {

class ScanAgenda {
public:
    struct Unit {
        base::Lun lun;
        bool in_doubt = false; ///< its users wait to know whether it is still the same
    };
    struct Work {
        bool luns = false; ///< REPORT LUNS again
        std::vector<Unit> units;
    };

    /// News of one unit, which is one of the session's. Effects that need no look are left alone.
    void note(base::Lun lun, scsi::Effects effects, base::TimePoint now);
    /// The list of units has changed.
    void note_luns(base::TimePoint now);

    /// When take() has something to give; empty: nothing before more news, or the end of a look.
    base::Deadline due() const;
    /// What is due, which is then off the agenda. Each unit is under way until done() is told.
    Work take(base::TimePoint now);
    /// The look at a unit has ended. News that came meanwhile may be later than what it has seen: again.
    void done(base::Lun lun, base::TimePoint now);

private:
    /// Rounds of one kind.
    struct Pace {
        base::Duration settle; ///< from the first news to the round
        base::Duration first;  ///< between two rounds; doubles up to
        base::Duration most;   ///< this, and is the first again after as long without news
        base::Duration pause{};
        base::Deadline noted_at{};
        base::TimePoint free_at{};

        base::Deadline due() const;
        void note(base::TimePoint now);
        void begin_round(base::TimePoint now);
    };

    struct Look {
        bool in_doubt = false;
        scsi::Effects meanwhile; ///< news since it began
    };

    void begin_look(Work& work, std::uint64_t lun, bool in_doubt);

    /// Users of the unit wait, so at once. Each command in the end fails of too many attentions.
    Pace doubts_{base::Duration::zero(), std::chrono::milliseconds(10), std::chrono::seconds(1)};
    Pace others_{std::chrono::milliseconds(100), std::chrono::seconds(1), std::chrono::seconds(15)};
    // By LUN. A unit is in one of them.
    std::set<std::uint64_t> in_doubt_;  ///< for the next round of doubts
    std::set<std::uint64_t> noted_;     ///< for the next round of the others
    std::deque<std::uint64_t> in_line_; ///< their round has come, and there are enough looks
    std::map<std::uint64_t, Look> looks_;
    std::size_t unhurried_ = 0; ///< looks that nobody waits for
    bool luns_ = false;
};

} // namespace iscsi::control

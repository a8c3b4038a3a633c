// What the answers to a discovery lack. One answer is no proof: a server that has just started may not know
// its targets yet, and one that lost its database answers well, with nothing. So a portal is gone when an
// answer lacks it and another one, a grace later, still does, with none in between that had it; and an answer
// with nothing in it, where portals were known, counts for nothing until another one a grace later is empty,
// too. Answers that do not come are neither. Control's thread, but for is_gone(), which any thread may ask
// while nothing else happens.
#pragma once

#include "base/time.hpp"
#include "records/record.hpp"

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace iscsi::control {

/// A portal of a target through an interface, whatever the spelling of its address; not to be shown.
std::string portal_key(const records::NodeId& id);

class Absences {
public:
    /// What is different since the answer before.
    struct News {
        std::vector<records::NodeId> missed; ///< lacking for the first time
        std::vector<records::NodeId> back;   ///< lacked, and there again
        std::size_t emptied = 0;             ///< portals that were known when the answer was empty at first
    };

    /// An answer came, at `now`.
    void begin(bool is_empty, base::TimePoint now, base::Duration grace);
    /// Of a portal that this answer lacks.
    bool is_gone(const records::NodeId& id) const;
    /// All known portals that this answer lacks, and the keys of what it has. More than once for an answer:
    /// the news are told once.
    News note(const std::vector<records::NodeId>& lacking, const std::set<std::string>& present);
    /// When the next answer may settle something.
    base::Deadline due() const;

private:
    struct Absence {
        records::NodeId id;
        base::TimePoint since;
        bool is_settled = false; ///< by an answer that lacked it a grace later
    };
    bool is_over(base::TimePoint since) const { return now_ - since >= grace_; }

    std::map<std::string, Absence> absent_;
    std::optional<base::TimePoint> empty_since_;
    bool is_empty_ = false;
    base::TimePoint now_;
    base::Duration grace_{};
};

} // namespace iscsi::control

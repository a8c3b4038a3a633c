// What a connection that was lost may have left at its target: commands whose answers never came. See
// fence.cpp for what is done about it. Plain values; any thread, but has_leftovers: control's.
#pragma once

#include "base/time.hpp"
#include "scsi/lun_facts.hpp"
#include "wire/parameters.hpp"

#include <cstdint>

namespace iscsi::control {

class ManagedSession;
struct ServedLun;

struct Stranded {
    base::TimePoint over_at;        ///< none of them is executed from then on
    std::int32_t portal_group = -1; ///< of the connection; -1 when it is not known
    bool is_alone = false;          ///< the target takes no second session of the name beside the next one
    bool is_reinstated = false;     ///< the next login was seen to end a session of the name at once
};

/// Of a session with these parameters that was lost then, and that nobody ends: the target gives it up after
/// Time2Wait and Time2Retain (RFC 7143 section 6.3.5), the latter not below limits::time2retain_min.
Stranded stranded(base::TimePoint lost_at, const wire::SessionParameters& lost, std::int32_t portal_group);

/// Whether a session that was opened in this portal group with the same name is of the same I_T nexus, as far
/// as is known: no other can end it.
bool is_same_nexus(const Stranded& stranded, std::int32_t opened_in);

/// Whether the unit, whose facts are these now, was not yet seen to have done with what was fenced off, and
/// can be: by Daemon::drain.
bool has_leftovers(const ManagedSession& session, const ServedLun& served, const scsi::LunFacts& now);

} // namespace iscsi::control

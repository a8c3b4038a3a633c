// Units that a target lists and that are not shown as block devices (ManagedSession::absent): why, said once
// however often the target is scanned, and which of them may come by themselves. Control's thread.
#pragma once

#include "control/managed_session.hpp"

#include <string>
#include <vector>

namespace iscsi::control {

/// What it said of itself makes no block device, at least for now; `why` as why_not_shown() has it.
void skip_unit(ManagedSession& session, const scsi::LunFacts& facts, const std::string& why);
/// It did not say what has to be known.
void skip_silent_unit(ManagedSession& session, base::Lun lun, const base::Error& error);
/// Those that the target does not list any more.
void forget_unlisted(ManagedSession& session, const std::vector<base::Lun>& listed);

/// Puts those on the agenda that may have come meanwhile.
void note_absent(ManagedSession& session, base::TimePoint now);

} // namespace iscsi::control

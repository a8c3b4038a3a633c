// Sessions at a glance, for a person at a terminal: a line for each logical unit, or for a session without
// one. Programs get session_list() of print.hpp, whose bytes are open-iscsi's. Pure functions; any thread.
#pragma once

#include "ipc/snapshot.hpp"

#include <cstddef>
#include <span>
#include <string>

namespace iscsi::adm {

/// No line is longer than `width` columns, if that is at all possible: names of targets lose their beginning,
/// then columns are left out, what is least asked for first; the last line names those.
std::string session_table(std::span<const ipc::SessionSnapshot> sessions, std::size_t width);

/// "up", "queue 1 lost 1 min", "recovering 1 min", "logging out", or what a unit (may be null) says of
/// itself.
std::string state_words(const ipc::SessionSnapshot& session, const ipc::AttachedLun* unit);

/// "ublkb0", or "socket" for an export.
std::string device_words(const ipc::AttachedLun& unit);

} // namespace iscsi::adm

// The kernel is told of the sizes of a session's units, one device at a time and aside from whoever looks at
// the units: it may wait for I/O in progress, and that for the look. Control's thread.
#pragma once

#include "control/managed_session.hpp"

namespace iscsi::control {

/// Sets resize_later when the kernel shows another size than the unit has.
void compare_size(ServedLun& served);

/// Tells the kernel of sizes that have changed (resize_later), while the path is up and when every queue of
/// the device knows of them. Is there somebody at it already, it is left to him. What the kernel has refused
/// for good is not asked for again; what fails is said once, and tried again with the next call.
ring::Task<void> resize_devices(ManagedSession& session);

} // namespace iscsi::control

// Whether the kernel's nbd driver can be used from here. Control's thread; what blocks runs on a helper's.
#pragma once

#include "base/result.hpp"
#include "ring/loop.hpp"
#include "ring/task.hpp"

#include <string>

namespace iscsi::block {

/// Makes a device, reads from it, takes it away. Gives words for the log. Errors: those of
/// NbdBinding::connect() and see_pattern(), with the reason in words.
ring::Task<base::Result<std::string>> probe_nbd(ring::Loop& loop);

} // namespace iscsi::block

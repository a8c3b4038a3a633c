// A discovery: asks the daemon, brings the answer into the database, prints it and logs in where that is
// wanted. One thread.
#pragma once

#include "context.hpp"
#include "records/record.hpp"

namespace iscsi::adm {

/// Discovers with `discovery`, a stored record or a new one, through the interfaces of -I (or all that are
/// there), and gives the exit code. -o decides what happens to node records.
int discover(const Context& context, const records::Record& discovery);

} // namespace iscsi::adm

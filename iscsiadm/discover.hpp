// A discovery: asks the daemon, brings the answer into the database, prints it and logs in where that is
// wanted. One thread.
#pragma once

#include "context.hpp"
#include "records/record.hpp"

#include <functional>
#include <tl/expected.hpp>

namespace iscsi::adm {

/// Gives the discovery record, stored or made anew; what fails it says itself, and gives the exit code.
using DiscoverySource = std::function<tl::expected<records::Record, int>()>;

/// Discovers with the record of `source` through the interfaces of -I (or all that are there), and gives the
/// exit code. Without a usable interface the record is not even asked for. -o decides what happens to node
/// records.
int discover(const Context& context, const DiscoverySource& source);

} // namespace iscsi::adm

// Names to addresses. A numeric address is answered at once; a name is looked up on a thread of its own,
// because getaddrinfo may block for many seconds. Control's thread.
#pragma once

#include "base/result.hpp"
#include "control/interrupt.hpp"
#include "ring/await.hpp"
#include "shard/link.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace iscsi::control {

/// The endpoints of `host` in the resolver's order of preference, the families in turn (RFC 8305 section 4);
/// none twice, never empty on success, limits::host_addresses_max at most. Errors: Errc::transport with the
/// resolver's reason.
ring::Task<base::Result<std::vector<shard::Endpoint>>> resolve(ring::Loop& loop, std::string host,
                                                               std::uint16_t port);
/// The same; when `interrupt` is set it ends at once, with Errc::cancelled. Nobody waits for the resolver
/// then, which cannot be stopped.
ring::Task<base::Result<std::vector<shard::Endpoint>>> resolve(ring::Loop& loop, std::string host,
                                                               std::uint16_t port, Interrupt& interrupt);

} // namespace iscsi::control

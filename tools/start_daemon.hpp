// The iscsid that iscsistart asks: the one that runs, else one that it starts, which stays when this program
// ends. Blocks; one thread.
#pragma once

#include "base/result.hpp"
#include "client.hpp"
#include "iscsistart_options.hpp"
#include "records/paths.hpp"

namespace iscsi::tools {

/// The daemon that runs, else one that is started here. When several programs start one at the same time only
/// one of them succeeds, and what it has started may not serve yet. Errc::daemon_not_running has what the one
/// that was started has said.
base::Result<adm::Client> daemon_for(const StartOptions& options, const records::Paths& paths);

} // namespace iscsi::tools

// The self-test that shows whether ublk works on this kernel: what the driver says it can do, then a tiny
// device that is made, served, read, stopped and deleted. Control's thread.
#pragma once

#include "base/result.hpp"
#include "block/ublk_control.hpp"
#include "ring/task.hpp"

#include <cstdint>
#include <string>

namespace iscsi::block {

/// What a kernel that has `features` can do with us, in words for the log. Errors: not_supported, with what
/// is missing.
base::Result<std::string> judge_ublk_features(std::uint64_t features);

/// The test. The device is served on the control's own loop meanwhile. Words for the log, or why not.
ring::Task<base::Result<std::string>> probe_ublk(UblkControl& control);

} // namespace iscsi::block

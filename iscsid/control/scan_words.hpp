// What a scan tells a person: why a unit is not shown as a block device, and why a login brought none at all.
// Pure; any thread.
#pragma once

#include "scsi/lun_facts.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace iscsi::control {

/// "LUN 0 (storage array controller)": a unit that is no disk that can be served; empty for one that is.
std::string why_not_shown(const scsi::LunFacts& facts);

/// A login found `units`, none of which is shown; `others` has why_not_shown() of those that answered.
/// `initiator` is the name that logged in.
std::string why_nothing(const std::string& initiator, std::size_t units,
                        const std::vector<std::string>& others);

} // namespace iscsi::control

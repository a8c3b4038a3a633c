// New iSCSI initiator names: a prefix that says who answers for the name, and a random end. RFC 7143 section
// 4.2.7.3. Values only; one thread.
#pragma once

#include "base/result.hpp"

#include <string>
#include <string_view>

namespace iscsi::tools {

/// The prefix that names get when nobody says another; the build's ISCSI_IQN_PREFIX.
std::string_view default_prefix();

/// A new name "<prefix>:<12 hexadecimal digits>", with 48 bits of the kernel's randomness. Errors: invalid
/// (no iSCSI name can begin like that, or it would be too long), internal (no randomness to be had).
base::Result<std::string> new_initiator_name(std::string_view prefix);

} // namespace iscsi::tools

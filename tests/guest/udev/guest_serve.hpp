// A block device of the product over a copy of a file in memory, without an iSCSI session. For guest-udev.
#pragma once

#include "ring/loop.hpp"
#include "ring/task.hpp"

#include <string>
#include <vector>

namespace iscsi::test {

/// `words`: program, "serve" or "take-back", "ublk" or "nbd", cookie, file, by-path name, KEY=VALUE... Says
/// "serving NAME LINK..." and serves until a line comes in, then removes the device. Gives the exit status.
ring::Task<int> serve(ring::Loop& loop, const std::vector<std::string>& words);

/// KEY=VALUE of `words` from the index `first` on.
std::vector<std::pair<std::string, std::string>> pairs(const std::vector<std::string>& words,
                                                       std::size_t first);

} // namespace iscsi::test

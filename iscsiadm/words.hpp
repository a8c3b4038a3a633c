// Numbers as a person reads them at a glance. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <string>

namespace iscsi::adm {

/// "45 s", "12 min", "5 h 12 min", "3 d 4 h"
std::string duration_words(std::uint64_t seconds);

/// "512 B", "1.5 GiB", "20 TiB"
std::string size_words(std::uint64_t bytes);

} // namespace iscsi::adm

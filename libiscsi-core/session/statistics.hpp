// What one connection has counted. Plain values.
#pragma once

#include "base/statistics.hpp"

namespace iscsi::session {

using Statistics = base::SessionStatistics;

} // namespace iscsi::session

// The metrics of iscsi-exporter, made from the daemon's list of sessions: which families there are, under
// which names and labels. Names follow Prometheus' conventions (seconds, bytes, _total). Pure functions; any
// thread.
#pragma once

#include "ipc/snapshot.hpp"

#include <optional>
#include <prometheus/metric_family.h>
#include <string>
#include <vector>

namespace iscsi::tools {

/// The bounds of the latency histograms: powers of two of microseconds, from this one to the longest. Buckets
/// of base/histogram.hpp begin at each, so that nothing is interpolated.
inline constexpr unsigned shortest_bound_bits = 4; ///< 16 us
inline constexpr unsigned longest_bound_bits = 25; ///< 33.6 s

/// `sessions` with what was asked of their units (AttachedLun::io); nothing when the daemon gave no list:
/// then there are only iscsi_up, which is 0, and iscsi_build_info.
std::vector<prometheus::MetricFamily>
metric_families(const std::optional<std::vector<ipc::SessionSnapshot>>& sessions);

/// The same as text (version 0.0.4 of the exposition format).
std::string metrics_text(const std::optional<std::vector<ipc::SessionSnapshot>>& sessions);

} // namespace iscsi::tools

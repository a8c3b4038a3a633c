// When `iscsiadm top` looks. Pure; any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace iscsi::adm {

/// "2", "0.5": seconds from 0.1 to 86400, with three digits behind the point at most.
std::optional<std::chrono::milliseconds> parse_interval(std::string_view text);

/// From 1 on.
std::optional<std::uint64_t> parse_refreshes(std::string_view text);

/// The next of the moments begun + interval, begun + 2 * interval... that is later than `now`: what comes
/// late moves none of those behind it, and what was slept through is not made up for. `now` is not before
/// `begun`.
std::chrono::steady_clock::time_point next_refresh(std::chrono::steady_clock::time_point begun,
                                                   std::chrono::milliseconds interval,
                                                   std::chrono::steady_clock::time_point now);

} // namespace iscsi::adm

// What a discovery finds, whoever was asked: ways to reach targets. The peer's answer is hostile: names
// become paths and addresses are connected to, so bad entries are left out and reported. Owned by whoever
// collects; one thread.
#pragma once

#include "base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace iscsi::base {

/// A way to reach a target.
struct DiscoveredPortal {
    std::string target_name;
    std::string address; ///< IPv6 without brackets
    std::uint16_t port = 3260;
    std::int32_t tpgt = -1; ///< -1: not known
    bool operator==(const DiscoveredPortal&) const = default;
};

struct DiscoveredTargets {
    std::vector<DiscoveredPortal> portals; ///< in the peer's order, without repetitions
    std::vector<std::string> rejected;     ///< printable, one line each: what was left out and why; bounded
};

/// Collects the entries of one answer.
class DiscoveredCollector {
public:
    /// A repetition, also in another spelling of the address, is left out. Errc::protocol beyond
    /// limits::discovered_targets_max.
    Result<void> add(DiscoveredPortal portal);
    /// An entry that is left out; `why` is printable.
    void reject(std::string why);
    /// All of it, once.
    DiscoveredTargets take();

private:
    DiscoveredTargets result_;
    std::unordered_set<std::string> seen_;
    std::size_t rejected_count_ = 0;
};

} // namespace iscsi::base

#include "base/discovered.hpp"

#include "base/limits.hpp"
#include "base/names.hpp"

#include <fmt/format.h>
#include <utility>

namespace iscsi::base {
namespace {

constexpr std::size_t rejected_max = 100; ///< lines of the report; the rest is only counted

} // namespace

Result<void> DiscoveredCollector::add(DiscoveredPortal portal) {
    std::string key = fmt::format("{} {} {} {}", portal.target_name, comparable_host(portal.address),
                                  portal.port, portal.tpgt);
    if (!seen_.insert(std::move(key)).second) {
        return {};
    }
    if (result_.portals.size() == limits::discovered_targets_max) {
        return fail(Errc::protocol,
                    fmt::format("the answer lists more than {} portals", limits::discovered_targets_max));
    }
    result_.portals.push_back(std::move(portal));
    return {};
}

void DiscoveredCollector::reject(std::string why) {
    if (++rejected_count_ <= rejected_max) {
        result_.rejected.push_back(std::move(why));
    }
}

DiscoveredTargets DiscoveredCollector::take() {
    if (rejected_count_ > rejected_max) {
        result_.rejected.push_back(fmt::format("and {} more", rejected_count_ - rejected_max));
    }
    return std::move(result_);
}

} // namespace iscsi::base

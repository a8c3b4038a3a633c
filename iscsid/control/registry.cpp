#include "control/registry.hpp"

#include "base/names.hpp"

#include <algorithm>
#include <utility>

namespace iscsi::control {

ManagedSession& Registry::add(std::unique_ptr<ManagedSession> session) {
    ManagedSession& added = *session;
    sessions_.emplace(added.sid, std::move(session));
    by_target_.emplace(added.id.target, &added);
    return added;
}

void Registry::remove(std::uint32_t sid) {
    auto found = sessions_.find(sid);
    if (found == sessions_.end()) {
        return;
    }
    const ManagedSession* removed = found->second.get();
    auto [first, last] = by_target_.equal_range(removed->id.target);
    by_target_.erase(std::find_if(first, last, [&](const auto& entry) { return entry.second == removed; }));
    sessions_.erase(found);
}

ManagedSession* Registry::find(std::uint32_t sid) {
    auto found = sessions_.find(sid);
    return found == sessions_.end() ? nullptr : found->second.get();
}

const ManagedSession* Registry::find(std::uint32_t sid) const {
    auto found = sessions_.find(sid);
    return found == sessions_.end() ? nullptr : found->second.get();
}

std::size_t Registry::count(const records::NodeId& id) const {
    auto [first, last] = by_target_.equal_range(id.target);
    return static_cast<std::size_t>(std::count_if(first, last, [&](const auto& entry) {
        const records::NodeId& other = entry.second->id;
        // The portal group tag is what a portal says of itself, not what tells portals apart.
        return base::is_same_host(other.portal.address, id.portal.address) &&
               other.portal.port == id.portal.port && other.iface == id.iface;
    }));
}

std::size_t Registry::count(ManagedSession::State state) const {
    return static_cast<std::size_t>(
        std::ranges::count_if(sessions_, [&](const auto& entry) { return entry.second->state == state; }));
}

bool Registry::uses(const std::string& target, base::Isid isid) const {
    auto [first, last] = by_target_.equal_range(target);
    return std::any_of(first, last, [&](const auto& entry) {
        const ManagedSession& session = *entry.second;
        return session.isid == isid || std::ranges::any_of(session.companions, [&](const auto& companion) {
                   return companion->isid == isid;
               });
    });
}

std::vector<std::uint32_t> Registry::sids() const {
    std::vector<std::uint32_t> sids;
    for (const auto& [sid, session] : sessions_) {
        sids.push_back(sid);
    }
    return sids;
}

} // namespace iscsi::control

#include "control/registry.hpp"

#include "base/names.hpp"

#include <algorithm>
#include <utility>

namespace iscsi::control {

ManagedSession& Registry::add(std::unique_ptr<ManagedSession> session) {
    ManagedSession& added = *session;
    sessions_.emplace(added.sid, std::move(session));
    return added;
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
    return static_cast<std::size_t>(std::ranges::count_if(sessions_, [&](const auto& entry) {
        const records::NodeId& other = entry.second->id;
        // The portal group tag is what a portal says of itself, not what tells portals apart.
        return other.target == id.target && base::is_same_host(other.portal.address, id.portal.address) &&
               other.portal.port == id.portal.port && other.iface == id.iface;
    }));
}

std::size_t Registry::count(ManagedSession::State state) const {
    return static_cast<std::size_t>(
        std::ranges::count_if(sessions_, [&](const auto& entry) { return entry.second->state == state; }));
}

std::size_t Registry::count(const shard::Shard& shard) const {
    return static_cast<std::size_t>(
        std::ranges::count_if(sessions_, [&](const auto& entry) { return &entry.second->shard == &shard; }));
}

bool Registry::uses(const std::string& target, base::Isid isid) const {
    return std::ranges::any_of(sessions_, [&](const auto& entry) {
        return entry.second->id.target == target && entry.second->isid == isid;
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

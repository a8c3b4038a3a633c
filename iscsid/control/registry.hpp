// The sessions that exist, by number and by record; companions are with their leading session. No protocol.
// Control's thread.
#pragma once

#include "control/managed_session.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace iscsi::control {

class Registry {
public:
    /// The number of the next session: from 1, never used twice in one life of the daemon.
    std::uint32_t next_sid() { return ++last_sid_; }
    /// Sessions of a daemon before this one keep their numbers.
    void reserve(std::uint32_t sid) { last_sid_ = std::max(last_sid_, sid); }

    ManagedSession& add(std::unique_ptr<ManagedSession> session);
    void remove(std::uint32_t sid);

    ManagedSession* find(std::uint32_t sid);
    const ManagedSession* find(std::uint32_t sid) const;
    /// Sessions of one record, those that are logging in included.
    std::size_t count(const records::NodeId& id) const;
    std::size_t count(ManagedSession::State state) const;
    /// True when a session to `target`, or a companion, uses `isid`.
    bool uses(const std::string& target, base::Isid isid) const;
    /// All of them, in order. For procedures that wait between two: find() says whether one is still there.
    std::vector<std::uint32_t> sids() const;

private:
    std::map<std::uint32_t, std::unique_ptr<ManagedSession>> sessions_;
    // What a login asks for, however many sessions there are.
    std::unordered_multimap<std::string, const ManagedSession*> by_target_;
    std::uint32_t last_sid_ = 0;
};

} // namespace iscsi::control

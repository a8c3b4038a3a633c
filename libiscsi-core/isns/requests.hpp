// What an initiator asks of an iSNS server, what it is told, and what it answers when the server asks (RFC
// 4171 sections 5.6 and 5.7). Answers are hostile. Pure functions; any thread.
#pragma once

#include "base/discovered.hpp"
#include "base/result.hpp"
#include "isns/attributes.hpp"
#include "isns/message.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::isns {

/// An initiator as a server keeps it: an entity with a portal, at which it hears the server, and its nodes.
struct Registration {
    std::string entity;             ///< identifier; ours alone, the same after every restart
    std::vector<std::string> nodes; ///< iSCSI names; the first one asks
    std::string alias;              ///< of each; may be empty
    Address address{};
    std::uint16_t udp_port = 0;           ///< for changes and inquiries; and what tells our portals apart
    std::uint32_t inquiry_interval_s = 0; ///< 0: the server is not to ask whether we are there
};

/// Registers all of it, in the place of what was registered under this entity before (section 5.6.5.1).
Message register_initiator(const Registration& registration);
/// Registers the node alone, for servers that answer nobody else; the server makes the entity.
Message register_node(std::string_view node);
/// Asks to be told when targets come, go or change (section 5.6.5.5).
Message register_for_changes(std::string_view node);
/// The targets that `node` may see, with their portals (section 5.6.5.2).
Message query_targets(std::string_view node);
/// Whether the entity is there; it is refreshed by that (section 6.2.6).
Message query_entity(std::string_view node, std::string_view entity);
/// Takes the entity, or the node alone, out again (section 5.6.5.4).
Message deregister_entity(std::string_view node, std::string_view entity);
Message deregister_node(std::string_view node);

/// The status of an answer. Errc::protocol when it has none.
base::Result<Status> status_of(const Message& answer);

/// The targets of a successful answer to query_targets(): one entry for each portal group. Errc::protocol on
/// attributes that cannot be, or beyond limits::discovered_targets_max.
base::Result<base::DiscoveredTargets> read_targets(const Message& answer);

/// What a server made of a registration.
struct Registered {
    std::uint32_t period_s = 0;           ///< without a message from us it is removed after that; 0: never
    std::uint32_t inquiry_interval_s = 0; ///< 0: none were agreed
};

/// Of a successful answer to register_initiator(). Errc::protocol.
base::Result<Registered> read_registered(const Message& answer);

/// Whether an answer to query_entity() knows the entity. Errc::protocol.
base::Result<bool> knows_entity(const Message& answer);

/// What a server said unasked.
struct Unasked {
    bool changed = false;  ///< targets came, went or changed
    bool inquired = false; ///< whether we are there
    std::string what;      ///< of a change, in words, printable, bounded
};

/// A message of the server that is no answer, and what to answer.
struct Reaction {
    Unasked unasked;
    Message answer;
};

/// `node`: ours, where the server does not say which of ours it means. Errc::protocol when it cannot be
/// understood; then it gets no answer.
base::Result<Reaction> react(const Message& request, std::string_view node);

} // namespace iscsi::isns

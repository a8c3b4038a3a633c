// What becomes of a login that did not reach full feature phase: which failures deserve another try, what
// iscsiadm is told, how long a live session waits, which of a name's addresses is next, and the way that
// redirections lead (RFC 7143 section 11.13.5). Values and pure functions; any thread.
#pragma once

#include "base/result.hpp"
#include "base/time.hpp"
#include "login/login.hpp"
#include "shard/connector.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace iscsi::control {

/// Trying again can help: the portal does not answer (yet), or the target says "later".
bool worth_a_retry(const base::Error& error);

/// What iscsiadm is told when the tries of a first login have run out: exit code 8 for the connection, as
/// open-iscsi; others stay as they are (11 for a login without an answer, 5 for one put off).
base::Error as_told(base::Error error);

/// For a target that takes no list of CHAP algorithms (see login::Login::md5_alone_may_do).
void offer_md5_alone(login::LoginConfig& login);

/// How long a session that was established waits after a failed try to come back; `before` is the pause that
/// preceded the try, 0 for the first one. It never gives up by itself, whatever the target said: targets are
/// up before they know their units and whom to let in. A refused authentication is asked about seldom,
/// because some targets lock a name out after a few of them; one that cannot be reached after
/// `reconnect_pause`.
base::Duration pause_after(base::Errc failure, base::Duration before, base::Duration reconnect_pause);

/// From one connection that is tried to the next, as long as nobody answers, in an outage of `lasts` that so
/// many sessions of this daemon are in: what it adds to the outage is not felt, and what it costs neither.
base::Duration reconnect_pause(base::Duration lasts, std::size_t sessions);

/// Between three quarters of `pause` and all of it, as the dice fall: sessions that were lost together do not
/// all come back in the same moment.
base::Duration spread(base::Duration pause, std::uint32_t dice);

/// A login that was begun on a connection ended so: the target did not refuse it, nothing that can be relied
/// on was heard of it. At another of its addresses there may be somebody.
bool is_unanswered(base::Errc failure);

/// In which order the addresses of a name are tried, so that none is asked for ever while another might
/// answer: those that took a connection and left its login unanswered come last.
class AddressOrder {
public:
    /// The login there was left unanswered. False when that is known of it.
    bool put_last(const shard::Endpoint& endpoint);
    bool is_last(const shard::Endpoint& endpoint) const;
    /// Another one than `endpoint` was put last.
    bool has_last_beside(const shard::Endpoint& endpoint) const;
    /// A login succeeded: all are equal again.
    void forget() { last_.clear(); }
    /// Sorts them: `first`, then the others as they came, then those that were put last, the one of longest
    /// ago before the others. Gives how many are preferred to the rest (ConnectTimes::preferred).
    std::size_t sort(std::vector<shard::Endpoint>& endpoints, const shard::Endpoint& first) const;

private:
    std::vector<shard::Endpoint> last_; ///< limits::host_addresses_max at most, in the order of their logins
};

/// A host (IPv6 without brackets) and port.
struct Place {
    std::string host;
    std::uint16_t port = 0;
    bool operator==(const Place&) const = default;
};

/// The way of one login from where it starts over what the targets there say.
class LoginRoute {
public:
    explicit LoginRoute(Place start) : places_{std::move(start)} {}

    /// Where to log in now.
    const Place& place() const { return places_.back(); }
    std::size_t hops() const { return places_.size() - 1; }
    /// Goes where a redirection points to. Errc::redirected when it leads back to where the route has been,
    /// or after limits::redirects_max.
    base::Result<void> follow(const login::Redirect& redirect);
    /// Where the start has moved to for good: the end of a route of permanent redirections only.
    std::optional<Place> moved_to() const;

private:
    std::vector<Place> places_;
    bool permanent_ = true;
};

} // namespace iscsi::control

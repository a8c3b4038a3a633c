// What iscsiadm asks the daemon and what it is told: plain structs, and their form on the Unix socket, one
// JSON object a line. A request is {"v":1,"id":N,"request":"login",...}, its reply
// {"v":1,"id":N,"reply":"login",...} or {"v":1,"id":N,"reply":"error","code":N,...}. Replies carry the id of
// their request and come in any order; a request to monitor has a reply for each event. Decoding is strict:
// whatever a hostile peer writes gives an Error, never an exception; members that this version does not know
// are ignored, so that a newer peer may add some. Pure functions; any thread.
#pragma once

#include "base/result.hpp"
#include "ipc/snapshot.hpp"
#include "records/record.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace iscsi::ipc {

/// The version of the protocol that this library speaks; others are refused.
inline constexpr std::uint32_t protocol_version = 1;

// ---- requests ----

/// What the portal of `discovery` (a target's, or an iSNS server's) knows, once through each of `ifaces`.
struct Discover {
    records::Record discovery{records::RecordKind::send_targets};
    std::vector<records::Record> ifaces;
};

/// Log in with a node record (its iface.* keys are the binding) and attach its logical units.
struct Login {
    records::Record node{records::RecordKind::node};
    bool multiple = false; ///< one more session beside those that this record already has
};

struct Logout {
    std::uint32_t sid = 0;
    /// Refused with Errc::busy when anybody uses its devices, whatever iscsid.safe_logout says.
    bool only_if_unused = false;
};

/// A place in the list of sessions: behind that unit, or behind all of the session.
struct ListPlace {
    std::uint32_t sid = 0;            ///< 0: before the first one
    std::optional<std::uint64_t> lun; ///< AttachedLun::number

    friend bool operator==(const ListPlace&, const ListPlace&) = default;
};

/// Every session.
struct Sessions {
    bool with_io = false; ///< and what was asked of each unit (AttachedLun::io)
    /// A page (ipc/page.hpp) of what is behind it; empty: all in one.
    std::optional<ListPlace> after = std::nullopt;
};

/// Look for new, changed and vanished logical units.
struct Rescan {
    std::uint32_t sid = 0;
};

/// End the daemon without logging out (iscsiadm -k 0).
struct Stop {};

struct Info {};

/// Events, from now on until the connection ends. Of several requests on one connection the last one counts.
struct Monitor {};

using Request = std::variant<Discover, Login, Logout, Sessions, Rescan, Stop, Info, Monitor>;

// ---- replies ----

/// A way to a target that a discovery found.
struct FoundPortal {
    std::string target;
    std::string address; ///< as the target reported it, IPv6 without brackets
    std::uint16_t port = 3260;
    std::int32_t tpgt = -1;
    std::string iface; ///< iface.iscsi_ifacename it was found through

    friend bool operator==(const FoundPortal&, const FoundPortal&) = default;
};

struct DiscoverReply {
    std::vector<FoundPortal> found;
    std::vector<std::string> rejected; ///< answers that were not used, and why; one line each, safe to print
};

struct LoginReply {
    std::uint32_t sid = 0;
    std::vector<AttachedLun> luns;
    std::string note; ///< in words, what a person should know, e.g. why there is no usable LUN; may be empty
};

/// Logout, Rescan and Stop: it is done.
struct Done {};

struct SessionsReply {
    std::vector<SessionSnapshot> sessions;        ///< by sid
    std::optional<ListPlace> next = std::nullopt; ///< of a page: there may be more, behind it
};

struct InfoReply {
    std::string version;
    std::string initiator_name;
    std::string initiator_alias;
    std::int64_t pid = 0;
};

/// The request failed. `detail` may hold several lines, each safe to print; a discovery reports each attempt
/// in one.
struct ErrorReply {
    base::Error error;
};

/// Something that has happened, and what it was about. The first one says that the monitoring has begun.
struct EventReply {
    std::int64_t time_us = 0; ///< since 1970, UTC
    std::string event;        ///< a name in events.hpp; a newer daemon may have more
    std::string level;        ///< "error", "warning", "info" or "debug"
    std::string message;      ///< as in the log; one line, safe to print
    std::optional<std::uint32_t> sid;
    std::string target; ///< empty, as the following: it is about none
    std::string portal; ///< "10.0.0.1:3260"; of the record, not where a redirection led
    std::string iface;
    std::optional<std::uint64_t> lun; ///< as in by-path names
    std::string device;               ///< "/dev/ublkb0"
    std::uint64_t lost = 0;           ///< of events_lost: how many
};

using Reply = std::variant<DiscoverReply, LoginReply, Done, SessionsReply, InfoReply, ErrorReply, EventReply>;

// ---- on the socket ----

/// A request with the id that its reply will carry.
struct TaggedRequest {
    std::uint64_t id = 0;
    Request request;
};

struct TaggedReply {
    std::uint64_t id = 0;
    Reply reply;
};

/// One line with its newline.
std::string encode(std::uint64_t id, const Request& request);
std::string encode(std::uint64_t id, const Reply& reply);

/// `line` without its newline. Errors: invalid (not JSON, a member missing or of the wrong type, a number out
/// of range, a key that the record table refuses), unknown_request (another version, another request).
base::Result<TaggedRequest> decode_request(std::string_view line);
base::Result<TaggedReply> decode_reply(std::string_view line);

/// The id of a line that decode_request refused, so that the error can be sent to its request; 0 if it has
/// none. Ids are chosen by the client, from 1.
std::uint64_t id_of(std::string_view line);

} // namespace iscsi::ipc

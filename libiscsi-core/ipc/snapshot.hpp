// What a person or a program can learn about a session, in one type: the session list, the -P trees, JSON and
// metrics are all printed from it. The daemon fills it when it is asked; iscsiadm only prints it. Values
// only; any thread. The texts of the states are open-iscsi's, because scripts look for them.
#pragma once

#include "base/statistics.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::ipc {

/// State of a session's connection.
enum class ConnectionState : std::uint8_t {
    free,
    transport_wait,
    in_login,
    logged_in,
    in_logout,
    logout_requested,
    cleanup_wait,
    unknown
};

/// State of a session as its users see it: logged_in serves I/O, failed is being recovered.
enum class SessionState : std::uint8_t { logged_in, failed, free };

/// What the daemon is doing about a session.
enum class InternalState : std::uint8_t { no_change, cleanup, reopen, redirect, unknown };

/// "LOGGED IN", "TRANSPORT WAIT", ...
std::string_view text(ConnectionState state);
/// "LOGGED_IN", "FAILED", "FREE"
std::string_view text(SessionState state);
/// "NO CHANGE", "REOPEN", ...
std::string_view text(InternalState state);

/// Where a portal answers. The address is a numeric address or a name, IPv6 without brackets.
struct PortalAddress {
    std::string address;
    std::uint16_t port = 3260;

    friend bool operator==(const PortalAddress&, const PortalAddress&) = default;
};

/// A logical unit that a session shows to this machine.
struct AttachedLun {
    std::uint64_t number = 0; ///< as a person counts it: 0, 1, 2... (the address methods of SAM-5 4.7 undone)
    std::string state;        ///< "running", or a few words on why it cannot be used
    std::string device;       ///< path of the device node or of the export's socket; empty = not usable
    std::string uri;          ///< nbd+unix:///?socket=... of a socket export; else empty
    std::string link;         ///< the by-path symbolic link; empty = none
    std::uint64_t size_bytes = 0;
    std::uint32_t block_bytes = 0;
    std::string vendor;
    std::string product;
    std::string serial;
    /// Times that its volatile cache was lost with writes in it, as far as this daemon knows. A flush failed
    /// for each.
    std::uint64_t cache_losses = 0;

    friend bool operator==(const AttachedLun&, const AttachedLun&) = default;
};

/// The interface that a session was bound to: values of its iface record and what came of them. Empty = not
/// set.
struct InterfaceSnapshot {
    std::string name = "default";
    std::string transport = "tcp";
    std::string initiator_name; ///< the name that was sent at login
    std::string ip_address;     ///< the local address of the connection
    std::string hw_address;
    std::string net_device;

    friend bool operator==(const InterfaceSnapshot&, const InterfaceSnapshot&) = default;
};

/// In seconds.
struct SessionTimeouts {
    std::int64_t recovery_s = 120; ///< node.session.timeo.replacement_timeout; negative = for ever
    std::int64_t target_reset_s = 30;
    std::int64_t lun_reset_s = 30;
    std::int64_t abort_s = 15;

    friend bool operator==(const SessionTimeouts&, const SessionTimeouts&) = default;
};

/// CHAP names and secrets in use. Only ever sent to root; others get them empty.
struct ChapSnapshot {
    std::string username;
    std::string password;
    std::string username_in;
    std::string password_in;

    friend bool operator==(const ChapSnapshot&, const ChapSnapshot&) = default;
};

/// What was negotiated (RFC 7143 section 13).
struct NegotiatedSnapshot {
    std::string header_digest = "None";
    std::string data_digest = "None";
    std::uint32_t max_recv_data_segment_length = 0;
    std::uint32_t max_xmit_data_segment_length = 0;
    std::uint32_t first_burst_length = 0;
    std::uint32_t max_burst_length = 0;
    std::uint32_t max_outstanding_r2t = 1;
    bool immediate_data = true;
    bool initial_r2t = false;

    friend bool operator==(const NegotiatedSnapshot&, const NegotiatedSnapshot&) = default;
};

/// A session at one moment.
struct SessionSnapshot {
    std::uint32_t sid = 0;         ///< from 1
    std::uint32_t host_number = 0; ///< the number that open-iscsi would give the SCSI host
    std::string target;
    std::int32_t tpgt = -1;   ///< target portal group tag; -1 = not known
    PortalAddress current;    ///< where the connection is, or was last
    PortalAddress persistent; ///< the address of the record
    InterfaceSnapshot iface;
    ConnectionState connection_state = ConnectionState::unknown;
    SessionState session_state = SessionState::free;
    InternalState internal_state = InternalState::unknown;
    SessionTimeouts timeouts;
    ChapSnapshot chap;
    NegotiatedSnapshot negotiated;
    base::SessionStatistics statistics; ///< since login, over all connections
    std::vector<AttachedLun> luns;

    friend bool operator==(const SessionSnapshot&, const SessionSnapshot&) = default;
};

} // namespace iscsi::ipc

// What a person or a program can learn about a session, in one type: the session list, the -P trees, JSON and
// metrics are all printed from it. The daemon fills it when it is asked; iscsiadm only prints it. Values
// only; any thread. The texts of the states are open-iscsi's, because scripts look for them.
#pragma once

#include "base/histogram.hpp"
#include "base/statistics.hpp"

#include <cstdint>
#include <optional>
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

/// Requests of one kind since this daemon serves the unit.
struct KindSnapshot {
    std::uint64_t requests = 0; ///< that have ended
    std::uint64_t failures = 0; ///< of them, with an error
    std::uint64_t bytes = 0;    ///< of those that ended well
    std::uint64_t sum_us = 0;   ///< what all of them took
    /// How long they took: pairs of the least number of microseconds that a bucket counts
    /// (base/histogram.hpp) and what it has counted; only those that have counted something.
    std::vector<std::vector<std::uint64_t>> latency_us;

    friend bool operator==(const KindSnapshot&, const KindSnapshot&) = default;
};

KindSnapshot snapshot(const base::LatencyCounts& latency, std::uint64_t failures, std::uint64_t bytes);
/// The reverse; what no bucket begins with is left out.
base::LatencyCounts latency_of(const KindSnapshot& kind);

/// What users of a unit's block device have asked for. Not all of one moment.
struct IoSnapshot {
    KindSnapshot read;
    KindSnapshot write;
    KindSnapshot other;          ///< flush, discard, write zeroes
    std::uint64_t in_hand = 0;   ///< requests that have not ended
    std::uint64_t waits = 0;     ///< requests that waited in the daemon before their first command
    std::uint64_t waited_us = 0; ///< for that long, all of them

    friend bool operator==(const IoSnapshot&, const IoSnapshot&) = default;
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
    std::optional<IoSnapshot> io; ///< where it was asked for

    friend bool operator==(const AttachedLun&, const AttachedLun&) = default;
};

/// A logical unit that the target lists and that is not shown.
struct AbsentLun {
    std::uint64_t number = 0;
    std::string why; ///< in a few words

    friend bool operator==(const AbsentLun&, const AbsentLun&) = default;
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

/// One of the further queues of a session's devices (iscsid.queues), which has a session with the target of
/// its own.
struct QueueSnapshot {
    std::uint64_t number = 0; ///< from 1; queue 0 is the session's
    SessionState session_state = SessionState::free;
    std::uint64_t recoveries = 0; ///< as of the session
    std::uint64_t failed_recoveries = 0;
    std::optional<std::uint64_t> down_s; ///< seconds since its connection was lost; empty: it is up
    std::string last_error; ///< why it is still down, one line; empty: it is up, or was not tried

    friend bool operator==(const QueueSnapshot&, const QueueSnapshot&) = default;
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
    /// As far as this daemon knows: times that it was lost and came back, also that it was taken over from
    /// the daemon before, and times that it was not back in time, so that I/O failed.
    std::uint64_t recoveries = 0;
    std::uint64_t failed_recoveries = 0;
    std::vector<AttachedLun> luns;
    std::vector<AbsentLun> absent;
    std::string authentication = "None"; ///< "CHAP" of ours alone, or "mutual CHAP"; everybody is told
    std::optional<std::uint64_t> age_s;  ///< seconds since its first login; empty: not known
    std::optional<std::uint64_t> down_s; ///< seconds since its connection was lost; empty: it is up
    std::string last_error; ///< why it is still down, one line; empty: it is up, or was not tried, or it is
                            ///< not root who asks
    std::vector<QueueSnapshot> queues; ///< beside its own; what is above is of that one alone

    friend bool operator==(const SessionSnapshot&, const SessionSnapshot&) = default;
};

} // namespace iscsi::ipc

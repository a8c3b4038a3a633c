// What can go wrong that is the peer's or the operator's doing, as values. Each Errc has a short text and the
// exit code that open-iscsi's iscsiadm gives it, because scripts act on the number. Broken invariants of our
// own are not errors: see check.hpp. Values only; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace iscsi::base {

/// Kinds of failure. Those up to request_timed_out carry open-iscsi's numbers 1..33; the rest are ours and
/// map to one.
enum class Errc {
    unknown = 1,
    session_not_found = 2,
    no_memory = 3,
    transport = 4,
    login = 5,
    database = 6,
    invalid = 7,
    transport_timeout = 8,
    internal = 9,
    logout = 10,
    pdu_timeout = 11,
    transport_not_found = 12,
    access_denied = 13,
    transport_capability = 14,
    session_exists = 15,
    unknown_request = 16,
    isns_unavailable = 17,
    daemon_communication = 18,
    fatal_login = 19,
    daemon_not_running = 20,
    not_found = 21,
    sysfs_lookup = 22,
    host_not_found = 23,
    authentication = 24,
    isns_query = 25,
    isns_registration = 26,
    not_supported = 27,
    busy = 28,
    again = 29,
    unknown_discovery_type = 30,
    child_terminated = 31,
    session_not_connected = 32,
    request_timed_out = 33,
    // Ours.
    protocol = 100,     ///< the peer broke a rule of RFC 7143; exit code of login
    digest = 101,       ///< a header or data digest did not match; exit code of transport
    disconnected = 102, ///< the peer closed or reset the connection; exit code of transport
    cancelled = 103,    ///< given up because the daemon or the session is stopping; exit code of internal
    redirected = 104, ///< the target moved (login status class 01); handled by the caller, exit code of login
};

/// The exit status that iscsiadm ends with for this kind of failure (1..33).
int exit_code(Errc code);

/// open-iscsi's short text for the exit code of `code`, e.g. "session exists".
std::string_view text(Errc code);

/// What happened, where a person can be told what to try and the kind of failure does not say it. No program
/// decides by it. Those of a refused login are the statuses of RFC 7143 section 11.13.5.
enum class Cause : std::uint8_t {
    none,
    name_not_found,      ///< no name server knows the portal's name
    name_service_silent, ///< none answers
    connection_refused,  ///< by the portal's host: nobody listens at the port
    no_route,            ///< to the portal's address
    no_answer,           ///< to the attempts to connect
    binding_failed,      ///< to the network device or the local address of the interface record
    login_unanswered,    ///< connected, and the login got no end in time
    login_cut,           ///< connected, and the other end closed during the login
    chap_refused,        ///< status 0201; also one without CHAP where the target asks for it
    not_authorized,      ///< status 0202
    target_unknown,      ///< status 0203
    target_removed,      ///< status 0204
    target_unavailable,  ///< statuses 0300 and 0301
    target_full,         ///< statuses 0206 and 0302
    login_refused,       ///< any other status
    chap_demanded,       ///< AuthMethod=None was offered, the target wants another
    chap_declined,       ///< AuthMethod=CHAP was offered, the target does not want it
    chap_algorithms,     ///< the target supports none of those that were offered
    target_not_proved,   ///< CHAP of the other direction: the target is not who it should be
    portal_group,        ///< another one than the record says
    digest_declined,     ///< a digest that the record demands
    key_unusable,        ///< a key's value in the negotiation
};

/// "connection_refused", ...
std::string_view text(Cause cause);
/// The reverse; none for a word that is no cause.
Cause cause_of(std::string_view word);
/// Of a connect(2) that failed with that errno; none for one that says nothing of the way.
Cause cause_of_connect(int error_number);

/// A failure with the detail a person needs: which key, which portal, what was expected.
struct Error {
    Errc code = Errc::unknown;
    std::string detail{}; ///< one line, no trailing newline, safe to print; may be empty
    Cause cause = Cause::none;

    /// The detail, or the text of the code when there is none.
    std::string message() const;
};

} // namespace iscsi::base

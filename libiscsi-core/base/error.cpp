#include "base/error.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

namespace iscsi::base {
namespace {

struct Row {
    Errc code;
    int exit_code;
    std::string_view text;
};

// The texts are the interface of open-iscsi 2.1.8: they appear in "initiator reported error (N - text)".
constexpr std::array rows{
    Row{Errc::unknown, 1, "unknown error"},
    Row{Errc::session_not_found, 2, "session not found"},
    Row{Errc::no_memory, 3, "no available memory"},
    Row{Errc::transport, 4, "encountered connection failure"},
    Row{Errc::login, 5, "encountered iSCSI login failure"},
    Row{Errc::database, 6, "encountered iSCSI database failure"},
    Row{Errc::invalid, 7, "invalid parameter"},
    Row{Errc::transport_timeout, 8, "connection timed out"},
    Row{Errc::internal, 9, "internal error"},
    Row{Errc::logout, 10, "encountered iSCSI logout failure"},
    Row{Errc::pdu_timeout, 11, "iSCSI PDU timed out"},
    Row{Errc::transport_not_found, 12,
        "iSCSI driver not found. Please make sure it is loaded, and retry the operation"},
    Row{Errc::access_denied, 13, "daemon access denied"},
    Row{Errc::transport_capability, 14, "iSCSI driver does not support requested capability."},
    Row{Errc::session_exists, 15, "session exists"},
    Row{Errc::unknown_request, 16, "Unknown request"},
    Row{Errc::isns_unavailable, 17, "iSNS service not supported"},
    Row{Errc::daemon_communication, 18, "could not communicate to iscsid"},
    Row{Errc::fatal_login, 19, "encountered non-retryable iSCSI login failure"},
    Row{Errc::daemon_not_running, 20, "could not connect to iscsid"},
    Row{Errc::not_found, 21, "no objects found"},
    Row{Errc::sysfs_lookup, 22, "sysfs lookup failure"},
    Row{Errc::host_not_found, 23, "host not found"},
    Row{Errc::authentication, 24, "iSCSI login failed due to authorization failure"},
    Row{Errc::isns_query, 25, "iSNS query failed"},
    Row{Errc::isns_registration, 26, "iSNS registration failed"},
    Row{Errc::not_supported, 27, "operation not supported"},
    Row{Errc::busy, 28, "device or resource in use"},
    Row{Errc::again, 29, "retry operation"},
    Row{Errc::unknown_discovery_type, 30, "unknown discovery type"},
    Row{Errc::child_terminated, 31, "child process terminated"},
    Row{Errc::session_not_connected, 32, "target likely not connected"},
    Row{Errc::request_timed_out, 33, "iscsid request timed out"},
    Row{Errc::protocol, 5, "encountered iSCSI login failure"},
    Row{Errc::digest, 4, "encountered connection failure"},
    Row{Errc::disconnected, 4, "encountered connection failure"},
    Row{Errc::cancelled, 9, "internal error"},
    Row{Errc::redirected, 5, "encountered iSCSI login failure"},
};

const Row& row_of(Errc code) {
    const auto* row = std::ranges::find(rows, code, &Row::code);
    return row == rows.end() ? rows.front() : *row;
}

// In the order of the enumerators.
constexpr std::array<std::string_view, 23> cause_words{
    "none",           "name_not_found",  "name_service_silent", "connection_refused", "no_route",
    "no_answer",      "binding_failed",  "login_unanswered",    "login_cut",          "chap_refused",
    "not_authorized", "target_unknown",  "target_removed",      "target_unavailable", "target_full",
    "login_refused",  "chap_demanded",   "chap_declined",       "chap_algorithms",    "target_not_proved",
    "portal_group",   "digest_declined", "key_unusable"};
static_assert(cause_words.size() == static_cast<std::size_t>(Cause::key_unusable) + 1);

} // namespace

std::string_view text(Cause cause) {
    return cause_words.at(static_cast<std::size_t>(cause));
}

Cause cause_of(std::string_view word) {
    const auto* found = std::ranges::find(cause_words, word);
    return found == cause_words.end() ? Cause::none : static_cast<Cause>(found - cause_words.begin());
}

int exit_code(Errc code) {
    return row_of(code).exit_code;
}

std::string_view text(Errc code) {
    return row_of(code).text;
}

Cause cause_of_connect(int error_number) {
    switch (error_number) {
    case ECONNREFUSED:
        return Cause::connection_refused;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
        return Cause::no_route;
    case ETIMEDOUT:
        return Cause::no_answer;
    default:
        return Cause::none;
    }
}

std::string Error::message() const {
    return detail.empty() ? std::string(text(code)) : detail;
}

} // namespace iscsi::base

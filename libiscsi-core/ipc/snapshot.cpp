#include "ipc/snapshot.hpp"

#include <array>

namespace iscsi::ipc {
namespace {

// In the order of the enumerators.
constexpr std::array<std::string_view, 8> connection_texts{
    "FREE",      "TRANSPORT WAIT",   "IN LOGIN",     "LOGGED IN",
    "IN LOGOUT", "LOGOUT REQUESTED", "CLEANUP WAIT", "Unknown"};
constexpr std::array<std::string_view, 3> session_texts{"LOGGED_IN", "FAILED", "FREE"};
constexpr std::array<std::string_view, 5> internal_texts{"NO CHANGE", "CLEANUP", "REOPEN", "REDIRECT",
                                                         "Unknown"};

} // namespace

std::string_view text(ConnectionState state) {
    return connection_texts.at(static_cast<std::size_t>(state));
}

std::string_view text(SessionState state) {
    return session_texts.at(static_cast<std::size_t>(state));
}

std::string_view text(InternalState state) {
    return internal_texts.at(static_cast<std::size_t>(state));
}

} // namespace iscsi::ipc

// The lines of iscsiadm monitor, and which of them are wanted. Pure functions but for what
// compares hosts; any thread.
#pragma once

#include "ipc/requests.hpp"
#include "records/store.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace iscsi::adm {

struct EventFilter {
    records::NodeFilter node;
    std::optional<std::uint32_t> sid; ///< empty: of any session, and of none
};

/// What is said of the daemon and of the monitoring is always wanted.
bool wanted(const ipc::EventReply& event, const EventFilter& filter);

/// "2026-01-31 13:00:00.123 warning recovering: session 1: ..." in local time, with its newline.
std::string text_line(const ipc::EventReply& event);
/// One JSON object with all members, "time" in UTC as in ISO 8601; with its newline.
std::string json_line(const ipc::EventReply& event);

} // namespace iscsi::adm

// What a daemon leaves behind of a session so that the next one finds it and its kernel devices again, and
// its form in a file: one JSON object, {"v":1,"crc32c":"...","session":{...}}. Values and pure functions; any
// thread.
#pragma once

#include "base/result.hpp"
#include "base/time.hpp"
#include "base/units.hpp"
#include "block/kernel_device.hpp"
#include "records/record.hpp"
#include "scsi/lun_facts.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::control {

/// A unit that a block device shows.
struct UnitState {
    scsi::LunFacts facts; ///< a disk's, as the last scan found it
    block::Backend backend = block::Backend::ublk;
    std::uint64_t cookie = 0; ///< what the device is known by, see block::KernelDeviceRequest; never 0
    bool shown_cache = true;  ///< the device was made with a volatile cache: its users flush

    friend bool operator==(const UnitState&, const UnitState&) = default;
};

/// Where a target was seen to end a session when another one of its name was made. Another address may be
/// another target's, and a session in another portal group is of another nexus.
struct ReinstatedAt {
    std::string address; ///< numeric
    std::uint16_t port = 0;
    std::uint16_t portal_group = 0;

    friend bool operator==(const ReinstatedAt&, const ReinstatedAt&) = default;
};

/// A session beside the first one, for one more queue of each device.
struct CompanionState {
    base::Isid isid;
    std::optional<base::Duration> down_since; ///< as below, and the others too
    std::optional<std::uint16_t> portal_group;
    std::uint16_t time2wait_s = 0;
    std::uint16_t time2retain_s = 0;
    std::optional<ReinstatedAt> reinstated_at;

    friend bool operator==(const CompanionState&, const CompanionState&) = default;
};

struct SessionState {
    std::uint32_t sid = 0; ///< from 1
    records::Record node{records::RecordKind::node};
    base::Isid isid;
    std::string initiator_name; ///< as sent at login; empty before the first
    /// CLOCK_BOOTTIME when the connection was lost, so that the replacement timeout counts on in the next
    /// daemon; empty while the path is up.
    std::optional<base::Duration> down_since;
    std::optional<base::Duration> logged_in_at; ///< CLOCK_BOOTTIME of the first login, when it is known
    std::optional<std::uint16_t> portal_group;  ///< of the connection, or of the last one, when it is known
    std::uint16_t time2wait_s = 0;              ///< negotiated last: how long the target keeps
    std::uint16_t time2retain_s = 0;            ///< what it has of a connection that it saw lost
    std::optional<ReinstatedAt> reinstated_at;
    bool logging_in = false; ///< the first login and scan were not done yet
    bool ending = false;     ///< a logout was past the point where it can be refused
    std::vector<UnitState> units;
    std::vector<CompanionState> companions; ///< the first serves queue 1; fewer than limits::queues_max

    friend bool operator==(const SessionState&, const SessionState&) = default;
};

/// The version that state_text() writes and parse_state() reads. A change that an older daemon would
/// misunderstand needs a new one.
inline constexpr std::uint32_t state_version = 1;

/// Whether parse_state() would take it: what it refuses is better not written. Errors: invalid.
base::Result<void> check_state(const SessionState& state);

/// One line with its newline. It holds the record's secrets.
std::string state_text(const SessionState& state);

/// The reverse; unknown keys of the record come back in alphabetical order. Errors: not_supported for a newer
/// version, else invalid, for a text that is not exactly what state_text() wrote (cut, changed, not ours) or
/// that holds what no session can have. The detail never holds a secret.
base::Result<SessionState> parse_state(std::string_view text);

} // namespace iscsi::control

// What happens to sessions and units, by name: the names that the journal has as ISCSI_EVENT, that `iscsiadm
// monitor` prints, and that the manual page explains. One table; read-only data, any thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace iscsi::ipc {

/// How much an event matters; syslog's err, warning, info and debug.
enum class Level : std::uint8_t { error, warning, info, debug };

constexpr std::string_view text(Level level) {
    constexpr std::array<std::string_view, 4> words{"error", "warning", "info", "debug"};
    return words[static_cast<std::size_t>(level)];
}

enum class Event : std::uint8_t {
    message,
    daemon_started,
    daemon_ending,
    daemon_gone,
    monitoring,
    events_lost,
    logging_in,
    login_tried,
    login,
    login_failed,
    redirected,
    moved,
    logging_out,
    logout,
    logout_refused,
    taken_over,
    connection_lost,
    digest_error,
    protocol_error,
    target_event,
    command_timeout,
    unstable,
    recovering,
    recovered,
    replacement_timeout,
    given_up,
    lun_added,
    lun_failed,
    lun_absent,
    lun_silent,
    lun_removed,
    lun_replaced,
    lun_doubtful,
    lun_returned,
    lun_changed,
    units_changed,
    resized,
    resize_failed,
    device_lost,
    device_kept,
    device_not_kept,
    cache_lost,
    write_failed,
    data_refused,
    space_low,
    space_exhausted,
    reservation_lost,
    discovery_started,
    discovery_ended,
    discovery_failed,
    discovery_answers,
    target_found,
    target_missing,
    target_back,
    target_gone,
    target_kept,
};

struct EventRow {
    Event event;
    std::string_view name;
    Level level; ///< of each line of it; of a message, any
    std::string_view meaning;
};

inline constexpr std::array event_rows{
    EventRow{Event::message, "message", Level::info, "anything else that the log says"},
    EventRow{Event::daemon_started, "daemon_started", Level::info, "iscsid answers requests"},
    EventRow{Event::daemon_ending, "daemon_ending", Level::info,
             "iscsid was asked to end; it logs out of nothing"},
    EventRow{Event::daemon_gone, "daemon_gone", Level::warning,
             "iscsid has ended; said by the monitor, which waits"},
    EventRow{Event::monitoring, "monitoring", Level::info, "what follows is told from now on"},
    EventRow{Event::events_lost, "events_lost", Level::warning,
             "the monitor did not read: so many were left out"},
    EventRow{Event::logging_in, "logging_in", Level::info, "a login was asked for"},
    EventRow{Event::login_tried, "login_tried", Level::warning, "a try of a first login failed"},
    EventRow{Event::login, "login", Level::info, "the session is up, its units are shown"},
    EventRow{Event::login_failed, "login_failed", Level::error,
             "no try of a first login succeeded: no session"},
    EventRow{Event::redirected, "redirected", Level::info, "the target named another portal"},
    EventRow{Event::moved, "moved", Level::warning,
             "the target is in another portal group, or away from where it moved"},
    EventRow{Event::logging_out, "logging_out", Level::info, "a logout was asked for"},
    EventRow{Event::logout, "logout", Level::info, "a session that was logged in has ended"},
    EventRow{Event::logout_refused, "logout_refused", Level::warning,
             "the session stays: a device is in use"},
    EventRow{Event::taken_over, "taken_over", Level::info,
             "a session of the iscsid before; it logs in again"},
    EventRow{Event::connection_lost, "connection_lost", Level::error, "the connection broke: I/O waits"},
    EventRow{Event::digest_error, "digest_error", Level::error, "the same, for a digest that was wrong"},
    EventRow{Event::protocol_error, "protocol_error", Level::error,
             "the same, for a rule that the target broke"},
    EventRow{Event::target_event, "target_event", Level::warning, "what the target said unasked, or refused"},
    EventRow{Event::command_timeout, "command_timeout", Level::warning, "a command was not answered in time"},
    EventRow{Event::unstable, "unstable", Level::warning,
             "lost right after a login: the next one waits longer"},
    EventRow{Event::recovering, "recovering", Level::warning, "a try to come back failed"},
    EventRow{Event::recovered, "recovered", Level::info, "the session is back: I/O goes on"},
    EventRow{Event::replacement_timeout, "replacement_timeout", Level::error,
             "the session is not back in time: I/O fails from now on, the tries go on"},
    EventRow{Event::given_up, "given_up", Level::error, "there are no more tries to come back: I/O fails"},
    EventRow{Event::lun_added, "lun_added", Level::info, "a unit is shown as a block device"},
    EventRow{Event::lun_failed, "lun_failed", Level::error,
             "a unit could not be shown, or its device not removed"},
    EventRow{Event::lun_absent, "lun_absent", Level::info, "a unit that the target lists is not shown"},
    EventRow{Event::lun_silent, "lun_silent", Level::warning, "the same, because it does not say what it is"},
    EventRow{Event::lun_removed, "lun_removed", Level::error, "the target has the unit no more: I/O fails"},
    EventRow{Event::lun_replaced, "lun_replaced", Level::error,
             "another unit answers in its place: I/O fails"},
    EventRow{Event::lun_doubtful, "lun_doubtful", Level::error,
             "not known whether it is the same unit: I/O fails"},
    EventRow{Event::lun_returned, "lun_returned", Level::info, "the unit is there again: I/O goes on"},
    EventRow{Event::lun_changed, "lun_changed", Level::info,
             "a property of the unit, or what it says of a change"},
    EventRow{Event::units_changed, "units_changed", Level::info,
             "the target's list of units: it is looked at"},
    EventRow{Event::resized, "resized", Level::info, "the unit has another size"},
    EventRow{Event::resize_failed, "resize_failed", Level::error, "the device keeps its size"},
    EventRow{Event::device_lost, "device_lost", Level::error,
             "the kernel or its user has taken the device away"},
    EventRow{Event::device_kept, "device_kept", Level::info, "a device of the iscsid before is served again"},
    EventRow{Event::device_not_kept, "device_not_kept", Level::error, "a device of the iscsid before is not"},
    EventRow{Event::cache_lost, "cache_lost", Level::error,
             "the target lost written data that was not flushed"},
    EventRow{Event::write_failed, "write_failed", Level::error, "a write failed after it was acknowledged"},
    EventRow{Event::data_refused, "data_refused", Level::error,
             "the target found fault with the data sent to it"},
    EventRow{Event::space_low, "space_low", Level::warning, "the target will run out of space soon"},
    EventRow{Event::space_exhausted, "space_exhausted", Level::error,
             "the target has no space left: writes fail"},
    EventRow{Event::reservation_lost, "reservation_lost", Level::warning, "a reservation may be gone"},
    EventRow{Event::discovery_started, "discovery_started", Level::info, "a discovery record is watched"},
    EventRow{Event::discovery_ended, "discovery_ended", Level::info, "it is not watched any more"},
    EventRow{Event::discovery_failed, "discovery_failed", Level::warning,
             "its server or portal does not answer"},
    EventRow{Event::discovery_answers, "discovery_answers", Level::info, "it answers again"},
    EventRow{Event::target_found, "target_found", Level::info,
             "a discovery that is watched has a new portal"},
    EventRow{Event::target_missing, "target_missing", Level::info,
             "one is not in an answer; the next one decides"},
    EventRow{Event::target_back, "target_back", Level::info, "it was in the next one"},
    EventRow{Event::target_gone, "target_gone", Level::info,
             "it was not: logged out of, its record is removed"},
    EventRow{Event::target_kept, "target_kept", Level::warning,
             "it was not, but its session is kept: it is in use"},
};

namespace detail {

constexpr bool is_in_order() {
    for (std::size_t i = 0; i < event_rows.size(); ++i) {
        if (static_cast<std::size_t>(event_rows[i].event) != i) {
            return false;
        }
    }
    return event_rows.back().event == Event::target_kept;
}
static_assert(is_in_order(), "each event has its row, at its place");

} // namespace detail

constexpr const EventRow& row_of(Event event) {
    return event_rows[static_cast<std::size_t>(event)];
}

} // namespace iscsi::ipc

// What a session has to tell its owner beyond completed commands: asynchronous messages, rejects, the end of
// a logout (RFC 7143 sections 11.9, 11.15, 11.17). A small fixed queue; nothing allocates. One thread (that
// of the session).
#pragma once

#include "base/limits.hpp"
#include "base/units.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace iscsi::session {

struct Event {
    enum class Kind : std::uint8_t {
        logout_requested,        ///< log out within `within_s`
        connection_dropped,      ///< the target drops connection `cid`: time2wait_s, time2retain_s
        session_dropped,         ///< the target drops all connections: time2wait_s, time2retain_s
        renegotiation_requested, ///< negotiate anew, or log out, within `within_s`
        logout_response,         ///< `code`; time2wait_s and time2retain_s count when it is 2 or 3
        scsi,                    ///< an asynchronous SCSI event of `lun`, with sense
        vendor,                  ///< `code` 248 to 255, `vendor_code`
        other,                   ///< an event code this session knows nothing about
        rejected,                ///< the target rejected a PDU: reason `code`, of `rejected_opcode`
        task_management, ///< a command of `lun` was not answered in time: function `code` was asked for
    };

    Kind kind = Kind::other;
    std::uint8_t code = 0; ///< AsyncEvent, RejectReason, LogoutResponseCode or TaskManagementFunction
    std::uint8_t vendor_code = 0;
    std::uint8_t rejected_opcode = 0;
    std::uint16_t within_s = 0;
    std::uint16_t time2wait_s = 0;
    std::uint16_t time2retain_s = 0;
    base::Cid cid;
    base::Lun lun;
    std::uint32_t missed = 0; ///< events of lesser kinds that came next to this one, and found no room
    std::uint16_t sense_bytes = 0;
    std::array<std::byte, base::limits::sense_bytes_max> sense;
};

/// Kinds that ask the owner to act. They come first in Event::Kind.
constexpr bool must_act(Event::Kind kind) {
    return kind <= Event::Kind::logout_response;
}

/// First in, first out. Kinds that ask the owner to act always find room: a second one of the same kind takes
/// the first one's place. The others are counted as missed by the last in the queue when it is full.
class EventQueue {
public:
    void push(const Event& event);
    std::optional<Event> pop();
    bool empty() const { return count_ == 0; }

private:
    static constexpr std::size_t capacity = 16;
    static constexpr std::size_t must_act_kinds = 5;

    Event& slot(std::size_t i) { return ring_[(first_ + i) % capacity]; }

    std::array<Event, capacity> ring_;
    std::size_t first_ = 0;
    std::size_t count_ = 0;
};

} // namespace iscsi::session

// PDUs that belong to no task: NOP-In, Asynchronous Message, Reject, Logout Response (RFC 7143 sections 11.9,
// 11.15, 11.17 and 11.19).

#include "session/session.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

namespace iscsi::session {
namespace {

Event::Kind kind_of(std::uint8_t async_event) {
    switch (static_cast<wire::AsyncEvent>(async_event)) {
    case wire::AsyncEvent::scsi_event:
        return Event::Kind::scsi;
    case wire::AsyncEvent::logout_request:
        return Event::Kind::logout_requested;
    case wire::AsyncEvent::connection_drop:
        return Event::Kind::connection_dropped;
    case wire::AsyncEvent::session_drop:
        return Event::Kind::session_dropped;
    case wire::AsyncEvent::negotiation_request:
        return Event::Kind::renegotiation_requested;
    default:
        return async_event >= static_cast<std::uint8_t>(wire::AsyncEvent::first_vendor_event)
                   ? Event::Kind::vendor
                   : Event::Kind::other;
    }
}

} // namespace

base::Result<void> Session::on_nop_in(const wire::NopIn& pdu) {
    ++statistics_.noprx_pdus;
    if (pdu.itt == base::reserved_tag) {
        // Carries the next StatSN without taking it; an answer is wanted only when it has a tag.
        if (pdu.ttt == base::reserved_tag) {
            return {};
        }
        if (connection_.pong_count == connection_.pongs.size()) {
            return violation(
                fmt::format("{} NOP-Ins wait for an answer, and one more came", connection_.pongs.size()));
        }
        connection_.pongs[connection_.pong_count++] = {pdu.lun, pdu.ttt};
        return {};
    }
    if (base::StatSn stat_sn(pdu.stat_sn); !connection_.take_status(stat_sn)) {
        return connection_.status_gap(stat_sn);
    }
    bool awaited = connection_.ping_since && !connection_.ping_queued && pdu.itt == connection_.ping_itt;
    if (!awaited) {
        return violation(fmt::format("NOP-In for no NOP-Out of ours: ITT 0x{:08x}", pdu.itt.get()));
    }
    if (connection_.receiver.data_bytes() != 0) {
        return violation("NOP-In with data that our NOP-Out did not carry");
    }
    connection_.ping_since.reset();
    return {};
}

base::Result<void> Session::on_async(const wire::AsyncMessage& pdu) {
    ++statistics_.async_pdus;
    if (base::StatSn stat_sn(pdu.stat_sn); !connection_.take_status(stat_sn)) {
        return connection_.status_gap(stat_sn);
    }
    Event event;
    event.kind = kind_of(pdu.async_event);
    event.code = pdu.async_event;
    event.vendor_code = pdu.async_vcode;
    event.lun = base::Lun(pdu.lun);
    switch (event.kind) {
    case Event::Kind::logout_requested:
    case Event::Kind::renegotiation_requested:
        event.within_s = pdu.parameter3;
        break;
    case Event::Kind::connection_dropped:
        event.cid = base::Cid(pdu.parameter1);
        [[fallthrough]];
    case Event::Kind::session_dropped:
        event.time2wait_s = pdu.parameter2;
        event.time2retain_s = pdu.parameter3;
        break;
    case Event::Kind::scsi: {
        base::Bytes kept = connection_.receiver.kept();
        std::uint32_t segment = connection_.receiver.data_bytes();
        std::uint32_t length = segment >= 2 ? base::load<base::Be16>(kept).get() : 0;
        if (segment < 2 || length > segment - 2) {
            return violation(
                fmt::format("SCSI event with {} bytes of data, SenseLength {}", segment, length));
        }
        event.sense_bytes = static_cast<std::uint16_t>(std::min<std::size_t>(length, kept.size() - 2));
        std::memcpy(event.sense.data(), kept.data() + 2, event.sense_bytes);
        break;
    }
    default:
        break;
    }
    events_.push(event);
    return {};
}

base::Result<void> Session::on_reject(const wire::Reject& pdu) {
    ++statistics_.rjt_pdus;
    if (base::StatSn stat_sn(pdu.stat_sn); !connection_.take_status(stat_sn)) {
        return connection_.status_gap(stat_sn);
    }
    base::Bytes kept = connection_.receiver.kept();
    if (kept.size() < wire::bhs_bytes) {
        return violation(fmt::format("Reject with {} bytes of the rejected header", kept.size()));
    }
    auto rejected = base::load<wire::Bhs>(kept);
    auto reason = static_cast<wire::RejectReason>(pdu.reason);
    Event event;
    event.kind = Event::Kind::rejected;
    event.code = pdu.reason;
    event.rejected_opcode = rejected.opcode_byte & wire::opcode_mask;
    event.lun = base::Lun(rejected.lun);
    events_.push(event);

    // What was a negotiation failure once still ends the connection (RFC 7143 section 11.17.1, note 3).
    bool reset = reason == wire::RejectReason::negotiation_reset;
    if (rejected.opcode() == wire::Opcode::nop_out && !reset) {
        // Too many immediate commands, say: the next silence asks again (RFC 7143 section 11.17.1).
        if (rejected.itt == connection_.ping_itt) {
            connection_.ping_since.reset();
        }
        return {};
    }
    if (rejected.opcode() == wire::Opcode::task_management_request && !reset) {
        return on_management_rejected(rejected.itt, reason);
    }
    // The target ends the task of a damaged Data-Out itself (RFC 7143 section 7.8), and data that was under
    // way when a task ended is nobody's loss.
    bool ends_with_status = reason == wire::RejectReason::data_digest_error;
    if (rejected.opcode() == wire::Opcode::data_out &&
        (ends_with_status || tasks_.find(rejected.itt) == nullptr)) {
        return {};
    }
    std::string detail =
        fmt::format("the target rejected our {}: {}", wire::text(rejected.opcode()), wire::text(reason));
    Task* task = tasks_.find(rejected.itt);
    return task != nullptr ? violation(*task->command, std::move(detail)) : violation(std::move(detail));
}

base::Result<void> Session::on_logout_response(const wire::LogoutResponse& pdu) {
    ++statistics_.logoutrsp_pdus;
    if (base::StatSn stat_sn(pdu.stat_sn); !connection_.take_status(stat_sn)) {
        return connection_.status_gap(stat_sn);
    }
    if (!logout_sent_ || logged_out_ || pdu.itt != logout_itt_) {
        return violation("Logout Response without a Logout of ours");
    }
    logged_out_ = true;
    Event event;
    event.kind = Event::Kind::logout_response;
    event.code = pdu.response;
    event.time2wait_s = pdu.time2wait;
    event.time2retain_s = pdu.time2retain;
    events_.push(event);
    return {};
}

} // namespace iscsi::session

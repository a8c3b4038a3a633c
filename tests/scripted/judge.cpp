#include "scripted/judge.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace iscsi::scripted {
namespace {

constexpr std::uint32_t abort_task = 1;
constexpr std::uint32_t task_reassign = 8;

bool carries_cmd_sn(const Pdu& pdu) {
    return !pdu.is(Opcode::data_out) && !pdu.is(Opcode::snack);
}

/// RFC 7143 section 11.5.3.
bool addresses_unit(std::uint64_t function) {
    return function >= 1 && function <= 5;
}

} // namespace

bool takes_stat_sn(const Pdu& pdu) {
    if (pdu.is(Opcode::data_in)) {
        return pdu.has(field::has_status);
    }
    if (pdu.is(Opcode::nop_in)) {
        return pdu.get(field::itt) != no_tag;
    }
    return !pdu.is(Opcode::r2t);
}

void Judge::begin_connection() {
    login_ = {};
    tasks_.clear();
    ended_.clear();
    requests_.clear();
    pings_.clear();
    text_.reset();
    unsolicited_itt_ = no_tag;
    stat_sn_end_.reset();
    window_end_.reset();
    logged_out_ = false;
    full_feature = false;
    parameters = {};
}

void Judge::expect(bool holds, Duty duty, const Pdu& pdu, std::string_view what) {
    if (!holds && !excused_.contains(duty)) {
        violations_.push_back(fmt::format("{} [{}]", what, pdu.describe()));
    }
}

Task* Judge::find(std::uint32_t itt) {
    auto found = tasks_.find(itt);
    return found == tasks_.end() ? nullptr : &found->second;
}

void Judge::forget(std::uint32_t itt) {
    if (Task* task = find(itt); task != nullptr) {
        ended_.insert_or_assign(itt, task->command);
        tasks_.erase(itt);
    }
}

void Judge::look_at(const Arrival& arrival) {
    look_at_format(arrival);
    const Pdu& pdu = arrival.pdu;
    if (!full_feature) {
        look_at_login(pdu);
        return;
    }
    expect(!pdu.is(Opcode::login_request), Duty::login, pdu, "a login in full feature phase (11.12)");
    look_at_tag(pdu);
    look_at_numbers(pdu);
    look_at_full_feature(pdu);
}

void Judge::look_at_format(const Arrival& arrival) {
    const Pdu& pdu = arrival.pdu;
    const Figure* figure = figure_of(static_cast<std::uint8_t>(pdu.opcode()));
    if (figure == nullptr || !figure->from_initiator) {
        expect(false, Duty::format, pdu, "no opcode of an initiator");
        return;
    }
    std::string reserved = pdu.set_reserved_bits();
    expect(reserved.empty(), Duty::format, pdu, "reserved bits are set: " + reserved);
    bool one = !figure->first_flag_is_one || pdu.has(field::final);
    expect(one, Duty::format, pdu, "bit 0 of byte 1 is 0");
    expect(arrival.padding_is_zero, Duty::format, pdu, "padding that is not zero (11.2.3)");
    expect(pdu.ahs.empty() || pdu.is(Opcode::scsi_command), Duty::format, pdu, "an AHS (11.2.2)");
    std::uint32_t most = full_feature ? parameters.target_segment : Parameters().target_segment;
    expect(pdu.data.size() <= most, Duty::format, pdu, "more data than MaxRecvDataSegmentLength (13.12)");
    expect(arrival.header_digest_right, Duty::digest, pdu, "a wrong header digest (13.1)");
    expect(arrival.data_digest_right, Duty::digest, pdu, "a wrong data digest (13.1)");
}

void Judge::look_at_numbers(const Pdu& pdu) {
    std::uint32_t exp_stat_sn = pdu.get32(field::exp_stat_sn);
    expect(!is_before(exp_stat_sn, acknowledged), Duty::exp_stat_sn, pdu,
           "ExpStatSN goes backwards (4.2.2.2)");
    expect(!is_before(stat_sn_end_.value_or(exp_stat_sn), exp_stat_sn), Duty::exp_stat_sn, pdu,
           "ExpStatSN acknowledges what was not sent (4.2.2.2)");
    acknowledged = exp_stat_sn;
    if (!carries_cmd_sn(pdu)) {
        return;
    }
    std::uint32_t cmd_sn = pdu.get32(field::cmd_sn);
    expect(cmd_sn == exp_cmd_sn, Duty::cmd_sn, pdu, fmt::format("CmdSN is not {:#x} (4.2.2.1)", exp_cmd_sn));
    if (pdu.has(field::immediate)) {
        return;
    }
    expect(!is_before(window_end_.value_or(cmd_sn), cmd_sn), Duty::window, pdu,
           "CmdSN beyond MaxCmdSN (4.2.2.1)");
    exp_cmd_sn = cmd_sn + 1;
}

void Judge::look_at_tag(const Pdu& pdu) {
    std::uint32_t itt = pdu.get32(field::itt);
    if (pdu.is(Opcode::data_out) || pdu.is(Opcode::snack)) {
        return;
    }
    if (pdu.is(Opcode::nop_out) && itt == no_tag) {
        return;
    }
    bool continued = pdu.is(Opcode::text_request) && text_ && text_->itt == itt;
    expect(itt != no_tag, Duty::tags, pdu, "the reserved Initiator Task Tag (11.2.1.8)");
    expect(continued || (!tasks_.contains(itt) && !requests_.contains(itt)), Duty::tags, pdu,
           "an Initiator Task Tag that is in use (4.2.5.3)");
    ended_.erase(itt);
    if (!pdu.is(Opcode::scsi_command)) {
        requests_.insert_or_assign(itt, pdu.opcode());
    }
}

void Judge::look_at_full_feature(const Pdu& pdu) {
    bool may_follow = pdu.is(Opcode::data_out) || (pdu.is(Opcode::nop_out) && pdu.get(field::itt) == no_tag);
    expect(!logged_out_ || may_follow, Duty::logout, pdu, "a request after Logout (11.14)");
    switch (pdu.opcode()) {
    case Opcode::nop_out:
        return look_at_nop_out(pdu);
    case Opcode::scsi_command:
        return look_at_command(pdu);
    case Opcode::data_out:
        return look_at_data_out(pdu);
    case Opcode::task_request:
        return look_at_task_request(pdu);
    case Opcode::text_request:
        return look_at_text(pdu);
    case Opcode::logout_request:
        return look_at_logout(pdu);
    case Opcode::snack:
        expect(parameters.error_recovery_level > 0, Duty::recovery_level, pdu,
               "SNACK at ErrorRecoveryLevel 0 (11.16)");
        break;
    default:
        break;
    }
}

void Judge::look_at_nop_out(const Pdu& pdu) {
    std::uint32_t ttt = pdu.get32(field::ttt);
    bool wants_answer = pdu.get(field::itt) != no_tag;
    expect(wants_answer || pdu.has(field::immediate), Duty::nop, pdu,
           "NOP-Out without a tag that is not immediate (11.18.1)");
    if (ttt == no_tag) {
        return;
    }
    expect(!wants_answer, Duty::nop, pdu, "NOP-Out that asks and answers at once (11.18.1)");
    auto ping = pings_.find(ttt);
    expect(ping != pings_.end(), Duty::nop, pdu, "NOP-Out for a NOP-In that was not sent (11.18.2)");
    if (ping != pings_.end()) {
        expect(pdu.get(field::lun) == ping->second, Duty::nop, pdu, "NOP-Out with another LUN (11.18.2)");
        pings_.erase(ping);
    }
}

void Judge::look_at_task_request(const Pdu& pdu) {
    auto function = pdu.get32(field::function);
    auto referenced = pdu.get32(field::referenced_tag);
    expect(function >= 1 && function <= task_reassign, Duty::task_management, pdu, "no function (11.5.1)");
    expect(pdu.data.empty(), Duty::task_management, pdu, "a task management request with data (11.5.2)");
    expect(function != task_reassign || parameters.error_recovery_level == 2, Duty::recovery_level, pdu,
           "TASK REASSIGN below ErrorRecoveryLevel 2 (7.2.2)");
    expect(addresses_unit(function) || pdu.get(field::lun) == 0, Duty::task_management, pdu,
           "a LUN where it is reserved (11.5.3)");
    bool names_task = function == abort_task || function == task_reassign;
    if (!names_task) {
        expect(referenced == no_tag, Duty::task_management, pdu, "a Referenced Task Tag (11.5.4)");
        expect(pdu.get(field::ref_cmd_sn) == 0, Duty::task_management, pdu, "RefCmdSN is reserved (11.5.5)");
        return;
    }
    const Task* task = find(referenced);
    auto ended = ended_.find(referenced);
    const Pdu* command = task != nullptr ? &task->command : ended != ended_.end() ? &ended->second : nullptr;
    expect(command != nullptr, Duty::task_management, pdu, "a task that never was (11.5.4)");
    if (command == nullptr || function != abort_task) {
        return;
    }
    const Pdu& counted = command->has(field::immediate) ? pdu : *command;
    expect(pdu.get(field::ref_cmd_sn) == counted.get(field::cmd_sn), Duty::task_management, pdu,
           "RefCmdSN is not the task's CmdSN (11.5.5)");
    expect(pdu.get(field::lun) == command->get(field::lun), Duty::task_management, pdu,
           "ABORT TASK with another LUN than the task's (11.5.3)");
}

void Judge::look_at_text(const Pdu& pdu) {
    std::uint32_t ttt = pdu.get32(field::ttt);
    bool continued = text_ && text_->itt == pdu.get32(field::itt);
    expect(!(pdu.has(field::final) && pdu.has(field::continues)), Duty::text, pdu, "both F and C (11.10.2)");
    if (!continued) {
        expect(!text_ || ttt == no_tag, Duty::text, pdu, "a second Text Request in progress (11.10.3)");
        expect(ttt == no_tag, Duty::text, pdu, "a first Text Request with a tag (11.10.4)");
        expect(pdu.get(field::lun) == 0, Duty::text, pdu, "a LUN where it is reserved (11.10.4)");
        text_ = TextExchange{pdu.get32(field::itt), no_tag, 0, pdu.has(field::immediate), false};
        return;
    }
    expect(text_->answered, Duty::text, pdu, "a Text Request before the answer to the last (11.10)");
    expect(ttt == text_->ttt, Duty::text, pdu, "the Target Transfer Tag is not the response's (11.10.4)");
    expect(pdu.get(field::lun) == text_->lun, Duty::text, pdu, "the LUN is not the response's (11.10.4)");
    expect(pdu.has(field::immediate) == text_->immediate, Duty::text, pdu, "the I bit changed (11.10.3)");
    text_->answered = false;
}

void Judge::look_at_logout(const Pdu& pdu) {
    auto reason = pdu.get32(field::reason);
    expect(reason <= 2, Duty::logout, pdu, "no reason to log out (11.14.1)");
    expect(reason != 2 || parameters.error_recovery_level == 2, Duty::recovery_level, pdu,
           "Logout for recovery below ErrorRecoveryLevel 2 (7.2)");
    expect(reason != 1 || pdu.get(field::cid) == cid, Duty::logout, pdu, "Logout of another CID (11.14.3)");
    expect(pdu.data.empty(), Duty::logout, pdu, "Logout with data (11.14.2)");
    logged_out_ = true;
}

void Judge::note_sent(const Pdu& pdu) {
    note_numbers(pdu);
    std::uint32_t itt = pdu.get32(field::itt);
    switch (pdu.opcode()) {
    case Opcode::login_response:
        login_.answer = pdu;
        break;
    case Opcode::nop_in:
        if (pdu.get(field::ttt) != no_tag) {
            pings_[pdu.get32(field::ttt)] = pdu.get(field::lun);
        }
        requests_.erase(itt);
        break;
    case Opcode::text_response:
        if (text_ && text_->itt == itt) {
            text_->answered = true;
            text_->ttt = pdu.get32(field::ttt);
            text_->lun = pdu.get(field::lun);
        }
        if (pdu.has(field::final)) {
            text_.reset();
            requests_.erase(itt);
        }
        break;
    case Opcode::task_response:
    case Opcode::logout_response:
        requests_.erase(itt);
        break;
    default:
        note_task(pdu);
    }
}

void Judge::note_numbers(const Pdu& pdu) {
    if (pdu.is(Opcode::login_response) && pdu.has(field::status_class)) {
        return; // its numbers mean nothing (RFC 7143 section 11.13.5)
    }
    std::uint32_t stat_sn = pdu.get32(field::stat_sn);
    if (takes_stat_sn(pdu)) {
        stat_sn_end_ = stat_sn_end_ && is_before(stat_sn + 1, *stat_sn_end_) ? *stat_sn_end_ : stat_sn + 1;
    }
    std::uint32_t max_cmd_sn = pdu.get32(field::max_cmd_sn);
    if (!window_end_ || is_before(*window_end_, max_cmd_sn)) {
        window_end_ = max_cmd_sn;
    }
}

} // namespace iscsi::scripted

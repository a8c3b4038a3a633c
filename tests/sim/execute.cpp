// What becomes of the simulated target's tasks: executed, refused, answered, or not.
#include "sim/connection.hpp"

#include <algorithm>
#include <string_view>

namespace iscsi::sim {
namespace {

constexpr std::uint8_t good = 0x00;
constexpr std::uint8_t check_condition_status = 0x02;
constexpr std::uint8_t busy_status = 0x08;
constexpr std::uint8_t task_set_full_status = 0x28;

constexpr std::uint16_t attention_codes[] = {0x2900, 0x2903, 0x2907, 0x2a01, 0x2a09, 0x3f0e, 0x3f03, 0x2a06};

} // namespace

void Connection::execute(Task& task) {
    if (target_.is_stranger() && task.verb != Verb::other) {
        return target_.stage().fail("a command for the unit reaches another one in its place");
    }
    task.state = State::sending;
    if (!meet_fate(task)) {
        do_it(task, task.blocks);
    }
    if (task.state == State::sending) {
        put_off(task, send_task, target_.plan().execution_max / 8);
    }
}

bool Connection::meet_attention(Task& task) {
    constexpr std::uint32_t power_on = 0x062900;
    const std::uint32_t sense =
        task.sense != 0 ? task.sense : 0x060000U | target_.stage().dice.pick(attention_codes);
    if (sense == power_on) {
        target_.count_power_on();
    }
    check_condition(task, sense);
    return true;
}

/// True when nothing more is to be done of the command.
bool Connection::meet_fate(Task& task) {
    Dice& dice = target_.stage().dice;
    target_.stage().met.add(task.fate);
    if (task.fate != Fate::plain) {
        target_.stage().say("target: fate {} of ITT {:08x}", static_cast<unsigned>(task.fate), task.itt);
    }
    const bool inert = task.verb == Verb::other; // control's
    switch (task.fate) {
    case Fate::busy:
        task.status = busy_status;
        return true;
    case Fate::task_set_full:
        task.status = task_set_full_status;
        return true;
    case Fate::attention:
        return meet_attention(task);
    case Fate::aborted:
        if (task.verb == Verb::write) {
            do_it(task, dice.below(task.blocks + 1));
        }
        check_condition(task, 0x0b0000);
        return true;
    case Fate::target_failure:
        task.response = 1;
        return true;
    case Fate::medium_error:
    case Fate::hardware_error:
        if (inert) {
            return false;
        }
        target_.count_hard_error();
        check_condition(task, task.fate == Fate::medium_error ? 0x031100 : 0x044400);
        return true;
    case Fate::unsupported:
        if (task.verb != Verb::unmap && task.verb != Verb::write_same) {
            return false;
        }
        target_.refuse_feature();
        check_condition(task, 0x052000);
        return true;
    case Fate::silence:
        task.state = State::silent;
        target_.keep_silent();
        return true;
    case Fate::done_in_silence:
        do_it(task, task.blocks);
        task.state = State::silent;
        target_.keep_silent();
        return true;
    case Fate::short_transfer:
        if (inert || task.blocks == 0) {
            return false;
        }
        return do_less(task);
    default:
        return false;
    }
}

/// Good status, although some blocks at the end are missing.
bool Connection::do_less(Task& task) {
    const std::uint32_t missing = 1 + target_.stage().dice.below(task.blocks);
    do_it(task, task.blocks - missing);
    task.residual = std::min(missing * block_bytes, task.expected);
    return true;
}

void Connection::check_condition(Task& task, std::uint32_t sense) {
    task.status = check_condition_status;
    task.sense = sense;
}

/// As many of its blocks.
void Connection::do_it(Task& task, std::uint32_t blocks) {
    Medium& medium = target_.medium();
    Dice& dice = target_.stage().dice;
    switch (task.verb) {
    case Verb::read:
        for (std::uint32_t i = 0; i < blocks; ++i) {
            medium.read(task.first + i, task.data.data() + std::size_t{i} * block_bytes);
        }
        task.length = blocks * block_bytes;
        break;
    case Verb::write:
        for (std::uint32_t i = 0; i < blocks; ++i) {
            medium.write(task.first + i, task.data.data() + std::size_t{i} * block_bytes, task.fua);
        }
        break;
    case Verb::write_same:
        for (std::uint32_t i = 0; i < blocks; ++i) {
            medium.zero(task.first + i);
        }
        break;
    case Verb::flush:
        medium.flush();
        break;
    case Verb::unmap: {
        const auto first = static_cast<std::uint32_t>(number_at(task.data.data() + 8, 8));
        const auto count = static_cast<std::uint32_t>(number_at(task.data.data() + 16, 4));
        for (std::uint32_t i = 0; i < count && first + i < medium.blocks(); ++i) {
            if (!dice.one_in(3)) {
                medium.zero(first + i);
            }
        }
        break;
    }
    case Verb::other: {
        // INQUIRY, page 80h: the serial number of the one unit there is.
        if (target_.is_stranger()) {
            target_.stage().met.add(Encounter::stranger);
        }
        const std::string_view page(target_.is_stranger() ? "\x00\x80\x00\x04SIM2" : "\x00\x80\x00\x04SIM1",
                                    8);
        task.length = std::min(static_cast<std::uint32_t>(page.size()), task.expected);
        task.residual = task.expected - task.length;
        std::copy_n(reinterpret_cast<const std::byte*>(page.data()), task.length, task.data.begin());
        break;
    }
    }
    if (task.fate == Fate::recovered) {
        check_condition(task, 0x011700);
    }
}

void Connection::send_next(Task& task) {
    const bool data_left = task.reads && task.status != busy_status && task.sent < task.length;
    if (data_left) {
        send_data(task);
    } else {
        send_response(task);
    }
}

void Connection::send_data(Task& task) {
    Dice& dice = target_.stage().dice;
    const std::uint32_t burst_left = max_burst_ - task.sent % max_burst_;
    std::uint32_t bytes = std::min({initiator_segment_, burst_left, task.length - task.sent});
    if (dice.one_in(4)) {
        bytes = 1 + dice.below(bytes);
    }
    const bool last = task.sent + bytes == task.length;
    const bool breach = !target_.calm() && task.data_sn > 0;
    task.breach |= breach && (task.fate == Fate::wrong_data_sn || task.fate == Fate::wrong_offset);
    Header pdu = make_header(Opcode::data_in);
    set<field::itt>(pdu, task.itt);
    set<field::ttt>(pdu, scripted::no_tag);
    set<field::data_sn>(pdu, task.data_sn++ + (breach && task.fate == Fate::wrong_data_sn ? 1 : 0));
    set<field::buffer_offset>(pdu, task.sent - (breach && task.fate == Fate::wrong_offset ? 1 : 0));
    set<field::final>(pdu, last || bytes == burst_left ? 1 : 0);
    const base::Bytes data(task.data.data() + task.sent, bytes);
    task.sent += bytes;
    if (last && task.status == good && task.response == 0 && dice.one_in(2)) {
        set<field::final>(pdu);
        set<field::has_status>(pdu);
        set<field::underflow>(pdu, task.residual > 0 ? 1 : 0);
        set<field::residual>(pdu, task.residual);
        task.stat_sn = stat_sn_;
        task.state = State::answered;
        --open_tasks_;
        note_breach(task);
        return send(pdu, data, true);
    }
    send(pdu, data, false);
    put_off(task, send_task, target_.plan().execution_max / 8);
}

/// Its Data-In was wrong: the status that comes now must not be believed.
void Connection::note_breach(const Task& task) {
    if (task.breach && !std::exchange(breached_, true)) {
        breach_sn_ = stat_sn_;
    }
}

void Connection::send_response(Task& task) {
    Header pdu = make_header(Opcode::scsi_response);
    set<field::final>(pdu);
    set<field::itt>(pdu, task.itt);
    set<field::response>(pdu, task.response);
    set<field::status>(pdu, task.status);
    const std::uint32_t residual =
        task.status == good || !task.reads ? task.residual : task.expected - task.sent;
    set<field::underflow>(pdu, residual > 0 ? 1 : 0);
    set<field::residual>(pdu, residual);
    set<field::exp_data_sn>(pdu, task.reads ? task.data_sn : 0);
    std::array<std::byte, 20> sense{};
    sense[1] = std::byte{18};
    sense[2] = std::byte{0x70};
    sense[4] = static_cast<std::byte>(task.sense >> 16);
    sense[9] = std::byte{10};
    sense[14] = static_cast<std::byte>(task.sense >> 8);
    sense[15] = static_cast<std::byte>(task.sense);
    if (!target_.calm() && task.fate == Fate::lost_status) {
        ++stat_sn_;
        breached_ = true;
        breach_sn_ = stat_sn_;
    }
    note_breach(task);
    task.stat_sn = stat_sn_;
    task.state = State::answered;
    --open_tasks_;
    const base::Bytes data = task.status == check_condition_status ? base::Bytes(sense) : base::Bytes();
    send(pdu, data, true);
    if (!target_.calm() && task.fate == Fate::repeated_status) {
        breached_ = true;
        breach_sn_ = stat_sn_;
        send(pdu, data, true);
    }
}

} // namespace iscsi::sim

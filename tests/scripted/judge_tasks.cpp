// The judge over commands and their data: RFC 7143 sections 4.2.5, 11.3, 11.7, 11.8 and 13.

#include "scripted/judge.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace iscsi::scripted {
namespace {

constexpr std::uint64_t attribute_max = 4;

} // namespace

void Judge::look_at_command(const Pdu& pdu) {
    bool read = pdu.has(field::read);
    bool write = pdu.has(field::write);
    std::uint32_t expected = pdu.get32(field::expected_length);
    expect(write || pdu.has(field::final), Duty::command, pdu, "neither F nor W (11.3.1)");
    expect(pdu.get(field::attribute) <= attribute_max, Duty::command, pdu, "no task attribute (11.3.1)");
    expect(read || write || expected == 0, Duty::command, pdu, "a length without a direction (11.3.1)");
    expect(!(read && write) || !pdu.ahs.empty(), Duty::command, pdu,
           "both directions without an AHS (11.3.4)");
    expect(unsolicited_itt_ == no_tag, Duty::data_out, pdu,
           "a command before the unsolicited data of the last (4.2.5.2)");
    Task task;
    task.command = pdu;
    task.expected = expected;
    if (write) {
        task.data.resize(expected);
        look_at_immediate_data(pdu, task);
    } else {
        expect(pdu.data.empty(), Duty::command, pdu, "data with a command that writes nothing (11.3.6)");
    }
    tasks_.insert_or_assign(pdu.get32(field::itt), std::move(task));
}

void Judge::look_at_immediate_data(const Pdu& pdu, Task& task) {
    auto bytes = static_cast<std::uint32_t>(pdu.data.size());
    bool follows = !pdu.has(field::final);
    expect(bytes == 0 || parameters.immediate_data, Duty::command, pdu, "immediate data (13.11)");
    expect(bytes <= parameters.first_burst, Duty::command, pdu,
           "immediate data above FirstBurstLength (13.14)");
    expect(bytes <= task.expected, Duty::command, pdu, "more immediate data than is expected (11.3.4)");
    expect(!follows || !parameters.initial_r2t, Duty::command, pdu,
           "unsolicited data is announced, but InitialR2T=Yes (13.10)");
    expect(!follows || bytes < task.expected, Duty::command, pdu, "F is 0, and nothing can follow (11.3.4)");
    bytes = std::min(bytes, task.expected);
    std::copy_n(pdu.data.begin(), bytes, task.data.begin());
    task.received = bytes;
    task.asked = bytes;
    if (follows) {
        // All that is allowed, or only the immediate data (RFC 7143 section 11.3.4).
        task.unsolicited = {no_tag, bytes, std::min(task.expected, parameters.first_burst), 0};
        task.unsolicited_open = true;
        task.asked = task.unsolicited.end;
        unsolicited_itt_ = pdu.get32(field::itt);
    }
}

void Judge::look_at_data_out(const Pdu& pdu) {
    std::uint32_t itt = pdu.get32(field::itt);
    Task* task = find(itt);
    bool solicited = pdu.get(field::ttt) != no_tag;
    expect(pdu.data.size() > 0, Duty::data_out, pdu, "Data-Out without data (11.7.7)");
    if (unsolicited_itt_ == itt && !solicited && pdu.has(field::final)) {
        unsolicited_itt_ = no_tag;
    }
    if (task == nullptr) {
        // What was on its way when the task ended is nobody's fault.
        expect(ended_.contains(itt), Duty::data_out, pdu, "Data-Out of a task that never was (11.7.4)");
        return;
    }
    expect(task->command.has(field::write), Duty::data_out, pdu, "Data-Out of a command that writes nothing");
    if (solicited) {
        look_at_solicited(pdu, *task);
    } else {
        look_at_unsolicited(pdu, *task);
    }
}

void Judge::look_at_unsolicited(const Pdu& pdu, Task& task) {
    expect(pdu.get(field::lun) == 0, Duty::data_out, pdu, "a LUN without a tag is reserved (11.7.4)");
    expect(task.unsolicited_open, Duty::data_out, pdu, "unsolicited data that was not announced (11.3.1)");
    if (!task.unsolicited_open) {
        return;
    }
    take_data(pdu, task, task.unsolicited);
    task.unsolicited_open = !pdu.has(field::final);
}

void Judge::look_at_solicited(const Pdu& pdu, Task& task) {
    std::uint32_t ttt = pdu.get32(field::ttt);
    auto transfer = std::ranges::find(task.transfers, ttt, &Transfer::ttt);
    expect(transfer != task.transfers.end(), Duty::data_out, pdu, "a Target Transfer Tag of no R2T (11.7.4)");
    if (transfer == task.transfers.end()) {
        return;
    }
    expect(transfer == task.transfers.begin(), Duty::data_out, pdu, "R2Ts are answered out of order (11.8)");
    expect(pdu.get(field::lun) == task.command.get(field::lun), Duty::data_out, pdu,
           "another LUN than the command's (11.7.4)");
    take_data(pdu, task, *transfer);
    if (pdu.has(field::final)) {
        task.transfers.erase(transfer);
    }
}

void Judge::take_data(const Pdu& pdu, Task& task, Transfer& transfer) {
    std::uint32_t offset = pdu.get32(field::buffer_offset);
    auto bytes = static_cast<std::uint32_t>(pdu.data.size());
    expect(pdu.get32(field::data_sn) == transfer.data_sn, Duty::data_out, pdu,
           fmt::format("DataSN is not {} (11.7.5)", transfer.data_sn));
    expect(offset == transfer.next, Duty::data_out, pdu,
           fmt::format("the offset is not {} (11.7.6)", transfer.next));
    bool inside = offset <= transfer.end && bytes <= transfer.end - offset;
    expect(inside, Duty::data_out, pdu, "more data than may be sent (11.8, 13.14)");
    bool last = offset + bytes == transfer.end;
    expect(last == pdu.has(field::final), Duty::data_out, pdu,
           "F is not on the last PDU, or is on another (11.7.1)");
    expect(last || bytes % 4 == 0, Duty::data_out, pdu, "padding inside a sequence (11.7.7)");
    ++transfer.data_sn;
    transfer.next = offset + bytes;
    if (inside) {
        std::copy(pdu.data.begin(), pdu.data.end(), task.data.begin() + offset);
        task.received += bytes;
    }
}

void Judge::note_task(const Pdu& pdu) {
    std::uint32_t itt = pdu.get32(field::itt);
    bool status = pdu.is(Opcode::scsi_response) || (pdu.is(Opcode::data_in) && pdu.has(field::has_status));
    if (pdu.is(Opcode::r2t)) {
        note_r2t(pdu);
    } else if (status) {
        forget(itt);
    }
}

void Judge::note_r2t(const Pdu& pdu) {
    Task* task = find(pdu.get32(field::itt));
    if (task == nullptr) {
        return;
    }
    std::uint32_t offset = pdu.get32(field::buffer_offset);
    std::uint32_t end = offset + pdu.get32(field::desired_length);
    task->transfers.push_back({pdu.get32(field::ttt), offset, end, 0});
    task->asked = std::max(task->asked, end);
}

} // namespace iscsi::scripted

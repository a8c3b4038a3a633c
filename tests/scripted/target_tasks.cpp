// The scripted target in full feature phase, as a good target behaves: RFC 7143 sections 4.2.5 and 11.

#include "scripted/target.hpp"

#include <algorithm>
#include <optional>

namespace iscsi::scripted {
namespace {

// Task management functions (RFC 7143 section 11.5.1).
constexpr std::uint64_t abort_task = 1;
constexpr std::uint64_t clear_aca = 3;
constexpr std::uint64_t unit_reset = 5;
constexpr std::uint64_t cold_reset = 7;
// Responses to them (11.6.1).
constexpr std::uint8_t function_complete = 0;
constexpr std::uint8_t no_such_task = 1;
constexpr std::uint8_t not_supported = 5;

} // namespace

void Target::progress(std::uint32_t itt) {
    Task* task = judge.find(itt);
    if (task == nullptr || task->scripted || task->executed || task->unsolicited_open) {
        return;
    }
    bool write = task->command.has(field::write);
    if (write && task->received < task->expected) {
        ask_for_data(itt, *task);
        return;
    }
    execute(itt);
}

void Target::ask_for_data(std::uint32_t itt, Task& task) {
    while (task.asked < task.expected && task.transfers.size() < judge.parameters.max_outstanding_r2t) {
        std::uint32_t offset = task.asked;
        std::size_t open = task.transfers.size();
        Pdu ask(Opcode::r2t);
        ask.fill(field::itt, itt)
            .fill(field::lun, task.command.get(field::lun))
            .fill(field::ttt, next_ttt_++)
            .fill(field::r2t_sn, task.r2t_sn++)
            .fill(field::buffer_offset, offset)
            .fill(field::desired_length, std::min(task.expected - offset, judge.parameters.max_burst));
        send(std::move(ask));
        if (task.transfers.size() == open) {
            return; // a script kept it
        }
    }
}

void Target::execute(std::uint32_t itt) {
    judge.find(itt)->executed = true;
    Pdu command = judge.find(itt)->command;
    std::optional<Rule> rule = executing_rule_for(command);
    if (!rule || obey(*rule, command, true)) {
        carry_out(itt);
    }
}

void Target::carry_out(std::uint32_t itt) {
    Task* found = judge.find(itt);
    if (found == nullptr) {
        return; // aborted meanwhile
    }
    Task task = *found;
    ScsiResult result = disks.execute(task.command.get(field::lun), task.command.cdb(), task.data);
    if (result.status == scsi_status::good && task.command.has(field::read)) {
        send_data(task, itt, result);
        return;
    }
    Pdu response(Opcode::scsi_response);
    response.fill(field::itt, itt).fill(field::status, result.status);
    if (result.status != scsi_status::good) {
        response.with_data(sense_segment(result.sense));
    }
    if (result.status != scsi_status::good && task.command.has(field::read) && task.expected > 0) {
        response.fill(field::underflow).fill(field::residual, task.expected);
    }
    send(std::move(response));
}

void Target::send_data(const Task& task, std::uint32_t itt, const ScsiResult& result) {
    std::size_t total = std::min<std::size_t>(result.data.size(), task.expected);
    std::size_t segment = judge.parameters.initiator_segment;
    std::size_t burst = judge.parameters.max_burst;
    bool underflow = result.data.size() < task.expected;
    bool overflow = result.data.size() > task.expected;
    std::size_t residual = underflow ? task.expected - total : result.data.size() - total;
    std::uint32_t data_sn = 0;
    auto finish = [&](Pdu& pdu) {
        pdu.fill(field::underflow, underflow ? 1 : 0).fill(field::overflow, overflow ? 1 : 0);
        pdu.fill(field::residual, residual).fill(field::status, result.status);
    };
    for (std::size_t offset = 0; offset < total;) {
        std::size_t burst_end = std::min(total, (offset / burst + 1) * burst);
        std::size_t bytes = std::min(segment, burst_end - offset);
        auto begin = result.data.begin() + static_cast<long>(offset);
        Pdu pdu(Opcode::data_in);
        pdu.fill(field::itt, itt).fill(field::data_sn, data_sn++).fill(field::buffer_offset, offset);
        pdu.with_data(ByteVector(begin, begin + static_cast<long>(bytes)));
        offset += bytes;
        pdu.fill(field::final, offset == burst_end ? 1 : 0);
        if (offset == total && config.status_in_data) {
            pdu.fill(field::has_status);
            finish(pdu);
            send(std::move(pdu));
            return;
        }
        send(std::move(pdu));
    }
    Pdu response(Opcode::scsi_response);
    response.fill(field::itt, itt).fill(field::exp_data_sn, data_sn);
    finish(response);
    send(std::move(response));
}

void Target::answer_nop(const Pdu& request) {
    if (request.get(field::itt) == no_tag) {
        return;
    }
    ByteVector echo = request.data;
    echo.resize(std::min<std::size_t>(echo.size(), judge.parameters.initiator_segment));
    send(Pdu(Opcode::nop_in).fill(field::itt, request.get(field::itt)).with_data(std::move(echo)));
}

void Target::answer_task_request(const Pdu& request) {
    std::uint64_t function = request.get(field::function);
    std::uint64_t lun = request.get(field::lun);
    std::uint8_t answer = function_complete;
    if (function == abort_task) {
        std::uint32_t referenced = request.get32(field::referenced_tag);
        answer = judge.find(referenced) != nullptr ? function_complete : no_such_task;
        judge.forget(referenced);
    } else if (function > cold_reset || function == 0) {
        answer = not_supported;
    } else if (function != clear_aca) {
        std::vector<std::uint32_t> affected;
        for (const auto& [itt, task] : judge.tasks()) {
            if (function > unit_reset || task.command.get(field::lun) == lun) {
                affected.push_back(itt);
            }
        }
        std::ranges::for_each(affected, [this](std::uint32_t itt) { judge.forget(itt); });
    }
    send(Pdu(Opcode::task_response).fill(field::itt, request.get(field::itt)).fill(field::response, answer));
}

void Target::answer_logout(const Pdu& request) {
    send(Pdu(Opcode::logout_response).fill(field::itt, request.get(field::itt)));
    ending_ = Ending::orderly;
}

} // namespace iscsi::scripted

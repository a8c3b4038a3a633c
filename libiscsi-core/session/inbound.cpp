// The session's way in: PDUs of tasks, each held against the task it names before anything is stored or
// believed (RFC 7143 sections 11.4, 11.7, 11.8). What does not fit ends the connection: at
// ErrorRecoveryLevel 0 there is no smaller repair.

#include "session/session.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

namespace iscsi::session {
namespace {

constexpr std::uint8_t status_good = 0x00;
constexpr std::uint8_t status_condition_met = 0x04;
constexpr std::uint8_t status_intermediate = 0x10;
constexpr std::uint8_t status_intermediate_condition_met = 0x14;

/// Those that may ride on a Data-In (RFC 7143 section 11.7.3).
bool is_good(std::uint8_t status) {
    return status == status_good || status == status_condition_met || status == status_intermediate ||
           status == status_intermediate_condition_met;
}

/// RFC 7143 section 11.4.3: neither a named response nor a vendor's.
bool is_reserved_response(std::uint8_t response) {
    return response > static_cast<std::uint8_t>(wire::ServiceResponse::target_failure) && response < 0x80;
}

/// PDUs a target may send in full feature phase to a session that sends no Text.
bool is_expected(wire::Opcode opcode) {
    switch (opcode) {
    case wire::Opcode::nop_in:
    case wire::Opcode::scsi_response:
    case wire::Opcode::task_management_response:
    case wire::Opcode::data_in:
    case wire::Opcode::logout_response:
    case wire::Opcode::r2t:
    case wire::Opcode::async_message:
    case wire::Opcode::reject:
        return true;
    default:
        return false;
    }
}

} // namespace

tl::unexpected<base::Error> Session::violation(std::string detail) {
    return base::fail(base::Errc::protocol, std::move(detail));
}

tl::unexpected<base::Error> Session::violation(Command& command, std::string detail) {
    command.blamed = true;
    return violation(std::move(detail));
}

/// The receiver refused a PDU by its header alone.
void Session::blame_task_of_header() {
    const wire::Bhs& header = connection_.receiver.header();
    bool of_a_task =
        header.opcode() == wire::Opcode::data_in || header.opcode() == wire::Opcode::scsi_response;
    if (Task* task = tasks_.find(header.itt); of_a_task && task != nullptr) {
        task->command->blamed = true;
    }
}

/// A PDU for no task is a mistake of the target's, or late: what comes for a task that task management ended
/// is discarded (RFC 7143 section 4.2.3.3).
base::Result<void> Session::unless_aborted(std::string_view pdu, std::uint32_t itt) const {
    if (tasks_.was_aborted(itt)) {
        return {};
    }
    return violation(fmt::format("{} for a task that does not exist: ITT 0x{:08x}", pdu, itt));
}

base::Result<void> Session::take_pdus() {
    for (;;) {
        base::Result<Receiver::Step> step = connection_.receiver.next();
        if (!step) [[unlikely]] {
            if (step.error().code == base::Errc::protocol) {
                blame_task_of_header();
            }
            return base::fail(std::move(step.error()));
        }
        if (*step == Receiver::Step::starved) {
            return {};
        }
        if (*step == Receiver::Step::header) {
            if (base::Result<void> fits = on_header(); !fits) [[unlikely]] {
                return fits;
            }
            if (!connection_.receiver.skip_to_next()) {
                continue;
            }
        }
        if (base::Result<void> taken = on_pdu(); !taken) [[unlikely]] {
            return taken;
        }
    }
}

base::Result<void> Session::on_header() {
    wire::Opcode opcode = connection_.receiver.header().opcode();
    if (opcode == wire::Opcode::data_in) {
        return before_data_in(connection_.receiver.as<wire::DataIn>());
    }
    if (!is_expected(opcode)) [[unlikely]] {
        return violation(fmt::format("unexpected PDU: {} (opcode 0x{:02x})", wire::text(opcode),
                                     static_cast<unsigned>(opcode)));
    }
    return {};
}

base::Result<void> Session::on_pdu() {
    const Receiver& receiver = connection_.receiver;
    // ExpCmdSN and MaxCmdSN lie at the same place in all of them.
    const auto& any = receiver.as<wire::ScsiResponse>();
    window_.update(base::CmdSn(any.exp_cmd_sn), base::CmdSn(any.max_cmd_sn));
    switch (receiver.header().opcode()) {
    case wire::Opcode::data_in:
        return on_data_in(receiver.as<wire::DataIn>());
    case wire::Opcode::scsi_response:
        return on_scsi_response(any);
    case wire::Opcode::r2t:
        return on_r2t(receiver.as<wire::R2t>());
    case wire::Opcode::nop_in:
        return on_nop_in(receiver.as<wire::NopIn>());
    case wire::Opcode::async_message:
        return on_async(receiver.as<wire::AsyncMessage>());
    case wire::Opcode::reject:
        return on_reject(receiver.as<wire::Reject>());
    case wire::Opcode::task_management_response:
        return on_task_management_response(receiver.as<wire::TaskManagementResponse>());
    default:
        return on_logout_response(receiver.as<wire::LogoutResponse>());
    }
}

base::Result<void> Session::before_data_in(const wire::DataIn& pdu) {
    Task* task = tasks_.find(pdu.itt);
    if (task == nullptr) [[unlikely]] {
        return unless_aborted("Data-In", pdu.itt);
    }
    if (task->direction != Direction::in) [[unlikely]] {
        return violation(*task->command, "Data-In for a command that reads nothing");
    }
    if (pdu.data_sn != task->data_sn) [[unlikely]] {
        return violation(*task->command, fmt::format("Data-In with DataSN {}, expected {}", pdu.data_sn.get(),
                                                     task->data_sn));
    }
    std::uint32_t bytes = pdu.data_segment_length;
    std::uint32_t offset = pdu.buffer_offset;
    if (offset > task->expected_bytes || bytes > task->expected_bytes - offset) [[unlikely]] {
        return violation(*task->command, fmt::format("Data-In of {} bytes at {} outside the {} expected",
                                                     bytes, offset, task->expected_bytes));
    }
    bool in_order = parameters_.data_pdu_in_order && parameters_.data_sequence_in_order;
    if (in_order && bytes > 0 && offset != task->received_bytes) [[unlikely]] {
        return violation(*task->command,
                         fmt::format("Data-In at offset {}, expected {}", offset, task->received_bytes));
    }
    if (bytes > task->expected_bytes - task->received_bytes) [[unlikely]] {
        return violation(*task->command, "more Data-In than the command expects");
    }
    if ((pdu.flags & wire::data_in_flag::status) != 0 && (pdu.flags & wire::final_bit) == 0) [[unlikely]] {
        return violation(*task->command, "Data-In with status but without the F bit");
    }
    if (bytes > 0) {
        const Command& command = *task->command;
        if (command.sink != nullptr) {
            const bool seen = command.registered.empty() || connection_.parameters.data_digest;
            connection_.receiver.place(*command.sink, command.sink_offset + offset,
                                       seen ? base::RegisteredSpan()
                                            : command.registered.part(offset, bytes));
        } else {
            connection_.receiver.place(command.data_in.data() + offset);
        }
    }
    return {};
}

base::Result<void> Session::on_data_in(const wire::DataIn& pdu) {
    ++statistics_.datain_pdus;
    bool with_status = (pdu.flags & wire::data_in_flag::status) != 0;
    if (base::StatSn stat_sn(pdu.stat_sn); with_status && !connection_.take_status(stat_sn)) [[unlikely]] {
        return connection_.status_gap(stat_sn);
    }
    Task* found = tasks_.find(pdu.itt);
    if (found == nullptr) [[unlikely]] {
        return {}; // It was aborted; before_data_in let it pass, and its data went nowhere.
    }
    Task& task = *found;
    ++task.data_sn;
    if (std::uint32_t bytes = pdu.data_segment_length; bytes > 0) {
        task.received_bytes += bytes;
        task.moved_at = now_;
    }
    if (!with_status) {
        return {};
    }
    if (!is_good(pdu.status)) [[unlikely]] {
        return violation(
            *task.command,
            fmt::format("Data-In with SCSI status 0x{:02x}: only good status may ride on data", pdu.status));
    }
    task.command->status = pdu.status;
    base::Result<void> taken = take_residual(task, pdu.flags, pdu.residual_count);
    if (taken) [[likely]] {
        finish(task, Outcome::responded);
    }
    return taken;
}

base::Result<void> Session::on_scsi_response(const wire::ScsiResponse& pdu) {
    ++statistics_.scsirsp_pdus;
    if (base::StatSn stat_sn(pdu.stat_sn); !connection_.take_status(stat_sn)) [[unlikely]] {
        return connection_.status_gap(stat_sn);
    }
    Task* task = tasks_.find(pdu.itt);
    if (task == nullptr) [[unlikely]] {
        return unless_aborted("SCSI Response", pdu.itt);
    }
    if (is_reserved_response(pdu.response)) [[unlikely]] {
        return violation(*task->command,
                         fmt::format("SCSI Response with the reserved response code 0x{:02x}", pdu.response));
    }
    Command& command = *task->command;
    command.response = pdu.response;
    if (pdu.response != static_cast<std::uint8_t>(wire::ServiceResponse::completed_at_target)) [[unlikely]] {
        finish(*task, Outcome::target_failure);
        return {};
    }
    command.status = pdu.status;
    // Targets exist that leave ExpDataSN zero whatever they sent; the count of bytes still holds then.
    std::uint32_t sent = pdu.exp_data_sn;
    if (task->direction == Direction::in && sent != 0 && sent != task->data_sn && is_good(pdu.status))
        [[unlikely]] {
        return violation(*task->command,
                         fmt::format("ExpDataSN {} after {} Data-In PDUs", sent, task->data_sn));
    }
    if (base::Result<void> taken = take_residual(*task, pdu.flags, pdu.residual_count); !taken) [[unlikely]] {
        return taken;
    }
    if (connection_.receiver.data_bytes() > 0) {
        if (base::Result<void> taken = take_sense(command); !taken) [[unlikely]] {
            return taken;
        }
    }
    finish(*task, Outcome::responded);
    return {};
}

base::Result<void> Session::take_residual(Task& task, std::uint8_t flags, std::uint32_t count) {
    static_assert(wire::response_flag::underflow == wire::data_in_flag::underflow &&
                  wire::response_flag::overflow == wire::data_in_flag::overflow);
    bool underflow = (flags & wire::response_flag::underflow) != 0;
    bool overflow = (flags & wire::response_flag::overflow) != 0;
    if (underflow && overflow) [[unlikely]] {
        return violation(*task.command, "residual underflow and overflow at once");
    }
    if (underflow && count > task.expected_bytes) [[unlikely]] {
        return violation(*task.command, fmt::format("residual underflow of {} bytes, only {} were expected",
                                                    count, task.expected_bytes));
    }
    task.command->underflow_bytes = underflow ? count : 0;
    task.command->overflow_bytes = overflow ? count : 0;
    std::uint32_t due = task.expected_bytes - task.command->underflow_bytes;
    if (!is_good(task.command->status)) [[unlikely]] {
        return {};
    }
    if (task.direction == Direction::in && task.received_bytes != due) [[unlikely]] {
        return violation(*task.command, fmt::format("good status with {} bytes of data, {} were due",
                                                    task.received_bytes, due));
    }
    // What was never sent was not written, whatever the target says.
    if (task.direction == Direction::out && task.made_bytes < due) [[unlikely]] {
        return violation(*task.command, fmt::format("good status for a write with {} of {} bytes sent",
                                                    task.made_bytes, due));
    }
    return {};
}

base::Result<void> Session::take_sense(Command& command) {
    base::Bytes kept = connection_.receiver.kept();
    std::uint32_t segment = connection_.receiver.data_bytes();
    if (segment < 2) [[unlikely]] {
        return violation(command, "SCSI Response with a data segment of one byte");
    }
    std::uint32_t length = base::load<base::Be16>(kept).get();
    if (length > segment - 2) [[unlikely]] {
        return violation(command,
                         fmt::format("SenseLength {} in a data segment of {} bytes", length, segment));
    }
    std::size_t taken = std::min<std::size_t>(length, kept.size() - 2);
    std::memcpy(command.sense.data(), kept.data() + 2, taken);
    command.sense_bytes = static_cast<std::uint16_t>(taken);
    return {};
}

base::Result<void> Session::on_r2t(const wire::R2t& pdu) {
    ++statistics_.r2t_pdus;
    Task* task = tasks_.find(pdu.itt);
    if (task == nullptr) [[unlikely]] {
        return unless_aborted("R2T", pdu.itt);
    }
    std::uint32_t offset = pdu.buffer_offset;
    std::uint32_t bytes = pdu.desired_data_transfer_length;
    if (task->direction != Direction::out) [[unlikely]] {
        return violation(*task->command, "R2T for a command that writes nothing");
    }
    if (pdu.lun != task->command->lun.value()) [[unlikely]] {
        return violation(*task->command, "R2T with a LUN other than its command's");
    }
    if (pdu.ttt == base::reserved_tag) [[unlikely]] {
        return violation(*task->command, "R2T with the reserved Target Transfer Tag");
    }
    if (pdu.r2t_sn != task->data_sn) [[unlikely]] {
        return violation(*task->command,
                         fmt::format("R2TSN {}, expected {}", pdu.r2t_sn.get(), task->data_sn));
    }
    if (bytes == 0 || bytes > parameters_.max_burst_bytes) [[unlikely]] {
        return violation(*task->command, fmt::format("R2T for {} bytes, MaxBurstLength is {}", bytes,
                                                     parameters_.max_burst_bytes));
    }
    if (offset > task->expected_bytes || bytes > task->expected_bytes - offset) [[unlikely]] {
        return violation(*task->command, fmt::format("R2T for {} bytes at {} outside the {} to be written",
                                                     bytes, offset, task->expected_bytes));
    }
    if (sequences_.full()) [[unlikely]] {
        // Of writes that were refused after they had been asked for, behind a long one that is being sent.
        sequences_.keep_if([this](const auto& sequence) { return tasks_.find(sequence.itt) != nullptr; });
    }
    if (task->r2ts_open >= parameters_.max_outstanding_r2t || sequences_.full()) [[unlikely]] {
        return violation(*task->command,
                         fmt::format("R2T above MaxOutstandingR2T {}", parameters_.max_outstanding_r2t));
    }
    // At ErrorRecoveryLevel 0 nothing is asked for again. Order is not insisted on: what is whole is written.
    if (!task->asked.add(offset, offset + bytes)) [[unlikely]] {
        return violation(
            *task->command,
            fmt::format("R2T for {} bytes at {}, some of which it was given or asked for before, "
                        "or with too many gaps",
                        bytes, offset));
    }
    ++task->data_sn;
    ++task->r2ts_open;
    sequences_.push({pdu.itt, pdu.ttt, offset, offset + bytes, 0});
    return {};
}

void Session::finish(Task& task, Outcome outcome) {
    task.command->outcome = outcome;
    task.command->received_bytes = task.received_bytes;
    if (task.payloads_queued > 0) {
        // Its buffer is still being sent from; tx_done completes it.
        task.state = Task::State::answered;
        watch(task);
        return;
    }
    complete(task);
}

void Session::complete(Task& task) {
    long_reads_ -= is_long_read(*task.command) ? 1 : 0;
    completed_.push(*task.command);
    tasks_.release(task);
}

} // namespace iscsi::session

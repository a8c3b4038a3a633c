// The session's way out: PDUs are made only when the socket can take them, so that each carries the newest
// ExpStatSN and an ended task sends nothing more.

#include "session/session.hpp"

#include <algorithm>

namespace iscsi::session {

bool Session::send_next() {
    if (send_urgent()) {
        return true;
    }
    if (unsolicited_.offset < unsolicited_.end && send_data_out(unsolicited_)) {
        return true;
    }
    if (logging_out_) [[unlikely]] {
        if (logout_sent_) {
            return false;
        }
        send_logout();
        return true;
    }
    if (management_.step != RecoveryStep::none) [[unlikely]] {
        hold_back();
        if (management_.queued) {
            send_task_management();
            return true;
        }
    }
    // A PDU of data, a command: neither waits for all of the other.
    const bool may_command = !waiting_.empty() && window_.is_open() && tasks_.has_free();
    if (!(may_command && command_is_next_) && send_sequences()) {
        command_is_next_ = true;
        return true;
    }
    if (may_command) {
        command_is_next_ = false;
        send_command(*waiting_.pop());
        return true;
    }
    if (!waiting_.empty()) {
        note_blocked();
    }
    if (connection_.unacknowledged >= unacknowledged_max) [[unlikely]] {
        send_nop_out(base::reserved_tag, {});
        return true;
    }
    return false;
}

bool Session::send_urgent() {
    if (connection_.pong_count > 0) [[unlikely]] {
        Pong pong = connection_.pongs[0];
        std::move(connection_.pongs.begin() + 1, connection_.pongs.end(), connection_.pongs.begin());
        --connection_.pong_count;
        send_nop_out(base::reserved_tag, pong);
        return true;
    }
    if (connection_.ping_queued) [[unlikely]] {
        connection_.ping_queued = false;
        if (!logging_out_) {
            send_nop_out(connection_.ping_itt, {});
            return true;
        }
    }
    return false;
}

bool Session::send_sequences() {
    while (!sequences_.empty()) {
        DataOutSequence& sequence = sequences_.front();
        bool sent = send_data_out(sequence);
        if (sequence.offset >= sequence.end) {
            sequences_.pop();
        }
        if (sent) {
            return true;
        }
    }
    return false;
}

bool Session::send_data_out(DataOutSequence& sequence) {
    Task* task = tasks_.find(sequence.itt);
    if (task == nullptr) {
        sequence.offset = sequence.end; // Answered already: the target wants no more of it.
        return false;
    }
    std::uint32_t bytes = std::min(sequence.end - sequence.offset, data_out_bytes_max_);
    bool last = sequence.offset + bytes == sequence.end;
    auto& pdu = connection_.transmitter.begin<wire::DataOut>();
    pdu.flags = last ? wire::final_bit : std::uint8_t{0};
    // The LUN belongs to the tag of an R2T and is reserved otherwise (RFC 7143 section 11.7.4).
    pdu.lun = sequence.ttt != base::reserved_tag ? task->command->lun.value() : 0;
    pdu.itt = sequence.itt;
    pdu.ttt = sequence.ttt;
    pdu.exp_stat_sn = connection_.acknowledge();
    pdu.data_sn = sequence.data_sn++;
    pdu.buffer_offset = sequence.offset;
    end_with_data(*task, sequence.offset, bytes);
    ++task->payloads_queued;
    task->made_bytes += bytes;
    task->moved_at = now_;
    ++statistics_.dataout_pdus;
    sequence.offset += bytes;
    if (last && sequence.ttt != base::reserved_tag) {
        // From here on the target may have it all and ask for more, long before the socket says so.
        --task->r2ts_open;
    }
    return true;
}

void Session::end_with_data(const Task& task, std::uint32_t offset, std::uint32_t bytes) {
    const Command& command = *task.command;
    if (command.registered.empty()) {
        connection_.transmitter.end(command.data_out.subspan(offset, bytes), tasks_.slot_of(task));
    } else {
        connection_.transmitter.end(command.registered.part(offset, bytes), tasks_.slot_of(task));
    }
}

void Session::send_command(Command& command) {
    Task& task = tasks_.claim();
    task.command = &command;
    task.cmd_sn = window_.take();
    task.state = Task::State::active;
    task.direction = command.direction;
    task.received_bytes = 0;
    task.made_bytes = 0;
    task.times_put_off = 0;
    task.asked.clear();
    task.data_sn = 0;
    task.payloads_queued = 0;
    task.r2ts_open = 0;
    task.expected_bytes = 0;
    blocked_until_.reset();
    watch(task);

    auto& pdu = connection_.transmitter.begin<wire::ScsiCommand>();
    std::uint8_t flags = wire::final_bit | static_cast<std::uint8_t>(command.attribute);
    std::uint32_t with_command = 0;
    if (command.direction == Direction::in) {
        task.expected_bytes = static_cast<std::uint32_t>(command.read_bytes());
        long_reads_ += is_long_read(command) ? 1 : 0;
        flags |= wire::command_flag::read;
    } else if (command.direction == Direction::out) {
        auto total = static_cast<std::uint32_t>(command.write_bytes());
        std::uint32_t unsolicited = std::min(total, parameters_.first_burst_bytes);
        with_command = parameters_.immediate_data ? std::min(unsolicited, data_out_bytes_max_) : 0;
        task.expected_bytes = total;
        flags |= wire::command_flag::write;
        task.made_bytes = with_command;
        std::uint32_t given = parameters_.initial_r2t ? with_command : unsolicited;
        if (given > 0) {
            task.asked.add(0, given);
        }
        if (!parameters_.initial_r2t && with_command < unsolicited) {
            flags &= static_cast<std::uint8_t>(~wire::final_bit);
            unsolicited_ = {task.itt, base::reserved_tag, with_command, unsolicited, 0};
        }
    }
    pdu.flags = flags;
    pdu.lun = command.lun.value();
    pdu.itt = task.itt;
    pdu.expected_data_transfer_length = task.expected_bytes;
    pdu.cmd_sn = task.cmd_sn.value();
    pdu.exp_stat_sn = connection_.acknowledge();
    pdu.cdb = command.cdb;
    if (with_command > 0) {
        task.payloads_queued = 1;
        end_with_data(task, 0, with_command);
    } else {
        connection_.transmitter.end();
    }
    ++statistics_.scsicmd_pdus;
}

void Session::send_nop_out(std::uint32_t itt, Pong answered) {
    auto& pdu = connection_.transmitter.begin<wire::NopOut>();
    pdu.opcode_byte = wire::opcode_byte(wire::Opcode::nop_out, true);
    pdu.lun = answered.lun;
    pdu.itt = itt;
    pdu.ttt = answered.ttt;
    pdu.cmd_sn = window_.next().value();
    pdu.exp_stat_sn = connection_.acknowledge();
    connection_.transmitter.end();
    ++statistics_.noptx_pdus;
}

void Session::send_logout() {
    logout_sent_ = true;
    logout_itt_ = next_generation(logout_itt_);
    auto& pdu = connection_.transmitter.begin<wire::LogoutRequest>();
    pdu.opcode_byte = wire::opcode_byte(wire::Opcode::logout_request, true);
    pdu.flags = wire::final_bit | static_cast<std::uint8_t>(wire::LogoutReason::close_session);
    pdu.itt = logout_itt_;
    pdu.cid = connection_.cid.value();
    pdu.cmd_sn = window_.next().value();
    pdu.exp_stat_sn = connection_.acknowledge();
    connection_.transmitter.end();
    ++statistics_.logout_pdus;
}

} // namespace iscsi::session

// What the target of the session's fuzzer holds against the initiator.
#include "session_target.hpp"

#include <cstring>

namespace iscsi::test {
namespace {

std::uint32_t digest_at(base::Bytes bytes) {
    std::uint32_t value = 0;
    for (unsigned i = 0; i < wire::digest_bytes; ++i) {
        value |= std::to_integer<std::uint32_t>(bytes[i]) << (8 * i);
    }
    return value;
}

void check_written(std::uint32_t id, std::uint32_t at, base::Bytes data) {
    std::vector<std::byte> right(data.size());
    fill(right, write_data(id), at);
    require(data.empty() || std::memcmp(data.data(), right.data(), data.size()) == 0);
}

} // namespace

HostileTarget::Task* HostileTarget::find(std::uint32_t itt) {
    auto found =
        std::find_if(tasks_.begin(), tasks_.end(), [itt](const Task& task) { return task.itt == itt; });
    return found == tasks_.end() ? nullptr : &*found;
}

void HostileTarget::hear(base::Bytes bytes) {
    heard_.insert(heard_.end(), bytes.begin(), bytes.end());
    base::Bytes rest = heard_;
    while (rest.size() >= wire::bhs_bytes) {
        auto header = base::load<wire::Bhs>(rest);
        wire::Segments parts = wire::segments_of(header, config_.connection);
        if (rest.size() < parts.total()) {
            break;
        }
        require(parts.ahs_bytes == 0);
        require(parts.data_bytes <= config_.connection.max_xmit_data_segment_bytes);
        if (config_.connection.header_digest) {
            require(digest_at(rest.subspan(wire::bhs_bytes)) == base::crc32c(rest.first(wire::bhs_bytes)));
        }
        if (parts.data_digest_bytes > 0) {
            base::Bytes covered = rest.subspan(parts.data_offset(), parts.data_bytes + parts.padding_bytes);
            require(digest_at(rest.subspan(parts.data_digest_offset())) == base::crc32c(covered));
        }
        on_pdu(header, rest.subspan(parts.data_offset(), parts.data_bytes));
        rest = rest.subspan(parts.total());
    }
    heard_.erase(heard_.begin(), heard_.end() - static_cast<std::ptrdiff_t>(rest.size()));
}

/// Every PDU of ours has these two at the same place, but for a Data-Out, which has no CmdSN.
void HostileTarget::check_numbers(const wire::Bhs& header) const {
    auto numbers = base::load<wire::ScsiCommand>(base::bytes_of_object(header));
    base::CmdSn cmd_sn(numbers.cmd_sn);
    if (header.opcode() == wire::Opcode::data_out) {
        return;
    }
    require(cmd_sn == cmd_sn_);
    require(header.immediate() || !limit_known_ || !cmd_sn.after(limit_));
}

void HostileTarget::on_pdu(const wire::Bhs& header, base::Bytes data) {
    check_numbers(header);
    last_heard_ = header;
    base::Bytes bytes = base::bytes_of_object(header);
    require(!unsolicited_ || header.opcode() != wire::Opcode::scsi_command);
    switch (header.opcode()) {
    case wire::Opcode::scsi_command:
        return on_command(base::load<wire::ScsiCommand>(bytes), data);
    case wire::Opcode::data_out:
        return on_data_out(base::load<wire::DataOut>(bytes), data);
    case wire::Opcode::nop_out:
        if (header.itt != base::reserved_tag) {
            ping_itt_ = header.itt;
        }
        break;
    case wire::Opcode::task_management_request:
        management_itt_ = header.itt;
        break;
    default:
        require(header.opcode() == wire::Opcode::logout_request);
        logout_itt_ = header.itt;
        break;
    }
    require(header.immediate() && header.is_final());
}

void HostileTarget::on_command(const wire::ScsiCommand& pdu, base::Bytes data) {
    require(find(pdu.itt) == nullptr && pdu.itt != base::reserved_tag);
    ++cmd_sn_;
    Task task;
    task.itt = pdu.itt;
    task.id = base::load<base::Be32>(pdu.cdb, id_in_cdb);
    itts_[task.id] = task.itt;
    task.lun = pdu.lun;
    task.expected = pdu.expected_data_transfer_length;
    bool reads = (pdu.flags & wire::command_flag::read) != 0;
    bool writes = (pdu.flags & wire::command_flag::write) != 0;
    require(!(reads && writes) && (writes || data.empty()));
    task.kind = reads ? Task::read : writes ? Task::write : Task::none;
    if (writes) {
        std::uint32_t first_burst = std::min(config_.session.first_burst_bytes, task.expected);
        require(config_.session.immediate_data || data.empty());
        require(data.size() <= first_burst);
        check_written(task.id, 0, data);
        task.next = static_cast<std::uint32_t>(data.size());
        if ((pdu.flags & wire::final_bit) == 0) {
            require(!config_.session.initial_r2t && data.size() < first_burst);
            unsolicited_ = Transfer{task.itt, task.next, first_burst, 0};
            task.next = first_burst;
        }
    }
    tasks_.push_back(task);
}

void HostileTarget::on_data_out(const wire::DataOut& pdu, base::Bytes data) {
    const Task* task = find(pdu.itt);
    if (task == nullptr || task->given_up) {
        return; // It was answered when this was already under way.
    }
    bool asked = pdu.ttt != base::reserved_tag;
    require(asked ? transfers_.contains(pdu.ttt) : unsolicited_.has_value());
    Transfer& transfer = asked ? transfers_[pdu.ttt] : *unsolicited_;
    require(pdu.itt == transfer.itt && pdu.data_sn == transfer.data_sn++);
    require(pdu.buffer_offset == transfer.next && data.size() <= transfer.end - transfer.next);
    require(data.size() <= task->expected && transfer.next <= task->expected - data.size());
    check_written(task->id, transfer.next, data);
    transfer.next += static_cast<std::uint32_t>(data.size());
    bool last = transfer.next == transfer.end;
    require(last == ((pdu.flags & wire::final_bit) != 0) && (last || !data.empty()));
    if (last && asked) {
        transfers_.erase(pdu.ttt);
    } else if (last) {
        unsolicited_.reset();
    }
}

} // namespace iscsi::test

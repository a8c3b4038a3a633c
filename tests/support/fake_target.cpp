#include "support/fake_target.hpp"

#include "base/crc32c.hpp"
#include "wire/segments.hpp"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace iscsi::testing {
namespace {

std::array<std::byte, 4> digest_of(base::Bytes bytes) {
    std::uint32_t value = base::crc32c(bytes);
    std::array<std::byte, 4> out{};
    for (unsigned i = 0; i < 4; ++i) {
        out[i] = static_cast<std::byte>(value >> (8 * i));
    }
    return out;
}

bool digest_matches(base::Bytes covered, base::Bytes digest) {
    auto right = digest_of(covered);
    return std::equal(right.begin(), right.end(), digest.begin(), digest.end());
}

template <class Pdu>
Pdu as(const wire::Bhs& header) {
    return base::load<Pdu>(base::bytes_of_object(header));
}

std::uint64_t cdb_offset(const wire::ScsiCommand& command) {
    return base::load<base::Be64>(command.cdb, 2);
}

std::uint32_t cdb_bytes(const wire::ScsiCommand& command) {
    return base::load<base::Be32>(command.cdb, 10);
}

} // namespace

std::array<std::byte, 16> disk_cdb(std::uint8_t operation, std::uint64_t offset, std::uint32_t bytes) {
    std::array<std::byte, 16> cdb{};
    cdb[0] = static_cast<std::byte>(operation);
    base::Be64 lba(offset);
    base::Be32 blocks(bytes);
    std::memcpy(cdb.data() + 2, &lba, sizeof lba);
    std::memcpy(cdb.data() + 10, &blocks, sizeof blocks);
    return cdb;
}

FakeTarget::FakeTarget(const FakeTargetConfig& initial)
    : config(initial), disk(initial.disk_bytes), stat_sn(initial.numbers.exp_stat_sn),
      exp_cmd_sn(initial.numbers.exp_cmd_sn), acknowledged(initial.numbers.exp_stat_sn),
      max_cmd_sn_(initial.numbers.max_cmd_sn) {}

void FakeTarget::expect(bool condition, const char* what) {
    if (!condition) {
        violations.emplace_back(what);
    }
}

base::CmdSn FakeTarget::max_cmd_sn() {
    base::CmdSn wanted = exp_cmd_sn + config.window - 1;
    if (wanted.after(max_cmd_sn_)) {
        max_cmd_sn_ = wanted;
    }
    return max_cmd_sn_;
}

void FakeTarget::receive(base::Bytes bytes) {
    input_.insert(input_.end(), bytes.begin(), bytes.end());
    while (take_pdu()) {
    }
}

bool FakeTarget::take_pdu() {
    if (input_.size() < wire::bhs_bytes) {
        return false;
    }
    auto header = base::load<wire::Bhs>(input_);
    wire::Segments segments = wire::segments_of(header, config.connection);
    if (input_.size() < segments.total()) {
        return false;
    }
    std::vector<std::byte> pdu(input_.begin(), input_.begin() + static_cast<long>(segments.total()));
    input_.erase(input_.begin(), input_.begin() + static_cast<long>(segments.total()));
    base::Bytes bytes(pdu);
    if (config.connection.header_digest) {
        std::size_t covered = wire::bhs_bytes + segments.ahs_bytes;
        expect(digest_matches(bytes.first(covered), bytes.subspan(covered, 4)), "DIG-01 header digest");
    }
    base::Bytes padding = bytes.subspan(segments.padding_offset(), segments.padding_bytes);
    expect(std::all_of(padding.begin(), padding.end(), [](std::byte b) { return b == std::byte{0}; }),
           "DATA-09 padding is zero");
    if (segments.data_digest_bytes > 0) {
        expect(digest_matches(bytes.subspan(segments.data_offset(), base::pad4(segments.data_bytes)),
                              bytes.subspan(segments.data_digest_offset(), 4)),
               "DIG-01 data digest");
    }
    on_pdu(header, bytes.subspan(segments.data_offset(), segments.data_bytes));
    return true;
}

void FakeTarget::on_pdu(const wire::Bhs& header, base::Bytes data) {
    if (keep_log) {
        log.push_back(header);
    }
    check_layout(header);
    check_numbers(header);
    if (header.opcode() == wire::Opcode::scsi_command) {
        note_command(as<wire::ScsiCommand>(header));
    }
    if (intercept && intercept(header, data)) {
        return;
    }
    switch (header.opcode()) {
    case wire::Opcode::scsi_command:
        return on_command(as<wire::ScsiCommand>(header), data);
    case wire::Opcode::data_out:
        return on_data_out(as<wire::DataOut>(header), data);
    case wire::Opcode::task_management_request:
        return on_task_management(as<wire::TaskManagementRequest>(header));
    case wire::Opcode::nop_out:
        return on_nop_out(as<wire::NopOut>(header), data);
    case wire::Opcode::logout_request:
        return on_logout(as<wire::LogoutRequest>(header));
    default:
        expect(false, "a PDU this target does not know");
    }
}

void FakeTarget::check_layout(const wire::Bhs& header) {
    expect(header.total_ahs_length == 0, "no AHS is needed");
    expect(header.data_segment_length <= config.connection.max_xmit_data_segment_bytes,
           "DATA-01 DataSegmentLength within our MaxRecvDataSegmentLength");
    bool is_request = header.opcode() != wire::Opcode::nop_out && header.opcode() != wire::Opcode::data_out;
    expect(!logged_out_ || !is_request, "nothing new after Logout");
    expect(!is_request || header.itt != base::reserved_tag, "SEQ-07 no reserved ITT");
}

void FakeTarget::check_numbers(const wire::Bhs& header) {
    // ExpStatSN lies at the same place in everything an initiator sends.
    base::StatSn exp_stat_sn(as<wire::ScsiCommand>(header).exp_stat_sn);
    expect(!exp_stat_sn.before(acknowledged), "SEQ-05 ExpStatSN never goes back");
    expect(!exp_stat_sn.after(stat_sn), "SEQ-05 ExpStatSN never ahead of what was sent");
    acknowledged = exp_stat_sn;
    if (header.opcode() == wire::Opcode::data_out) {
        return;
    }
    base::CmdSn cmd_sn(as<wire::ScsiCommand>(header).cmd_sn);
    expect(cmd_sn == exp_cmd_sn, "SEQ-01 CmdSN is the next one");
    if (!header.immediate()) {
        expect(!cmd_sn.after(max_cmd_sn_), "SEQ-02 CmdSN within the window");
        ++exp_cmd_sn;
    }
}

void FakeTarget::note_command(const wire::ScsiCommand& pdu) {
    expect(!commands_.contains(pdu.itt), "SEQ-07 no ITT twice");
    commands_[pdu.itt] = pdu;
    if (managed_) {
        wire::ScsiCommand of_no_task = pdu;
        of_no_task.itt = base::reserved_tag;
        bool covered = managed_->lun == pdu.lun || is_managed(*managed_, of_no_task);
        expect(!covered, "TMF-05 new commands wait for task management");
    }
}

void FakeTarget::on_command(const wire::ScsiCommand& pdu, base::Bytes data) {
    ++commands_seen_;
    expect(!tasks_.contains(pdu.itt), "SEQ-07 ITT is free");
    expect(unsolicited_itt_ == base::reserved_tag, "DATA-03 unsolicited data precedes the next command");
    Task task;
    task.command = pdu;
    std::uint32_t itt = pdu.itt;
    bool writes = (pdu.flags & wire::command_flag::write) != 0;
    bool is_final = (pdu.flags & wire::final_bit) != 0;
    if (!writes) {
        expect(is_final && data.empty(), "DATA-02 a command without W has F and no data");
        tasks_.emplace(itt, std::move(task));
        return run(itt);
    }
    std::uint32_t total = pdu.expected_data_transfer_length;
    std::uint32_t first_burst = std::min(total, config.session.first_burst_bytes);
    expect(config.session.immediate_data || data.empty(), "DATA-02 no immediate data unless negotiated");
    expect(data.size() <= first_burst, "DATA-01 immediate data within FirstBurstLength");
    expect(!config.session.initial_r2t || is_final, "DATA-02 F with InitialR2T");
    task.data.resize(total);
    std::copy_n(data.begin(), std::min<std::size_t>(data.size(), total), task.data.begin());
    task.received = static_cast<std::uint32_t>(data.size());
    task.unsolicited_open = !is_final;
    task.unsolicited_end = is_final ? task.received : first_burst;
    task.requested = task.unsolicited_end;
    expect(is_final || task.received < first_burst, "DATA-02 F clear only when data follows");
    if (!is_final) {
        unsolicited_itt_ = itt;
    }
    tasks_.emplace(itt, std::move(task));
    progress(itt);
}

void FakeTarget::on_data_out(const wire::DataOut& pdu, base::Bytes data) {
    auto found = tasks_.find(pdu.itt);
    if (found == tasks_.end()) {
        return; // Of a task answered early.
    }
    Task& task = found->second;
    expect(std::size_t{pdu.buffer_offset} + data.size() <= task.data.size(), "DATA-01 within the transfer");
    if (std::size_t{pdu.buffer_offset} + data.size() > task.data.size()) {
        return;
    }
    std::copy(data.begin(), data.end(), task.data.begin() + pdu.buffer_offset.get());
    task.received += static_cast<std::uint32_t>(data.size());
    if (pdu.ttt == base::reserved_tag) {
        on_unsolicited(task, pdu, data);
    } else {
        on_solicited(task, pdu, data);
    }
    progress(pdu.itt);
}

void FakeTarget::on_unsolicited(Task& task, const wire::DataOut& pdu, base::Bytes data) {
    expect(task.unsolicited_open, "DATA-02 unsolicited data only when announced");
    expect(pdu.lun == 0, "DATA-09 LUN is reserved in unsolicited data");
    expect(pdu.data_sn == task.unsolicited_sn, "SEQ-06 DataSN of unsolicited data");
    ++task.unsolicited_sn;
    expect(pdu.buffer_offset == task.received - data.size(), "DATA-03 unsolicited data is contiguous");
    bool last = (pdu.flags & wire::final_bit) != 0;
    expect(last == (task.received == task.unsolicited_end),
           "DATA-02 exactly FirstBurstLength, F on the last");
    if (last) {
        task.unsolicited_open = false;
        unsolicited_itt_ = base::reserved_tag;
    }
}

void FakeTarget::on_solicited(Task& task, const wire::DataOut& pdu, base::Bytes data) {
    auto found = transfers_.find(pdu.ttt);
    expect(found != transfers_.end() && found->second.itt == pdu.itt, "DATA-03 TTT is the R2T's");
    if (found == transfers_.end()) {
        return;
    }
    Transfer& transfer = found->second;
    bool oldest = true;
    for (const auto& [ttt, other] : transfers_) {
        oldest = oldest && (other.itt != transfer.itt || ttt >= found->first);
    }
    expect(oldest, "DATA-03 R2Ts of a task are answered in order");
    expect(pdu.lun == task.command.lun, "DATA-03 LUN is the R2T's");
    expect(pdu.data_sn == transfer.data_sn, "SEQ-06 DataSN of solicited data");
    expect(pdu.buffer_offset == transfer.next, "DATA-03 solicited data is contiguous");
    expect(!data.empty(), "DATA-03 no empty Data-Out");
    ++transfer.data_sn;
    transfer.next += static_cast<std::uint32_t>(data.size());
    bool last = (pdu.flags & wire::final_bit) != 0;
    expect(last == (transfer.next == transfer.end), "DATA-01 exactly what the R2T asked for, F on the last");
    if (last) {
        --task.r2ts_open;
        transfers_.erase(found);
    }
}

void FakeTarget::progress(std::uint32_t itt) {
    Task& task = tasks_.at(itt);
    if (task.unsolicited_open) {
        return;
    }
    auto total = static_cast<std::uint32_t>(task.data.size());
    while (task.requested < total && task.r2ts_open < config.session.max_outstanding_r2t) {
        std::uint32_t bytes = std::min(total - task.requested, config.session.max_burst_bytes);
        wire::R2t r2t;
        r2t.lun = task.command.lun;
        r2t.itt = itt;
        r2t.ttt = next_ttt_;
        r2t.r2t_sn = task.r2t_sn++;
        r2t.buffer_offset = task.requested;
        r2t.desired_data_transfer_length = bytes;
        transfers_[next_ttt_++] = {itt, task.requested, task.requested + bytes, 0};
        task.requested += bytes;
        ++task.r2ts_open;
        send(stamped(r2t, Status::shows));
    }
    if (task.requested == total && task.r2ts_open == 0) {
        expect(task.received == total, "DATA-01 all data, once");
        run(itt);
    }
}

void FakeTarget::run(std::uint32_t itt) {
    held_.push_back(itt);
    if (!config.hold) {
        execute(held_.size() - 1);
    }
}

void FakeTarget::execute(std::size_t index) {
    std::uint32_t itt = held_.at(index);
    held_.erase(held_.begin() + static_cast<long>(index));
    Task task = std::move(tasks_.at(itt));
    tasks_.erase(itt);
    auto operation = std::to_integer<std::uint8_t>(task.command.cdb[0]);
    std::uint32_t expected = task.command.expected_data_transfer_length;
    if (operation == read16) {
        answer_read(itt, expected,
                    base::Bytes(disk).subspan(cdb_offset(task.command), cdb_bytes(task.command)));
        return;
    }
    if (operation == write16) {
        std::copy(task.data.begin(), task.data.end(),
                  disk.begin() + static_cast<long>(cdb_offset(task.command)));
    }
    send(response_to(itt));
}

void FakeTarget::answer_read(std::uint32_t itt, std::uint32_t expected, base::Bytes data) {
    auto total = static_cast<std::uint32_t>(std::min<std::size_t>(data.size(), expected));
    std::uint32_t underflow = expected - total;
    std::uint32_t offset = 0;
    std::uint32_t data_sn = 0;
    std::uint32_t burst = 0;
    bool with_status = config.status_with_data && total > 0;
    while (offset < total) {
        std::uint32_t bytes = std::min({total - offset, config.connection.max_recv_data_segment_bytes,
                                        config.session.max_burst_bytes - burst});
        burst += bytes;
        bool last = offset + bytes == total;
        wire::DataIn pdu;
        pdu.itt = itt;
        pdu.data_sn = data_sn++;
        pdu.buffer_offset = offset;
        if (last || burst == config.session.max_burst_bytes) {
            pdu.flags = wire::final_bit;
            burst = 0;
        }
        bool status = last && with_status;
        if (status) {
            pdu.flags |= wire::data_in_flag::status;
            pdu.flags |= underflow > 0 ? wire::data_in_flag::underflow : std::uint8_t{0};
            pdu.residual_count = underflow;
        }
        send(stamped(pdu, status ? Status::takes : Status::none), data.subspan(offset, bytes));
        offset += bytes;
    }
    if (!with_status) {
        wire::ScsiResponse response = response_to(itt);
        response.exp_data_sn = data_sn;
        response.flags |= underflow > 0 ? wire::response_flag::underflow : std::uint8_t{0};
        response.residual_count = underflow;
        send(response);
    }
}

wire::ScsiResponse FakeTarget::response_to(std::uint32_t itt, std::uint8_t status) {
    wire::ScsiResponse response;
    response.itt = itt;
    response.status = status;
    return stamped(response);
}

void FakeTarget::send_generic(wire::Bhs header, base::Bytes data) {
    std::vector<std::byte> payload(data.begin(), data.end());
    header.data_segment_length = static_cast<std::uint32_t>(payload.size());
    if (tamper) {
        tamper(header, payload);
    }
    // The hook may have added AHS to the front of the payload by setting its length.
    std::size_t ahs = std::size_t{header.total_ahs_length} * 4;
    // Sized at once: GCC 12 sees an overrun that is not there when a vector of 48 bytes grows.
    std::vector<std::byte> raw(wire::bhs_bytes + ahs, std::byte{0xa5});
    std::memcpy(raw.data(), &header, sizeof header);
    if (config.connection.header_digest) {
        auto digest = digest_of(raw);
        raw.insert(raw.end(), digest.begin(), digest.end());
    }
    if (!payload.empty()) {
        payload.resize(base::pad4(payload.size()));
        raw.insert(raw.end(), payload.begin(), payload.end());
        if (config.connection.data_digest) {
            auto digest = digest_of(payload);
            raw.insert(raw.end(), digest.begin(), digest.end());
        }
    }
    if (damage) {
        damage(raw);
    }
    output_.insert(output_.end(), raw.begin(), raw.end());
}

} // namespace iscsi::testing

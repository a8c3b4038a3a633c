#include "bench/null_target.hpp"

#include <algorithm>
#include <string_view>

namespace iscsi::bench {
namespace {

bool payload_is_thrown_away(wire::Opcode opcode) {
    return opcode == wire::Opcode::scsi_command || opcode == wire::Opcode::data_out;
}

/// A request's header as the struct that its opcode says it is.
template <class Pdu>
Pdu as(const wire::Bhs& header) {
    return base::load<Pdu>(base::bytes_of_object(header));
}

} // namespace

NullConnection::Residual NullConnection::residual_of(std::uint64_t available, std::uint32_t expected) {
    if (available < expected) {
        return {wire::response_flag::underflow, expected - static_cast<std::uint32_t>(available)};
    }
    if (available > expected) {
        return {wire::response_flag::overflow, static_cast<std::uint32_t>(available - expected)};
    }
    return {};
}

template <class Pdu>
void NullConnection::number(Pdu& pdu, bool advance) {
    pdu.stat_sn = stat_sn_.value();
    pdu.exp_cmd_sn = exp_cmd_sn_.value();
    pdu.max_cmd_sn = (exp_cmd_sn_ + (config_.command_window - 1)).value();
    if (advance) {
        ++stat_sn_;
    }
}

template <class Pdu>
void NullConnection::count(const Pdu& pdu) {
    if ((pdu.opcode_byte & wire::immediate_bit) == 0) {
        exp_cmd_sn_ = base::CmdSn(pdu.cmd_sn.get()) + 1;
    }
}

std::size_t NullConnection::take(base::Bytes received) {
    base::Bytes rest = received;
    while (!ended_ && !batch_.full()) {
        std::size_t skipped = std::min(skip_bytes_, rest.size());
        skip_bytes_ -= skipped;
        rest = rest.subspan(skipped);
        if (rest.size() < wire::bhs_bytes) {
            break;
        }
        auto header = base::load<wire::Bhs>(rest);
        auto segments = wire::segments_of(header, full_feature_ && negotiated_.header_digest,
                                          full_feature_ && negotiated_.data_digest);
        bool in_passing = payload_is_thrown_away(header.opcode());
        std::size_t needed = in_passing ? segments.header_end() : segments.total();
        if (needed > whole_pdu_bytes_max) {
            ended_ = true;
            break;
        }
        if (rest.size() < needed) {
            break;
        }
        base::Bytes data =
            in_passing ? base::Bytes{} : rest.subspan(segments.data_offset(), segments.data_bytes);
        skip_bytes_ = segments.total() - needed;
        on_pdu(header, data);
        rest = rest.subspan(needed);
    }
    return received.size() - rest.size();
}

void NullConnection::on_pdu(const wire::Bhs& header, base::Bytes data) {
    wire::Opcode opcode = header.opcode();
    if (full_feature_ == (opcode == wire::Opcode::login_request)) {
        ended_ = true;
        return;
    }
    switch (opcode) {
    case wire::Opcode::scsi_command:
        return on_scsi_command(as<wire::ScsiCommand>(header));
    case wire::Opcode::data_out:
        return on_data_out(as<wire::DataOut>(header));
    case wire::Opcode::login_request:
        return on_login(as<wire::LoginRequest>(header), data);
    case wire::Opcode::text_request:
        return on_text(as<wire::TextRequest>(header));
    case wire::Opcode::nop_out:
        return on_nop(as<wire::NopOut>(header), data);
    case wire::Opcode::task_management_request:
        return on_task_management(as<wire::TaskManagementRequest>(header));
    case wire::Opcode::logout_request:
        return on_logout(as<wire::LogoutRequest>(header));
    default:
        ended_ = true;
    }
}

void NullConnection::refuse_login(const wire::LoginRequest& request, wire::LoginStatus status) {
    wire::LoginResponse response;
    response.isid = request.isid;
    response.itt = request.itt;
    response.status = static_cast<std::uint16_t>(status);
    number(response);
    batch_.add(response);
    ended_ = true;
}

void NullConnection::on_login(const wire::LoginRequest& request, base::Bytes data) {
    if ((request.flags & wire::login_flag::continues) != 0) {
        return refuse_login(request, wire::LoginStatus::out_of_resources);
    }
    std::string text = negotiate(base::text_of(data), negotiated_);
    if (!negotiated_.accepted) {
        return refuse_login(request, wire::LoginStatus::authentication_failure);
    }
    if (base::text_of(data).find("TargetName=") != std::string_view::npos) {
        text.append("TargetPortalGroupTag=1").push_back('\0');
    }
    exp_cmd_sn_ = base::CmdSn(request.cmd_sn.get());
    bool transit = (request.flags & wire::login_flag::transit) != 0;
    bool last = transit && wire::next_stage(request.flags) == wire::LoginStage::full_feature;

    wire::LoginResponse response;
    response.flags = transit ? request.flags : request.flags & wire::login_flag::csg_mask;
    response.isid = request.isid;
    response.tsih = last ? tsih_ : request.tsih.get();
    response.itt = request.itt;
    number(response);
    batch_.add(response, base::bytes_of(text));
    if (last) {
        full_feature_ = true;
        batch_.set_digests(negotiated_.header_digest, negotiated_.data_digest);
    }
}

void NullConnection::on_text(const wire::TextRequest& request) {
    count(request);
    std::string text;
    text.append("TargetName=").append(null_target_name).push_back('\0');
    text.append("TargetAddress=").append(config_.portal).append(",1").push_back('\0');

    wire::TextResponse response;
    response.flags = wire::final_bit;
    response.lun = request.lun;
    response.itt = request.itt;
    number(response);
    batch_.add(response, base::bytes_of(text));
}

void NullConnection::on_nop(const wire::NopOut& nop, base::Bytes data) {
    count(nop);
    if (nop.itt.get() == base::reserved_tag) {
        return;
    }
    wire::NopIn response;
    response.lun = nop.lun;
    response.itt = nop.itt;
    number(response);
    batch_.add(response,
               data.first(std::min<std::size_t>(data.size(), negotiated_.max_xmit_data_segment_bytes)));
}

void NullConnection::on_task_management(const wire::TaskManagementRequest& request) {
    count(request);
    wire::TaskManagementResponse response;
    response.itt = request.itt;
    number(response);
    batch_.add(response);
}

void NullConnection::on_logout(const wire::LogoutRequest& request) {
    count(request);
    wire::LogoutResponse response;
    response.itt = request.itt;
    response.time2wait = 0;
    number(response);
    batch_.add(response);
    ended_ = true;
}

void NullConnection::on_scsi_command(const wire::ScsiCommand& command) {
    count(command);
    DiskAnswer answer = disk_answer(config_.geometry, base::Lun(command.lun.get()), command.cdb);
    bool writes = (command.flags & wire::command_flag::write) != 0;
    if (answer.status != 0) {
        return send_status(command.itt.get(), answer, {});
    }
    if (writes && command.expected_data_transfer_length.get() > command.data_segment_length.get()) {
        return on_write(command);
    }
    if (answer.zero_bytes == 0 && answer.data.empty()) {
        return send_status(command.itt.get(), answer, {});
    }
    send_data(command, answer);
}

void NullConnection::on_write(const wire::ScsiCommand& command) {
    Write& write = writes_[command.itt.get()];
    write = {.lun = command.lun,
             .total_bytes = command.expected_data_transfer_length.get(),
             .received_bytes = command.data_segment_length.get()};
    bool unsolicited_data_follows = (command.flags & wire::final_bit) == 0;
    if (!unsolicited_data_follows) {
        send_r2t(command.itt.get(), write);
    }
}

void NullConnection::on_data_out(const wire::DataOut& data_out) {
    auto found = writes_.find(data_out.itt.get());
    if (found == writes_.end()) {
        return; // unsolicited data of a command that was refused
    }
    Write& write = found->second;
    write.received_bytes += data_out.data_segment_length.get();
    if ((data_out.flags & wire::final_bit) == 0) {
        return;
    }
    if (write.received_bytes < write.total_bytes) {
        return send_r2t(found->first, write);
    }
    send_status(found->first, {}, {});
    writes_.erase(found);
}

void NullConnection::send_r2t(std::uint32_t itt, Write& write) {
    wire::R2t r2t;
    r2t.lun = write.lun;
    r2t.itt = itt;
    r2t.ttt = itt & 0x7fffffffU;
    number(r2t, false);
    r2t.r2t_sn = write.next_r2t_sn++;
    r2t.buffer_offset = write.received_bytes;
    r2t.desired_data_transfer_length =
        std::min(write.total_bytes - write.received_bytes, negotiated_.max_burst_bytes);
    batch_.add(r2t);
}

void NullConnection::send_status(std::uint32_t itt, const DiskAnswer& answer, Residual residual) {
    wire::ScsiResponse response;
    response.flags |= residual.flags;
    response.residual_count = residual.count;
    response.status = answer.status;
    response.itt = itt;
    number(response);
    if (answer.sense.empty()) {
        return batch_.add(response);
    }
    // The data segment is the sense data behind its length (RFC 7143 section 11.4.7).
    std::vector<std::byte> data(2 + answer.sense.size());
    data[1] = static_cast<std::byte>(answer.sense.size());
    std::ranges::copy(answer.sense, data.begin() + 2);
    batch_.add(response, data);
}

void NullConnection::send_data(const wire::ScsiCommand& command, const DiskAnswer& answer) {
    std::uint64_t available = answer.zero_bytes + answer.data.size();
    std::uint32_t expected = command.expected_data_transfer_length.get();
    Residual residual = residual_of(available, expected);
    auto total = static_cast<std::uint32_t>(std::min<std::uint64_t>(available, expected));
    if (total == 0) {
        return send_status(command.itt.get(), answer, residual);
    }

    wire::DataIn data_in;
    data_in.lun = command.lun;
    data_in.itt = command.itt;
    std::uint32_t burst_end = 0;
    for (std::uint32_t offset = 0; offset < total;) {
        if (offset == burst_end) {
            burst_end = std::min(total, offset + negotiated_.max_burst_bytes);
        }
        std::uint32_t piece = std::min(burst_end - offset, negotiated_.max_xmit_data_segment_bytes);
        bool last = offset + piece == total;
        number(data_in, last);
        data_in.buffer_offset = offset;
        data_in.flags = offset + piece == burst_end ? wire::final_bit : 0;
        if (last) {
            data_in.flags |= wire::data_in_flag::status | residual.flags;
            data_in.residual_count = residual.count;
        } else {
            data_in.stat_sn = 0;
        }
        if (answer.data.empty()) {
            batch_.add_with_zeros(data_in, piece);
        } else {
            batch_.add(data_in, base::Bytes(answer.data).subspan(offset, piece));
        }
        data_in.data_sn = data_in.data_sn.get() + 1;
        offset += piece;
    }
}

} // namespace iscsi::bench

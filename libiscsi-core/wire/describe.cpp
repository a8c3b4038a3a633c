#include "wire/describe.hpp"

#include <fmt/format.h>
#include <iterator>

namespace iscsi::wire {
namespace {

/// Text under construction: words separated by blanks.
class Line {
public:
    explicit Line(const Bhs& header) : header_(header), text_(wire::text(header.opcode())) {
        if (header.opcode() >= Opcode::nop_in || !header.immediate()) {
            return;
        }
        word("I");
    }
    void word(std::string_view word) { fmt::format_to(std::back_inserter(text_), " {}", word); }
    void flag(std::uint8_t bit, std::string_view name) {
        if ((header_.flags & bit) != 0) {
            word(name);
        }
    }
    void number(std::string_view name, std::uint64_t value) {
        fmt::format_to(std::back_inserter(text_), " {}={}", name, value);
    }
    void tag(std::string_view name, std::uint32_t value) {
        fmt::format_to(std::back_inserter(text_), " {}={:#010x}", name, value);
    }
    void lun() { fmt::format_to(std::back_inserter(text_), " lun={:#018x}", header_.lun.get()); }
    void note(std::string_view name, std::string_view meaning) {
        fmt::format_to(std::back_inserter(text_), " {}=\"{}\"", name, meaning);
    }
    template <class Pdu>
    void target_numbers(const Pdu& pdu) {
        number("stat_sn", pdu.stat_sn);
        number("exp_cmd_sn", pdu.exp_cmd_sn);
        number("max_cmd_sn", pdu.max_cmd_sn);
    }
    template <class Pdu>
    void command_numbers(const Pdu& pdu) {
        number("cmd_sn", pdu.cmd_sn);
        number("exp_stat_sn", pdu.exp_stat_sn);
    }
    template <class Pdu>
    Pdu as() const {
        return base::load<Pdu>(base::bytes_of_object(header_));
    }
    std::string end() {
        if (header_.total_ahs_length != 0) {
            number("ahs", std::uint64_t{header_.total_ahs_length} * 4);
        }
        if (header_.data_segment_length.get() != 0) {
            number("data", header_.data_segment_length.get());
        }
        return std::move(text_);
    }

private:
    const Bhs& header_;
    std::string text_;
};

void residuals(Line& line, std::uint32_t count) {
    line.flag(response_flag::overflow, "O");
    line.flag(response_flag::underflow, "U");
    if (count != 0) {
        line.number("residual", count);
    }
}

void describe_scsi(Line& line, const Bhs& header) {
    switch (header.opcode()) {
    case Opcode::scsi_command: {
        auto pdu = line.as<ScsiCommand>();
        line.flag(command_flag::read, "R");
        line.flag(command_flag::write, "W");
        line.lun();
        line.tag("cdb0", std::to_integer<std::uint32_t>(pdu.cdb[0]));
        line.number("length", pdu.expected_data_transfer_length);
        return line.command_numbers(pdu);
    }
    case Opcode::scsi_response: {
        auto pdu = line.as<ScsiResponse>();
        line.note("response", wire::text(static_cast<ServiceResponse>(pdu.response)));
        line.number("status", pdu.status);
        residuals(line, pdu.residual_count);
        return line.target_numbers(pdu);
    }
    case Opcode::data_out: {
        auto pdu = line.as<DataOut>();
        line.tag("ttt", pdu.ttt);
        line.number("data_sn", pdu.data_sn);
        line.number("offset", pdu.buffer_offset);
        return line.number("exp_stat_sn", pdu.exp_stat_sn);
    }
    case Opcode::data_in: {
        auto pdu = line.as<DataIn>();
        line.flag(data_in_flag::acknowledge, "A");
        line.number("data_sn", pdu.data_sn);
        line.number("offset", pdu.buffer_offset);
        if ((header.flags & data_in_flag::status) != 0) {
            line.number("status", pdu.status);
            residuals(line, pdu.residual_count);
        }
        return line.target_numbers(pdu);
    }
    default: {
        auto pdu = line.as<R2t>();
        line.tag("ttt", pdu.ttt);
        line.number("r2t_sn", pdu.r2t_sn);
        line.number("offset", pdu.buffer_offset);
        line.number("length", pdu.desired_data_transfer_length);
        return line.target_numbers(pdu);
    }
    }
}

void describe_login(Line& line, const Bhs& header) {
    line.flag(login_flag::transit, "T");
    line.flag(login_flag::continues, "C");
    bool transit = (header.flags & login_flag::transit) != 0;
    unsigned current = static_cast<unsigned>(current_stage(header.flags));
    line.word(transit ? fmt::format("{}->{}", current, static_cast<unsigned>(wire::next_stage(header.flags)))
                      : fmt::format("{}", current));
    if (header.opcode() == Opcode::login_request) {
        auto pdu = line.as<LoginRequest>();
        line.number("tsih", pdu.tsih);
        line.number("cid", pdu.cid);
        return line.command_numbers(pdu);
    }
    auto pdu = line.as<LoginResponse>();
    line.number("tsih", pdu.tsih);
    line.word(fmt::format("status={:04x}", pdu.status.get()));
    line.target_numbers(pdu);
}

void describe_text(Line& line, const Bhs& header) {
    line.flag(text_flag::continues, "C");
    line.tag("ttt", line.as<TextRequest>().ttt);
    if (header.opcode() == Opcode::text_request) {
        return line.command_numbers(line.as<TextRequest>());
    }
    line.target_numbers(line.as<TextResponse>());
}

void describe_nop(Line& line, const Bhs& header) {
    line.tag("ttt", line.as<NopOut>().ttt);
    if (header.opcode() == Opcode::nop_out) {
        return line.command_numbers(line.as<NopOut>());
    }
    line.target_numbers(line.as<NopIn>());
}

void describe_request(Line& line, const Bhs& header) {
    switch (header.opcode()) {
    case Opcode::task_management_request: {
        auto pdu = line.as<TaskManagementRequest>();
        auto function = static_cast<TaskManagementFunction>(pdu.flags & task_management_function_mask);
        line.note("function", wire::text(function));
        line.lun();
        line.tag("referenced", pdu.referenced_task_tag);
        return line.command_numbers(pdu);
    }
    case Opcode::logout_request: {
        auto pdu = line.as<LogoutRequest>();
        line.note("reason", wire::text(static_cast<LogoutReason>(pdu.flags & logout_reason_mask)));
        line.number("cid", pdu.cid);
        return line.command_numbers(pdu);
    }
    default: {
        auto pdu = line.as<SnackRequest>();
        line.note("type", wire::text(static_cast<SnackType>(pdu.flags & snack_type_mask)));
        line.number("beg_run", pdu.beg_run);
        return line.number("run_length", pdu.run_length);
    }
    }
}

void describe_answer(Line& line, const Bhs& header) {
    switch (header.opcode()) {
    case Opcode::task_management_response: {
        auto pdu = line.as<TaskManagementResponse>();
        line.note("response", wire::text(static_cast<TaskManagementResponseCode>(pdu.response)));
        return line.target_numbers(pdu);
    }
    case Opcode::logout_response: {
        auto pdu = line.as<LogoutResponse>();
        line.note("response", wire::text(static_cast<LogoutResponseCode>(pdu.response)));
        return line.target_numbers(pdu);
    }
    case Opcode::async_message: {
        auto pdu = line.as<AsyncMessage>();
        line.note("event", wire::text(static_cast<AsyncEvent>(pdu.async_event)));
        line.word(fmt::format("parameters={},{},{}", pdu.parameter1.get(), pdu.parameter2.get(),
                              pdu.parameter3.get()));
        return line.target_numbers(pdu);
    }
    default: {
        auto pdu = line.as<Reject>();
        line.note("reason", wire::text(static_cast<RejectReason>(pdu.reason)));
        return line.target_numbers(pdu);
    }
    }
}

void describe_specific(Line& line, const Bhs& header) {
    switch (header.opcode()) {
    case Opcode::login_request:
    case Opcode::login_response:
        return describe_login(line, header);
    case Opcode::text_request:
    case Opcode::text_response:
        return describe_text(line, header);
    case Opcode::nop_out:
    case Opcode::nop_in:
        return describe_nop(line, header);
    case Opcode::scsi_command:
    case Opcode::scsi_response:
    case Opcode::data_out:
    case Opcode::data_in:
    case Opcode::r2t:
        return describe_scsi(line, header);
    case Opcode::task_management_request:
    case Opcode::logout_request:
    case Opcode::snack_request:
        return describe_request(line, header);
    case Opcode::task_management_response:
    case Opcode::logout_response:
    case Opcode::async_message:
    case Opcode::reject:
        return describe_answer(line, header);
    }
    line.word(fmt::format("opcode={:#04x}", static_cast<unsigned>(header.opcode())));
}

} // namespace

std::string describe(const Bhs& header) {
    Line line(header);
    bool login = header.opcode() == Opcode::login_request || header.opcode() == Opcode::login_response;
    if (!login) {
        line.flag(final_bit, "F");
    }
    line.tag("itt", header.itt);
    describe_specific(line, header);
    return line.end();
}

std::string describe(base::Bytes header) {
    if (header.size() < bhs_bytes) {
        return fmt::format("short header ({} bytes)", header.size());
    }
    return describe(base::load<Bhs>(header));
}

} // namespace iscsi::wire

#include "scripted/figures.hpp"

#include <algorithm>
#include <array>

namespace iscsi::scripted {
namespace {

using namespace field;

constexpr std::array nop_out_fields{final, lun, itt, ttt, cmd_sn, exp_stat_sn};
constexpr std::array command_fields{final,           read,   write,       attribute, lun,     itt,
                                    expected_length, cmd_sn, exp_stat_sn, cdb_first, cdb_last};
constexpr std::array task_request_fields{
    final, function, lun, itt, referenced_tag, cmd_sn, exp_stat_sn, ref_cmd_sn, task_exp_data_sn};
constexpr std::array login_request_fields{transit,     continues,   current_stage, next_stage,
                                          version_max, version_min, isid,          tsih,
                                          itt,         cid,         cmd_sn,        exp_stat_sn};
constexpr std::array text_request_fields{final, continues, lun, itt, ttt, cmd_sn, exp_stat_sn};
constexpr std::array data_out_fields{final, lun, itt, ttt, exp_stat_sn, data_sn, buffer_offset};
constexpr std::array logout_request_fields{final, reason, itt, cid, cmd_sn, exp_stat_sn};
constexpr std::array snack_fields{final, snack_type, lun, itt, ttt, exp_stat_sn, begin_run, run_length};
constexpr std::array nop_in_fields{final, lun, itt, ttt, stat_sn, exp_cmd_sn, max_cmd_sn};
constexpr std::array response_fields{
    final,     bidi_overflow, bidi_underflow, overflow,   underflow,   response,      status,  itt,
    snack_tag, stat_sn,       exp_cmd_sn,     max_cmd_sn, exp_data_sn, bidi_residual, residual};
constexpr std::array task_response_fields{final, response, itt, stat_sn, exp_cmd_sn, max_cmd_sn};
constexpr std::array login_response_fields{
    transit, continues, current_stage, next_stage, version_max, version_active, isid,
    tsih,    itt,       stat_sn,       exp_cmd_sn, max_cmd_sn,  status_class,   status_detail};
constexpr std::array text_response_fields{final, continues, lun, itt, ttt, stat_sn, exp_cmd_sn, max_cmd_sn};
constexpr std::array data_in_fields{final,      acknowledge, overflow, underflow,     has_status,
                                    status,     lun,         itt,      ttt,           stat_sn,
                                    exp_cmd_sn, max_cmd_sn,  data_sn,  buffer_offset, residual};
constexpr std::array logout_response_fields{final,      response,   itt,       stat_sn,
                                            exp_cmd_sn, max_cmd_sn, time2wait, time2retain};
constexpr std::array r2t_fields{final,      lun,        itt,    ttt,           stat_sn,
                                exp_cmd_sn, max_cmd_sn, r2t_sn, buffer_offset, desired_length};
constexpr std::array async_fields{final,       lun,         itt,        stat_sn,    exp_cmd_sn, max_cmd_sn,
                                  async_event, async_vcode, parameter1, parameter2, parameter3};
constexpr std::array reject_fields{final, reject_reason, itt, stat_sn, exp_cmd_sn, max_cmd_sn, data_sn};

// opcode, name, from the initiator, bit 0 of byte 1 is always 1
constexpr std::array<Figure, 18> figures{{
    {Opcode::nop_out, "NOP-Out", true, true, nop_out_fields},
    {Opcode::scsi_command, "SCSI Command", true, false, command_fields},
    {Opcode::task_request, "Task Management Request", true, true, task_request_fields},
    {Opcode::login_request, "Login Request", true, false, login_request_fields},
    {Opcode::text_request, "Text Request", true, false, text_request_fields},
    {Opcode::data_out, "Data-Out", true, false, data_out_fields},
    {Opcode::logout_request, "Logout Request", true, true, logout_request_fields},
    {Opcode::snack, "SNACK", true, true, snack_fields},
    {Opcode::nop_in, "NOP-In", false, true, nop_in_fields},
    {Opcode::scsi_response, "SCSI Response", false, true, response_fields},
    {Opcode::task_response, "Task Management Response", false, true, task_response_fields},
    {Opcode::login_response, "Login Response", false, false, login_response_fields},
    {Opcode::text_response, "Text Response", false, false, text_response_fields},
    {Opcode::data_in, "Data-In", false, false, data_in_fields},
    {Opcode::logout_response, "Logout Response", false, true, logout_response_fields},
    {Opcode::r2t, "R2T", false, true, r2t_fields},
    {Opcode::async_message, "Asynchronous Message", false, true, async_fields},
    {Opcode::reject, "Reject", false, true, reject_fields},
}};

} // namespace

const Figure* figure_of(std::uint8_t code) {
    const auto* found = std::ranges::find(figures, static_cast<Opcode>(code), &Figure::opcode);
    return found == figures.end() ? nullptr : found;
}

std::string_view name_of(Opcode code) {
    const Figure* figure = figure_of(static_cast<std::uint8_t>(code));
    return figure == nullptr ? "?" : figure->name;
}

} // namespace iscsi::scripted

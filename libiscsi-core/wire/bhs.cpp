// The layout of every header, held against the figures of RFC 7143 section 11 when this compiles.
#include "wire/bhs.hpp"

namespace iscsi::wire {
namespace {

template <class Pdu>
constexpr bool common_fields = offsetof(Pdu, opcode_byte) == 0 && offsetof(Pdu, flags) == 1 &&
                               offsetof(Pdu, total_ahs_length) == 4 &&
                               offsetof(Pdu, data_segment_length) == 5 && offsetof(Pdu, itt) == 16;

/// All target PDUs but Login's own extras number themselves in the same place.
template <class Pdu>
constexpr bool target_numbers = common_fields<Pdu>&& offsetof(Pdu, stat_sn) == 24 &&
                                offsetof(Pdu, exp_cmd_sn) == 28 && offsetof(Pdu, max_cmd_sn) == 32;

template <class Pdu>
constexpr bool command_numbers = common_fields<Pdu>&& offsetof(Pdu, cmd_sn) == 24 &&
                                 offsetof(Pdu, exp_stat_sn) == 28;

static_assert(common_fields<Bhs> && offsetof(Bhs, lun) == 8);

static_assert(command_numbers<ScsiCommand> && offsetof(ScsiCommand, lun) == 8 &&
              offsetof(ScsiCommand, expected_data_transfer_length) == 20 && offsetof(ScsiCommand, cdb) == 32);
static_assert(command_numbers<TaskManagementRequest> && offsetof(TaskManagementRequest, lun) == 8 &&
              offsetof(TaskManagementRequest, referenced_task_tag) == 20 &&
              offsetof(TaskManagementRequest, ref_cmd_sn) == 32 &&
              offsetof(TaskManagementRequest, exp_data_sn) == 36);
static_assert(command_numbers<TextRequest> && offsetof(TextRequest, lun) == 8 &&
              offsetof(TextRequest, ttt) == 20);
static_assert(command_numbers<LoginRequest> && offsetof(LoginRequest, version_max) == 2 &&
              offsetof(LoginRequest, version_min) == 3 && offsetof(LoginRequest, isid) == 8 &&
              offsetof(LoginRequest, tsih) == 14 && offsetof(LoginRequest, cid) == 20);
static_assert(command_numbers<LogoutRequest> && offsetof(LogoutRequest, cid) == 20);
static_assert(command_numbers<NopOut> && offsetof(NopOut, lun) == 8 && offsetof(NopOut, ttt) == 20);
static_assert(common_fields<DataOut> && offsetof(DataOut, lun) == 8 && offsetof(DataOut, ttt) == 20 &&
              offsetof(DataOut, exp_stat_sn) == 28 && offsetof(DataOut, data_sn) == 36 &&
              offsetof(DataOut, buffer_offset) == 40);
static_assert(common_fields<SnackRequest> && offsetof(SnackRequest, lun) == 8 &&
              offsetof(SnackRequest, ttt_or_snack_tag) == 20 && offsetof(SnackRequest, exp_stat_sn) == 28 &&
              offsetof(SnackRequest, beg_run) == 40 && offsetof(SnackRequest, run_length) == 44);

static_assert(target_numbers<ScsiResponse> && offsetof(ScsiResponse, response) == 2 &&
              offsetof(ScsiResponse, status) == 3 && offsetof(ScsiResponse, snack_tag) == 20 &&
              offsetof(ScsiResponse, exp_data_sn) == 36 &&
              offsetof(ScsiResponse, bidirectional_read_residual_count) == 40 &&
              offsetof(ScsiResponse, residual_count) == 44);
static_assert(target_numbers<TaskManagementResponse> && offsetof(TaskManagementResponse, response) == 2);
static_assert(target_numbers<DataIn> && offsetof(DataIn, status) == 3 && offsetof(DataIn, lun) == 8 &&
              offsetof(DataIn, ttt) == 20 && offsetof(DataIn, data_sn) == 36 &&
              offsetof(DataIn, buffer_offset) == 40 && offsetof(DataIn, residual_count) == 44);
static_assert(target_numbers<R2t> && offsetof(R2t, lun) == 8 && offsetof(R2t, ttt) == 20 &&
              offsetof(R2t, r2t_sn) == 36 && offsetof(R2t, buffer_offset) == 40 &&
              offsetof(R2t, desired_data_transfer_length) == 44);
static_assert(target_numbers<AsyncMessage> && offsetof(AsyncMessage, lun) == 8 &&
              offsetof(AsyncMessage, async_event) == 36 && offsetof(AsyncMessage, async_vcode) == 37 &&
              offsetof(AsyncMessage, parameter1) == 38 && offsetof(AsyncMessage, parameter2) == 40 &&
              offsetof(AsyncMessage, parameter3) == 42);
static_assert(target_numbers<TextResponse> && offsetof(TextResponse, lun) == 8 &&
              offsetof(TextResponse, ttt) == 20);
static_assert(target_numbers<LoginResponse> && offsetof(LoginResponse, version_max) == 2 &&
              offsetof(LoginResponse, version_active) == 3 && offsetof(LoginResponse, isid) == 8 &&
              offsetof(LoginResponse, tsih) == 14 && offsetof(LoginResponse, status) == 36);
static_assert(target_numbers<LogoutResponse> && offsetof(LogoutResponse, response) == 2 &&
              offsetof(LogoutResponse, time2wait) == 40 && offsetof(LogoutResponse, time2retain) == 42);
static_assert(target_numbers<Reject> && offsetof(Reject, reason) == 2 &&
              offsetof(Reject, data_sn_or_r2t_sn) == 36);
static_assert(target_numbers<NopIn> && offsetof(NopIn, lun) == 8 && offsetof(NopIn, ttt) == 20);

} // namespace
} // namespace iscsi::wire

// The 48-byte headers of RFC 7143 section 11, one struct per PDU, laid out as its figures. A default one has
// its opcode, the bits that are always set, and reserved tags where the RFC asks for them; all else is zero.
// Alignment is 1: copy with base::load or overlay on bytes, both are fine. Values only; any thread.
#pragma once

#include "base/bytes.hpp"
#include "base/endian.hpp"
#include "base/units.hpp"
#include "wire/opcode.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace iscsi::wire {

inline constexpr std::size_t bhs_bytes = 48;

template <std::size_t Count>
using Reserved = std::array<std::byte, Count>;

/// What all headers have in common (RFC 7143 section 11.2.1).
struct Bhs {
    std::uint8_t opcode_byte = 0; ///< I bit and opcode
    std::uint8_t flags = 0;
    std::array<std::byte, 2> specific{};
    std::uint8_t total_ahs_length = 0; ///< in four-byte words
    base::Be24 data_segment_length;    ///< bytes, without padding
    base::Be64 lun;                    ///< or opcode-specific
    base::Be32 itt;
    std::array<std::byte, 28> rest{};

    constexpr Opcode opcode() const { return static_cast<Opcode>(opcode_byte & opcode_mask); }
    constexpr bool immediate() const { return (opcode_byte & immediate_bit) != 0; }
    constexpr bool is_final() const { return (flags & final_bit) != 0; }
};

/// RFC 7143 section 11.3.
struct ScsiCommand {
    std::uint8_t opcode_byte = wire::opcode_byte(Opcode::scsi_command);
    std::uint8_t flags = 0; ///< final_bit, command_flag, task attribute
    Reserved<2> reserved2{};
    std::uint8_t total_ahs_length = 0;
    base::Be24 data_segment_length;
    base::Be64 lun;
    base::Be32 itt;
    base::Be32 expected_data_transfer_length;
    base::Be32 cmd_sn;
    base::Be32 exp_stat_sn;
    std::array<std::byte, 16> cdb{};
};

/// RFC 7143 section 11.4.
struct ScsiResponse {
    std::uint8_t opcode_byte = wire::opcode_byte(Opcode::scsi_response);
    std::uint8_t flags = final_bit; ///< response_flag
    std::uint8_t response = 0;      ///< ServiceResponse
    std::uint8_t status = 0;        ///< SAM-5 status, only when response is 0
    std::uint8_t total_ahs_length = 0;
    base::Be24 data_segment_length;
    Reserved<8> reserved8{};
    base::Be32 itt;
    base::Be32 snack_tag;
    base::Be32 stat_sn;
    base::Be32 exp_cmd_sn;
    base::Be32 max_cmd_sn;
    base::Be32 exp_data_sn;
    base::Be32 bidirectional_read_residual_count;
    base::Be32 residual_count;
};

/// RFC 7143 section 11.5.
struct TaskManagementRequest {
    std::uint8_t opcode_byte = wire::opcode_byte(Opcode::task_management_request);
    std::uint8_t flags = final_bit; ///< final_bit and TaskManagementFunction
    Reserved<2> reserved2{};
    std::uint8_t total_ahs_length = 0;
    base::Be24 data_segment_length;
    base::Be64 lun;
    base::Be32 itt;
    base::Be32 referenced_task_tag = base::reserved_tag;
    base::Be32 cmd_sn;
    base::Be32 exp_stat_sn;
    base::Be32 ref_cmd_sn;
    base::Be32 exp_data_sn;
    Reserved<8> reserved40{};
};

/// RFC 7143 section 11.6.
struct TaskManagementResponse {
    std::uint8_t opcode_byte = wire::opcode_byte(Opcode::task_management_response);
    std::uint8_t flags = final_bit;
    std::uint8_t response = 0; ///< TaskManagementResponseCode
    Reserved<1> reserved3{};
    std::uint8_t total_ahs_length = 0;
    base::Be24 data_segment_length;
    Reserved<8> reserved8{};
    base::Be32 itt;
    Reserved<4> reserved20{};
    base::Be32 stat_sn;
    base::Be32 exp_cmd_sn;
    base::Be32 max_cmd_sn;
    Reserved<12> reserved36{};
};

/// RFC 7143 section 11.7.
struct DataOut {
    std::uint8_t opcode_byte = wire::opcode_byte(Opcode::data_out);
    std::uint8_t flags = 0; ///< final_bit
    Reserved<2> reserved2{};
    std::uint8_t total_ahs_length = 0;
    base::Be24 data_segment_length;
    base::Be64 lun;
    base::Be32 itt;
    base::Be32 ttt = base::reserved_tag;
    Reserved<4> reserved24{};
    base::Be32 exp_stat_sn;
    Reserved<4> reserved32{};
    base::Be32 data_sn;
    base::Be32 buffer_offset;
    Reserved<4> reserved44{};
};

/// RFC 7143 section 11.7.
struct DataIn {
    std::uint8_t opcode_byte = wire::opcode_byte(Opcode::data_in);
    std::uint8_t flags = 0; ///< final_bit, data_in_flag
    Reserved<1> reserved2{};
    std::uint8_t status = 0; ///< only with data_in_flag::status
    std::uint8_t total_ahs_length = 0;
    base::Be24 data_segment_length;
    base::Be64 lun;
    base::Be32 itt;
    base::Be32 ttt = base::reserved_tag;
    base::Be32 stat_sn; ///< only with data_in_flag::status
    base::Be32 exp_cmd_sn;
    base::Be32 max_cmd_sn;
    base::Be32 data_sn;
    base::Be32 buffer_offset;
    base::Be32 residual_count; ///< only with data_in_flag::status
};

/// RFC 7143 section 11.8.
struct R2t {
    std::uint8_t opcode_byte = wire::opcode_byte(Opcode::r2t);
    std::uint8_t flags = final_bit;
    Reserved<2> reserved2{};
    std::uint8_t total_ahs_length = 0;
    base::Be24 data_segment_length;
    base::Be64 lun;
    base::Be32 itt;
    base::Be32 ttt;
    base::Be32 stat_sn; ///< the next one, not advanced by an R2T
    base::Be32 exp_cmd_sn;
    base::Be32 max_cmd_sn;
    base::Be32 r2t_sn;
    base::Be32 buffer_offset;
    base::Be32 desired_data_transfer_length;
};

/// RFC 7143 section 11.9.
struct AsyncMessage {
    std::uint8_t opcode_byte = wire::opcode_byte(Opcode::async_message);
    std::uint8_t flags = final_bit;
    Reserved<2> reserved2{};
    std::uint8_t total_ahs_length = 0;
    base::Be24 data_segment_length;
    base::Be64 lun;
    base::Be32 itt = base::reserved_tag;
    Reserved<4> reserved20{};
    base::Be32 stat_sn;
    base::Be32 exp_cmd_sn;
    base::Be32 max_cmd_sn;
    std::uint8_t async_event = 0; ///< AsyncEvent
    std::uint8_t async_vcode = 0;
    base::Be16 parameter1;
    base::Be16 parameter2;
    base::Be16 parameter3;
    Reserved<4> reserved44{};
};

/// RFC 7143 section 11.10.
struct TextRequest {
    std::uint8_t opcode_byte = wire::opcode_byte(Opcode::text_request);
    std::uint8_t flags = 0; ///< final_bit, text_flag
    Reserved<2> reserved2{};
    std::uint8_t total_ahs_length = 0;
    base::Be24 data_segment_length;
    base::Be64 lun;
    base::Be32 itt;
    base::Be32 ttt = base::reserved_tag;
    base::Be32 cmd_sn;
    base::Be32 exp_stat_sn;
    Reserved<16> reserved32{};
};

/// RFC 7143 section 11.11.
struct TextResponse {
    std::uint8_t opcode_byte = wire::opcode_byte(Opcode::text_response);
    std::uint8_t flags = 0; ///< final_bit, text_flag
    Reserved<2> reserved2{};
    std::uint8_t total_ahs_length = 0;
    base::Be24 data_segment_length;
    base::Be64 lun;
    base::Be32 itt;
    base::Be32 ttt = base::reserved_tag;
    base::Be32 stat_sn;
    base::Be32 exp_cmd_sn;
    base::Be32 max_cmd_sn;
    Reserved<12> reserved36{};
};

/// RFC 7143 section 11.12; always immediate.
struct LoginRequest {
    std::uint8_t opcode_byte = wire::opcode_byte(Opcode::login_request, true);
    std::uint8_t flags = 0; ///< login_flag
    std::uint8_t version_max = 0;
    std::uint8_t version_min = 0;
    std::uint8_t total_ahs_length = 0;
    base::Be24 data_segment_length;
    base::Be48 isid;
    base::Be16 tsih;
    base::Be32 itt;
    base::Be16 cid;
    Reserved<2> reserved22{};
    base::Be32 cmd_sn;
    base::Be32 exp_stat_sn;
    Reserved<16> reserved32{};
};

/// RFC 7143 section 11.13.
struct LoginResponse {
    std::uint8_t opcode_byte = wire::opcode_byte(Opcode::login_response);
    std::uint8_t flags = 0; ///< login_flag
    std::uint8_t version_max = 0;
    std::uint8_t version_active = 0;
    std::uint8_t total_ahs_length = 0;
    base::Be24 data_segment_length;
    base::Be48 isid;
    base::Be16 tsih;
    base::Be32 itt;
    Reserved<4> reserved20{};
    base::Be32 stat_sn;
    base::Be32 exp_cmd_sn;
    base::Be32 max_cmd_sn;
    base::Be16 status; ///< Status-Class and Status-Detail: LoginStatus
    Reserved<10> reserved38{};
};

/// RFC 7143 section 11.14.
struct LogoutRequest {
    std::uint8_t opcode_byte = wire::opcode_byte(Opcode::logout_request);
    std::uint8_t flags = final_bit; ///< final_bit and LogoutReason
    Reserved<2> reserved2{};
    std::uint8_t total_ahs_length = 0;
    base::Be24 data_segment_length;
    Reserved<8> reserved8{};
    base::Be32 itt;
    base::Be16 cid;
    Reserved<2> reserved22{};
    base::Be32 cmd_sn;
    base::Be32 exp_stat_sn;
    Reserved<16> reserved32{};
};

/// RFC 7143 section 11.15.
struct LogoutResponse {
    std::uint8_t opcode_byte = wire::opcode_byte(Opcode::logout_response);
    std::uint8_t flags = final_bit;
    std::uint8_t response = 0; ///< LogoutResponseCode
    Reserved<1> reserved3{};
    std::uint8_t total_ahs_length = 0;
    base::Be24 data_segment_length;
    Reserved<8> reserved8{};
    base::Be32 itt;
    Reserved<4> reserved20{};
    base::Be32 stat_sn;
    base::Be32 exp_cmd_sn;
    base::Be32 max_cmd_sn;
    Reserved<4> reserved36{};
    base::Be16 time2wait;   ///< seconds
    base::Be16 time2retain; ///< seconds
    Reserved<4> reserved44{};
};

/// RFC 7143 section 11.16.
struct SnackRequest {
    std::uint8_t opcode_byte = wire::opcode_byte(Opcode::snack_request);
    std::uint8_t flags = final_bit; ///< final_bit and SnackType
    Reserved<2> reserved2{};
    std::uint8_t total_ahs_length = 0;
    base::Be24 data_segment_length;
    base::Be64 lun;
    base::Be32 itt = base::reserved_tag;
    base::Be32 ttt_or_snack_tag = base::reserved_tag;
    Reserved<4> reserved24{};
    base::Be32 exp_stat_sn;
    Reserved<8> reserved32{};
    base::Be32 beg_run;
    base::Be32 run_length;
};

/// RFC 7143 section 11.17. Its data segment is the header of the PDU it rejects.
struct Reject {
    std::uint8_t opcode_byte = wire::opcode_byte(Opcode::reject);
    std::uint8_t flags = final_bit;
    std::uint8_t reason = 0; ///< RejectReason
    Reserved<1> reserved3{};
    std::uint8_t total_ahs_length = 0;
    base::Be24 data_segment_length;
    Reserved<8> reserved8{};
    base::Be32 itt = base::reserved_tag;
    Reserved<4> reserved20{};
    base::Be32 stat_sn;
    base::Be32 exp_cmd_sn;
    base::Be32 max_cmd_sn;
    base::Be32 data_sn_or_r2t_sn;
    Reserved<8> reserved40{};
};

/// RFC 7143 section 11.18.
struct NopOut {
    std::uint8_t opcode_byte = wire::opcode_byte(Opcode::nop_out);
    std::uint8_t flags = final_bit;
    Reserved<2> reserved2{};
    std::uint8_t total_ahs_length = 0;
    base::Be24 data_segment_length;
    base::Be64 lun;
    base::Be32 itt = base::reserved_tag;
    base::Be32 ttt = base::reserved_tag;
    base::Be32 cmd_sn;
    base::Be32 exp_stat_sn;
    Reserved<16> reserved32{};
};

/// RFC 7143 section 11.19.
struct NopIn {
    std::uint8_t opcode_byte = wire::opcode_byte(Opcode::nop_in);
    std::uint8_t flags = final_bit;
    Reserved<2> reserved2{};
    std::uint8_t total_ahs_length = 0;
    base::Be24 data_segment_length;
    base::Be64 lun;
    base::Be32 itt = base::reserved_tag;
    base::Be32 ttt = base::reserved_tag;
    base::Be32 stat_sn; ///< not advanced when itt is reserved
    base::Be32 exp_cmd_sn;
    base::Be32 max_cmd_sn;
    Reserved<12> reserved36{};
};

/// The stage a login PDU is in and the one it offers (RFC 7143 section 11.12.3).
constexpr LoginStage current_stage(std::uint8_t login_flags) {
    return static_cast<LoginStage>((login_flags & login_flag::csg_mask) >> login_flag::csg_shift);
}
constexpr LoginStage next_stage(std::uint8_t login_flags) {
    return static_cast<LoginStage>(login_flags & login_flag::nsg_mask);
}
constexpr std::uint8_t stage_bits(LoginStage current, LoginStage next) {
    return static_cast<std::uint8_t>((static_cast<unsigned>(current) << login_flag::csg_shift) |
                                     static_cast<unsigned>(next));
}

/// The generic view of any header: the same bytes.
template <class Pdu>
requires(sizeof(Pdu) == bhs_bytes) Bhs generic(const Pdu& pdu) {
    return base::load<Bhs>(base::bytes_of_object(pdu));
}

/// What every header has to be.
template <class Pdu>
constexpr bool is_header() {
    constexpr bool whole = sizeof(Pdu) == bhs_bytes;
    constexpr bool unaligned = alignof(Pdu) == 1;
    return whole && unaligned && std::is_standard_layout_v<Pdu> && std::is_trivially_copyable_v<Pdu>;
}

template <class... Pdus>
inline constexpr bool are_headers = (is_header<Pdus>() && ...);

static_assert(are_headers<Bhs, ScsiCommand, ScsiResponse, DataOut, DataIn, R2t, AsyncMessage, Reject>);
static_assert(are_headers<TaskManagementRequest, TaskManagementResponse, TextRequest, TextResponse>);
static_assert(are_headers<LoginRequest, LoginResponse, LogoutRequest, LogoutResponse>);
static_assert(are_headers<SnackRequest, NopOut, NopIn>);

} // namespace iscsi::wire

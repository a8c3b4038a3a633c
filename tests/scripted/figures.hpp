// The PDUs of iSCSI as RFC 7143 section 11 draws them: where each field stands, and which fields a PDU has.
// All that the scripted target knows of the wire comes from here and from nothing of the initiator's.
// Constants; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace iscsi::scripted {

inline constexpr std::size_t header_bytes = 48;
inline constexpr std::uint32_t no_tag = 0xffffffffU; ///< the reserved value of every tag

enum class Opcode : std::uint8_t {
    nop_out = 0x00,
    scsi_command = 0x01,
    task_request = 0x02,
    login_request = 0x03,
    text_request = 0x04,
    data_out = 0x05,
    logout_request = 0x06,
    snack = 0x10,
    nop_in = 0x20,
    scsi_response = 0x21,
    task_response = 0x22,
    login_response = 0x23,
    text_response = 0x24,
    data_in = 0x25,
    logout_response = 0x26,
    r2t = 0x31,
    async_message = 0x32,
    reject = 0x3f,
};

/// Where a value stands in the header. Bits are numbered as in the figures: 0 is the most significant.
struct Field {
    std::string_view name;
    std::uint8_t byte;
    std::uint8_t bit;
    std::uint8_t bits;
};

/// A field of whole bytes.
constexpr Field bytes_at(std::string_view name, std::uint8_t byte, std::uint8_t bytes) {
    return {name, byte, 0, static_cast<std::uint8_t>(bytes * 8)};
}

namespace field {

// Of all PDUs (11.2.1).
inline constexpr Field immediate{"I", 0, 1, 1};
inline constexpr Field opcode{"Opcode", 0, 2, 6};
inline constexpr Field final{"F", 1, 0, 1};
inline constexpr Field ahs_words = bytes_at("TotalAHSLength", 4, 1);
inline constexpr Field data_length = bytes_at("DataSegmentLength", 5, 3);
inline constexpr Field lun = bytes_at("LUN", 8, 8);
inline constexpr Field itt = bytes_at("ITT", 16, 4);
inline constexpr Field ttt = bytes_at("TTT", 20, 4);
// Of what an initiator sends.
inline constexpr Field cmd_sn = bytes_at("CmdSN", 24, 4);
inline constexpr Field exp_stat_sn = bytes_at("ExpStatSN", 28, 4);
// Of what a target sends.
inline constexpr Field stat_sn = bytes_at("StatSN", 24, 4);
inline constexpr Field exp_cmd_sn = bytes_at("ExpCmdSN", 28, 4);
inline constexpr Field max_cmd_sn = bytes_at("MaxCmdSN", 32, 4);

// SCSI Command and Response (11.3, 11.4).
inline constexpr Field read{"R", 1, 1, 1};
inline constexpr Field write{"W", 1, 2, 1};
inline constexpr Field attribute{"ATTR", 1, 5, 3};
inline constexpr Field expected_length = bytes_at("ExpectedDataTransferLength", 20, 4);
inline constexpr Field cdb_first = bytes_at("CDB[0..7]", 32, 8);
inline constexpr Field cdb_last = bytes_at("CDB[8..15]", 40, 8);
inline constexpr Field operation = bytes_at("CDB[0]", 32, 1);
inline constexpr Field bidi_overflow{"o", 1, 3, 1};
inline constexpr Field bidi_underflow{"u", 1, 4, 1};
inline constexpr Field overflow{"O", 1, 5, 1};
inline constexpr Field underflow{"U", 1, 6, 1};
inline constexpr Field response = bytes_at("Response", 2, 1);
inline constexpr Field status = bytes_at("Status", 3, 1);
inline constexpr Field snack_tag = bytes_at("SNACKTag", 20, 4);
inline constexpr Field exp_data_sn = bytes_at("ExpDataSN", 36, 4);
inline constexpr Field bidi_residual = bytes_at("BidiReadResidualCount", 40, 4);
inline constexpr Field residual = bytes_at("ResidualCount", 44, 4);

// Task Management Function Request (11.5).
inline constexpr Field function{"Function", 1, 1, 7};
inline constexpr Field referenced_tag = bytes_at("ReferencedTaskTag", 20, 4);
inline constexpr Field ref_cmd_sn = bytes_at("RefCmdSN", 32, 4);
inline constexpr Field task_exp_data_sn = bytes_at("ExpDataSN", 36, 4);

// Data-Out, Data-In, R2T (11.7, 11.8).
inline constexpr Field acknowledge{"A", 1, 1, 1};
inline constexpr Field has_status{"S", 1, 7, 1};
inline constexpr Field data_sn = bytes_at("DataSN", 36, 4);
inline constexpr Field buffer_offset = bytes_at("BufferOffset", 40, 4);
inline constexpr Field r2t_sn = bytes_at("R2TSN", 36, 4);
inline constexpr Field desired_length = bytes_at("DesiredDataTransferLength", 44, 4);

// Asynchronous Message (11.9).
inline constexpr Field async_event = bytes_at("AsyncEvent", 36, 1);
inline constexpr Field async_vcode = bytes_at("AsyncVCode", 37, 1);
inline constexpr Field parameter1 = bytes_at("Parameter1", 38, 2);
inline constexpr Field parameter2 = bytes_at("Parameter2", 40, 2);
inline constexpr Field parameter3 = bytes_at("Parameter3", 42, 2);

// Text and Login (11.10 to 11.13).
inline constexpr Field continues{"C", 1, 1, 1};
inline constexpr Field transit{"T", 1, 0, 1};
inline constexpr Field current_stage{"CSG", 1, 4, 2};
inline constexpr Field next_stage{"NSG", 1, 6, 2};
inline constexpr Field version_max = bytes_at("VersionMax", 2, 1);
inline constexpr Field version_min = bytes_at("VersionMin", 3, 1);
inline constexpr Field version_active = bytes_at("VersionActive", 3, 1);
inline constexpr Field isid = bytes_at("ISID", 8, 6);
inline constexpr Field tsih = bytes_at("TSIH", 14, 2);
inline constexpr Field cid = bytes_at("CID", 20, 2);
inline constexpr Field status_class = bytes_at("StatusClass", 36, 1);
inline constexpr Field status_detail = bytes_at("StatusDetail", 37, 1);

// Logout (11.14, 11.15), SNACK (11.16), Reject (11.17).
inline constexpr Field reason{"Reason", 1, 1, 7};
inline constexpr Field time2wait = bytes_at("Time2Wait", 40, 2);
inline constexpr Field time2retain = bytes_at("Time2Retain", 42, 2);
inline constexpr Field snack_type{"Type", 1, 4, 4};
inline constexpr Field begin_run = bytes_at("BegRun", 40, 4);
inline constexpr Field run_length = bytes_at("RunLength", 44, 4);
inline constexpr Field reject_reason = bytes_at("Reason", 2, 1);

} // namespace field

/// A PDU's figure: its fields but for those that all have. What no field covers is reserved.
struct Figure {
    Opcode opcode;
    std::string_view name;
    bool from_initiator;
    bool first_flag_is_one; ///< the figure shows a 1 at bit 0 of byte 1
    std::span<const Field> fields;
};

/// The figure of an opcode; nullptr when RFC 7143 has none.
const Figure* figure_of(std::uint8_t code);
std::string_view name_of(Opcode code);

} // namespace iscsi::scripted

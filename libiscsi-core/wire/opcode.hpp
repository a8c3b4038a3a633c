// The numbers of RFC 7143 section 11 by name: opcodes, flag bits, and the codes that responses, rejects and
// asynchronous messages carry, with a text for people. A value read from a peer may be none of the
// enumerators: every switch over one needs a way out. Values only; any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace iscsi::wire {

/// Bits 2-7 of byte 0 of every header (RFC 7143 section 11.2.1.2).
enum class Opcode : std::uint8_t {
    nop_out = 0x00,
    scsi_command = 0x01,
    task_management_request = 0x02,
    login_request = 0x03,
    text_request = 0x04,
    data_out = 0x05,
    logout_request = 0x06,
    snack_request = 0x10,
    nop_in = 0x20,
    scsi_response = 0x21,
    task_management_response = 0x22,
    login_response = 0x23,
    text_response = 0x24,
    data_in = 0x25,
    logout_response = 0x26,
    r2t = 0x31,
    async_message = 0x32,
    reject = 0x3f,
};

/// Byte 0: opcode and the immediate bit (RFC 7143 section 11.2.1.1).
inline constexpr std::uint8_t opcode_mask = 0x3f;
inline constexpr std::uint8_t immediate_bit = 0x40;

constexpr std::uint8_t opcode_byte(Opcode opcode, bool immediate = false) {
    return static_cast<std::uint8_t>(static_cast<std::uint8_t>(opcode) | (immediate ? immediate_bit : 0));
}

/// Byte 1 of the headers, per PDU. `final_bit` is common to all (RFC 7143 section 11.2.1.3).
inline constexpr std::uint8_t final_bit = 0x80;

/// SCSI Command (RFC 7143 section 11.3.1).
namespace command_flag {
inline constexpr std::uint8_t read = 0x40;
inline constexpr std::uint8_t write = 0x20;
inline constexpr std::uint8_t attribute_mask = 0x07;
} // namespace command_flag

/// SCSI Response (RFC 7143 section 11.4.1).
namespace response_flag {
inline constexpr std::uint8_t bidirectional_overflow = 0x10;
inline constexpr std::uint8_t bidirectional_underflow = 0x08;
inline constexpr std::uint8_t overflow = 0x04;
inline constexpr std::uint8_t underflow = 0x02;
} // namespace response_flag

/// Data-In (RFC 7143 section 11.7.3).
namespace data_in_flag {
inline constexpr std::uint8_t acknowledge = 0x40;
inline constexpr std::uint8_t overflow = 0x04;
inline constexpr std::uint8_t underflow = 0x02;
inline constexpr std::uint8_t status = 0x01;
} // namespace data_in_flag

/// Text and Login requests and responses (RFC 7143 sections 11.10.2 and 11.12.1-3). T is where F is.
namespace text_flag {
inline constexpr std::uint8_t continues = 0x40;
} // namespace text_flag
namespace login_flag {
inline constexpr std::uint8_t transit = 0x80;
inline constexpr std::uint8_t continues = 0x40;
inline constexpr std::uint8_t reserved_mask = 0x30;
inline constexpr std::uint8_t csg_mask = 0x0c;
inline constexpr unsigned csg_shift = 2;
inline constexpr std::uint8_t nsg_mask = 0x03;
} // namespace login_flag

/// SCSI Response, byte 2 (RFC 7143 section 11.4.3).
enum class ServiceResponse : std::uint8_t { completed_at_target = 0x00, target_failure = 0x01 };

/// RFC 7143 section 11.5.1; 9 to 12 are RFC 7144's.
enum class TaskManagementFunction : std::uint8_t {
    abort_task = 1,
    abort_task_set = 2,
    clear_aca = 3,
    clear_task_set = 4,
    logical_unit_reset = 5,
    target_warm_reset = 6,
    target_cold_reset = 7,
    task_reassign = 8,
    query_task = 9,
    query_task_set = 10,
    i_t_nexus_reset = 11,
    query_asynchronous_event = 12,
};
inline constexpr std::uint8_t task_management_function_mask = 0x7f;

/// RFC 7143 section 11.6.1; 7 is RFC 7144's.
enum class TaskManagementResponseCode : std::uint8_t {
    complete = 0,
    no_such_task = 1,
    no_such_lun = 2,
    still_allegiant = 3,
    reassignment_not_supported = 4,
    function_not_supported = 5,
    authorization_failed = 6,
    succeeded = 7,
    rejected = 255,
};

/// RFC 7143 section 11.9.1.
enum class AsyncEvent : std::uint8_t {
    scsi_event = 0,
    logout_request = 1,
    connection_drop = 2,
    session_drop = 3,
    negotiation_request = 4,
    task_termination = 5,
    first_vendor_event = 248,
};

/// RFC 7143 section 11.14.1; in byte 1 beside the F bit.
enum class LogoutReason : std::uint8_t { close_session = 0, close_connection = 1, remove_for_recovery = 2 };
inline constexpr std::uint8_t logout_reason_mask = 0x7f;

/// RFC 7143 section 11.15.1.
enum class LogoutResponseCode : std::uint8_t {
    closed = 0,
    cid_not_found = 1,
    recovery_not_supported = 2,
    cleanup_failed = 3,
};

/// RFC 7143 section 11.16.1; in byte 1 beside the F bit.
enum class SnackType : std::uint8_t { data_or_r2t = 0, status = 1, data_ack = 2, r_data = 3 };
inline constexpr std::uint8_t snack_type_mask = 0x0f;

/// RFC 7143 section 11.17.1; 0x0b was RFC 3720's "negotiation reset" and still occurs.
enum class RejectReason : std::uint8_t {
    data_digest_error = 0x02,
    snack_reject = 0x03,
    protocol_error = 0x04,
    command_not_supported = 0x05,
    immediate_command_reject = 0x06,
    task_in_progress = 0x07,
    invalid_data_ack = 0x08,
    invalid_pdu_field = 0x09,
    long_operation_reject = 0x0a,
    negotiation_reset = 0x0b,
    waiting_for_logout = 0x0c,
};

/// RFC 7143 section 11.12.3.
enum class LoginStage : std::uint8_t { security = 0, operational = 1, full_feature = 3 };

/// Status-Class of a Login Response (RFC 7143 section 11.13.5); others are reserved.
enum class LoginStatusClass : std::uint8_t {
    success = 0,
    redirection = 1,
    initiator_error = 2,
    target_error = 3,
};

/// Status-Class and Status-Detail as one number, the form people quote (RFC 7143 section 11.13.5).
enum class LoginStatus : std::uint16_t {
    success = 0x0000,
    moved_temporarily = 0x0101,
    moved_permanently = 0x0102,
    initiator_error = 0x0200,
    authentication_failure = 0x0201,
    authorization_failure = 0x0202,
    not_found = 0x0203,
    target_removed = 0x0204,
    unsupported_version = 0x0205,
    too_many_connections = 0x0206,
    missing_parameter = 0x0207,
    cannot_include_in_session = 0x0208,
    session_type_not_supported = 0x0209,
    session_does_not_exist = 0x020a,
    invalid_during_login = 0x020b,
    target_error = 0x0300,
    service_unavailable = 0x0301,
    out_of_resources = 0x0302,
};

constexpr LoginStatusClass status_class(LoginStatus status) {
    return static_cast<LoginStatusClass>(static_cast<std::uint16_t>(status) >> 8);
}

// Texts for people. Values without a name give "reserved ..." or "vendor-specific ...".
std::string_view text(Opcode opcode);
std::string_view text(ServiceResponse response);
std::string_view text(TaskManagementFunction function);
std::string_view text(TaskManagementResponseCode response);
std::string_view text(AsyncEvent event);
std::string_view text(LogoutReason reason);
std::string_view text(LogoutResponseCode response);
std::string_view text(SnackType type);
std::string_view text(RejectReason reason);
std::string_view text(LoginStage stage);
/// The meaning of the status; an unknown detail gives the meaning of its class.
std::string_view text(LoginStatus status);

} // namespace iscsi::wire

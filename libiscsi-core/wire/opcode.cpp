#include "wire/opcode.hpp"

namespace iscsi::wire {

std::string_view text(Opcode opcode) {
    switch (opcode) {
    case Opcode::nop_out:
        return "NOP-Out";
    case Opcode::scsi_command:
        return "SCSI Command";
    case Opcode::task_management_request:
        return "Task Management Request";
    case Opcode::login_request:
        return "Login Request";
    case Opcode::text_request:
        return "Text Request";
    case Opcode::data_out:
        return "Data-Out";
    case Opcode::logout_request:
        return "Logout Request";
    case Opcode::snack_request:
        return "SNACK Request";
    case Opcode::nop_in:
        return "NOP-In";
    case Opcode::scsi_response:
        return "SCSI Response";
    case Opcode::task_management_response:
        return "Task Management Response";
    case Opcode::login_response:
        return "Login Response";
    case Opcode::text_response:
        return "Text Response";
    case Opcode::data_in:
        return "Data-In";
    case Opcode::logout_response:
        return "Logout Response";
    case Opcode::r2t:
        return "R2T";
    case Opcode::async_message:
        return "Async Message";
    case Opcode::reject:
        return "Reject";
    }
    auto value = static_cast<unsigned>(opcode);
    bool vendor = (value >= 0x1c && value <= 0x1e) || (value >= 0x3c && value <= 0x3e);
    return vendor ? "vendor-specific PDU" : "unassigned PDU";
}

std::string_view text(ServiceResponse response) {
    switch (response) {
    case ServiceResponse::completed_at_target:
        return "completed at target";
    case ServiceResponse::target_failure:
        return "target failure";
    }
    return static_cast<unsigned>(response) >= 0x80 ? "vendor-specific response" : "reserved response";
}

std::string_view text(TaskManagementFunction function) {
    switch (function) {
    case TaskManagementFunction::abort_task:
        return "ABORT TASK";
    case TaskManagementFunction::abort_task_set:
        return "ABORT TASK SET";
    case TaskManagementFunction::clear_aca:
        return "CLEAR ACA";
    case TaskManagementFunction::clear_task_set:
        return "CLEAR TASK SET";
    case TaskManagementFunction::logical_unit_reset:
        return "LOGICAL UNIT RESET";
    case TaskManagementFunction::target_warm_reset:
        return "TARGET WARM RESET";
    case TaskManagementFunction::target_cold_reset:
        return "TARGET COLD RESET";
    case TaskManagementFunction::task_reassign:
        return "TASK REASSIGN";
    case TaskManagementFunction::query_task:
        return "QUERY TASK";
    case TaskManagementFunction::query_task_set:
        return "QUERY TASK SET";
    case TaskManagementFunction::i_t_nexus_reset:
        return "I_T NEXUS RESET";
    case TaskManagementFunction::query_asynchronous_event:
        return "QUERY ASYNCHRONOUS EVENT";
    }
    return "reserved function";
}

std::string_view text(TaskManagementResponseCode response) {
    switch (response) {
    case TaskManagementResponseCode::complete:
        return "function complete";
    case TaskManagementResponseCode::no_such_task:
        return "task does not exist";
    case TaskManagementResponseCode::no_such_lun:
        return "LUN does not exist";
    case TaskManagementResponseCode::still_allegiant:
        return "task still allegiant";
    case TaskManagementResponseCode::reassignment_not_supported:
        return "task reassignment not supported";
    case TaskManagementResponseCode::function_not_supported:
        return "function not supported";
    case TaskManagementResponseCode::authorization_failed:
        return "function authorization failed";
    case TaskManagementResponseCode::succeeded:
        return "function succeeded";
    case TaskManagementResponseCode::rejected:
        return "function rejected";
    }
    return "reserved response";
}

std::string_view text(AsyncEvent event) {
    switch (event) {
    case AsyncEvent::scsi_event:
        return "SCSI event";
    case AsyncEvent::logout_request:
        return "target requests logout";
    case AsyncEvent::connection_drop:
        return "target drops the connection";
    case AsyncEvent::session_drop:
        return "target drops the session";
    case AsyncEvent::negotiation_request:
        return "target requests negotiation";
    case AsyncEvent::task_termination:
        return "target terminates tasks";
    case AsyncEvent::first_vendor_event:
        break;
    }
    return event >= AsyncEvent::first_vendor_event ? "vendor-specific event" : "unassigned event";
}

std::string_view text(LogoutReason reason) {
    switch (reason) {
    case LogoutReason::close_session:
        return "close the session";
    case LogoutReason::close_connection:
        return "close the connection";
    case LogoutReason::remove_for_recovery:
        return "remove the connection for recovery";
    }
    return "reserved reason";
}

std::string_view text(LogoutResponseCode response) {
    switch (response) {
    case LogoutResponseCode::closed:
        return "closed";
    case LogoutResponseCode::cid_not_found:
        return "CID not found";
    case LogoutResponseCode::recovery_not_supported:
        return "connection recovery not supported";
    case LogoutResponseCode::cleanup_failed:
        return "cleanup failed";
    }
    return "reserved response";
}

std::string_view text(SnackType type) {
    switch (type) {
    case SnackType::data_or_r2t:
        return "Data/R2T";
    case SnackType::status:
        return "Status";
    case SnackType::data_ack:
        return "DataACK";
    case SnackType::r_data:
        return "R-Data";
    }
    return "reserved type";
}

std::string_view text(RejectReason reason) {
    switch (reason) {
    case RejectReason::data_digest_error:
        return "data digest error";
    case RejectReason::snack_reject:
        return "SNACK reject";
    case RejectReason::protocol_error:
        return "protocol error";
    case RejectReason::command_not_supported:
        return "command not supported";
    case RejectReason::immediate_command_reject:
        return "too many immediate commands";
    case RejectReason::task_in_progress:
        return "task in progress";
    case RejectReason::invalid_data_ack:
        return "invalid data ack";
    case RejectReason::invalid_pdu_field:
        return "invalid PDU field";
    case RejectReason::long_operation_reject:
        return "long operation reject, out of resources";
    case RejectReason::negotiation_reset:
        return "negotiation reset";
    case RejectReason::waiting_for_logout:
        return "waiting for logout";
    }
    return "reserved reason";
}

std::string_view text(LoginStage stage) {
    switch (stage) {
    case LoginStage::security:
        return "security negotiation";
    case LoginStage::operational:
        return "operational negotiation";
    case LoginStage::full_feature:
        return "full feature phase";
    }
    return "reserved stage";
}

std::string_view text(LoginStatus status) {
    switch (status) {
    case LoginStatus::success:
        return "success";
    case LoginStatus::moved_temporarily:
        return "target moved temporarily";
    case LoginStatus::moved_permanently:
        return "target moved permanently";
    case LoginStatus::initiator_error:
        return "initiator error";
    case LoginStatus::authentication_failure:
        return "authentication failure";
    case LoginStatus::authorization_failure:
        return "authorization failure: this initiator may not access the target";
    case LoginStatus::not_found:
        return "target not found";
    case LoginStatus::target_removed:
        return "target removed";
    case LoginStatus::unsupported_version:
        return "unsupported protocol version";
    case LoginStatus::too_many_connections:
        return "too many connections";
    case LoginStatus::missing_parameter:
        return "missing parameter";
    case LoginStatus::cannot_include_in_session:
        return "the connection cannot be included in the session";
    case LoginStatus::session_type_not_supported:
        return "session type not supported";
    case LoginStatus::session_does_not_exist:
        return "session does not exist";
    case LoginStatus::invalid_during_login:
        return "invalid request during login";
    case LoginStatus::target_error:
        return "target error";
    case LoginStatus::service_unavailable:
        return "service unavailable";
    case LoginStatus::out_of_resources:
        return "target out of resources";
    }
    switch (status_class(status)) {
    case LoginStatusClass::success:
        return "success with an unknown detail";
    case LoginStatusClass::redirection:
        return "redirection with an unknown detail";
    case LoginStatusClass::initiator_error:
        return "initiator error with an unknown detail";
    case LoginStatusClass::target_error:
        return "target error with an unknown detail";
    }
    return "reserved status class";
}

} // namespace iscsi::wire

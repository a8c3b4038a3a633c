// Requests that are no SCSI commands: NOP-Out, Logout, task management.
#include "support/fake_target.hpp"

namespace iscsi::testing {

void FakeTarget::on_nop_out(const wire::NopOut& pdu, base::Bytes data) {
    wire::Bhs header = wire::generic(pdu);
    expect((pdu.flags & wire::final_bit) != 0, "NOP-Out has F");
    if (pdu.itt == base::reserved_tag) {
        expect(header.immediate(), "NOP-01 NOP-Out without ITT is immediate");
        return;
    }
    expect(pdu.ttt == base::reserved_tag, "NOP-02 our ping carries the reserved TTT");
    wire::NopIn answer;
    answer.itt = pdu.itt;
    send(stamped(answer), data);
}

void FakeTarget::on_logout(const wire::LogoutRequest& pdu) {
    expect((pdu.flags & wire::final_bit) != 0, "Logout has F");
    expect((pdu.flags & wire::logout_reason_mask) == 0, "Logout closes the session");
    logged_out_ = true;
    wire::LogoutResponse response;
    response.itt = pdu.itt;
    send(stamped(response));
}

void FakeTarget::on_task_management(const wire::TaskManagementRequest& pdu) {
    using Function = wire::TaskManagementFunction;
    auto function = static_cast<Function>(pdu.flags & wire::task_management_function_mask);
    expect((pdu.flags & wire::final_bit) != 0, "TMF-01 task management has F");
    expect(wire::generic(pdu).immediate(), "TMF-01 task management is immediate");
    expect(pdu.data_segment_length == 0U, "TMF-01 task management has no data");
    bool aborts_one = function == Function::abort_task;
    bool of_lun = aborts_one || function == Function::logical_unit_reset;
    expect(aborts_one == (pdu.referenced_task_tag != base::reserved_tag), "TMF-01 Referenced Task Tag");
    expect(of_lun || function == Function::target_warm_reset, "TMF-01 a function this target knows");
    expect(of_lun || pdu.lun == 0, "TMF-01 LUN is reserved when the target is reset");
    expect(aborts_one || pdu.ref_cmd_sn == 0U, "TMF-01 RefCmdSN is reserved unless a task is aborted");
    if (auto seen = commands_.find(pdu.referenced_task_tag); seen != commands_.end()) {
        expect(pdu.lun == seen->second.lun, "TMF-01 LUN is the task's");
        expect(pdu.ref_cmd_sn == seen->second.cmd_sn, "TMF-01 RefCmdSN is the task's");
    } else {
        expect(!aborts_one, "TMF-01 the task was sent before it is aborted");
    }
    managed_ = pdu;
    std::optional<std::uint8_t> response = manage ? manage(pdu) : std::optional<std::uint8_t>(0);
    if (response) {
        answer_management(*response);
    }
}

void FakeTarget::answer_management(std::uint8_t code) {
    wire::TaskManagementRequest request = *managed_;
    if (code == 0) {
        std::erase_if(held_, [&](std::uint32_t itt) { return is_managed(request, tasks_.at(itt).command); });
        std::erase_if(transfers_, [&](const auto& transfer) {
            return is_managed(request, tasks_.at(transfer.second.itt).command);
        });
        std::erase_if(tasks_, [&](const auto& task) { return is_managed(request, task.second.command); });
    }
    managed_.reset();
    wire::TaskManagementResponse response;
    response.itt = request.itt;
    response.response = code;
    send(stamped(response));
}

bool FakeTarget::is_managed(const wire::TaskManagementRequest& request, const wire::ScsiCommand& command) {
    auto function =
        static_cast<wire::TaskManagementFunction>(request.flags & wire::task_management_function_mask);
    switch (function) {
    case wire::TaskManagementFunction::abort_task:
        return command.itt == request.referenced_task_tag;
    case wire::TaskManagementFunction::logical_unit_reset:
        return command.lun == request.lun;
    default:
        return true;
    }
}

} // namespace iscsi::testing

// The judge is judged: a fake target that let errors pass would make every other test here worthless.

#include "harness.hpp"

namespace iscsi::testing {
namespace {

FakeTarget make_target() {
    PairConfig config = wrapping_config();
    FakeTargetConfig target = config.target;
    target.session.initial_r2t = false;
    target.numbers = config.session.numbers;
    return FakeTarget(target);
}

wire::ScsiCommand command_for(const FakeTarget& target, std::uint8_t flags, std::uint32_t bytes) {
    wire::ScsiCommand pdu;
    pdu.flags = flags;
    pdu.itt = 1;
    pdu.expected_data_transfer_length = bytes;
    pdu.cmd_sn = target.exp_cmd_sn.value();
    pdu.exp_stat_sn = target.stat_sn.value();
    pdu.cdb = disk_cdb((flags & wire::command_flag::write) != 0 ? write16 : read16, 0, bytes);
    return pdu;
}

bool complains(const FakeTarget& target, std::string_view about) {
    return std::any_of(target.violations.begin(), target.violations.end(),
                       [about](const std::string& v) { return v.find(about) != std::string::npos; });
}

TEST_CASE("the fake target notices a wrong CmdSN and a closed window", "[support]") {
    FakeTarget target = make_target();
    auto pdu = command_for(target, wire::final_bit | wire::command_flag::read, 8);
    target.receive(base::bytes_of_object(pdu));
    CHECK(target.violations.empty());
    target.receive(base::bytes_of_object(pdu));
    CHECK(complains(target, "SEQ-01"));
    target.config.window = 0;
    target.violations.clear();
    for (int i = 0; i < 40; ++i) {
        pdu.cmd_sn = target.exp_cmd_sn.value();
        target.receive(base::bytes_of_object(pdu));
    }
    CHECK(complains(target, "SEQ-02"));
}

TEST_CASE("the fake target notices a burst cut short and data nobody asked for", "[support]") {
    FakeTarget target = make_target();
    auto command = command_for(target, wire::command_flag::write, 200000);
    target.receive(base::bytes_of_object(command));
    wire::DataOut data;
    data.itt = 1;
    data.exp_stat_sn = target.stat_sn.value();
    data.flags = wire::final_bit;
    data.data_segment_length = 4;
    std::vector<std::byte> bytes(base::bytes_of_object(data).begin(), base::bytes_of_object(data).end());
    bytes.resize(bytes.size() + 4);
    target.receive(bytes);
    CHECK(complains(target, "DATA-02 exactly FirstBurstLength"));
    CHECK_FALSE(complains(target, "SEQ-06"));
    target.receive(bytes);
    CHECK(complains(target, "DATA-02 unsolicited data only when announced"));
    CHECK(complains(target, "SEQ-06"));
}

TEST_CASE("the fake target notices a command in the middle of another's unsolicited data", "[support]") {
    FakeTarget target = make_target();
    auto first = command_for(target, wire::command_flag::write, 1000);
    target.receive(base::bytes_of_object(first));
    auto second = command_for(target, wire::final_bit | wire::command_flag::read, 8);
    target.receive(base::bytes_of_object(second));
    CHECK(complains(target, "DATA-03"));
    CHECK(complains(target, "SEQ-07"));
}

TEST_CASE("the fake target notices task management that names the wrong task, and commands that do not wait",
          "[support]") {
    FakeTarget target = make_target();
    target.config.hold = true;
    target.manage = [](const wire::TaskManagementRequest&) { return std::optional<std::uint8_t>(); };
    auto command = command_for(target, wire::final_bit | wire::command_flag::read, 8);
    command.lun = test_lun.value();
    target.receive(base::bytes_of_object(command));
    wire::TaskManagementRequest abort;
    abort.opcode_byte = wire::opcode_byte(wire::Opcode::task_management_request, true);
    abort.flags = wire::final_bit | 1;
    abort.lun = test_lun.value();
    abort.itt = 2;
    abort.referenced_task_tag = 1;
    abort.ref_cmd_sn = command.cmd_sn;
    abort.cmd_sn = target.exp_cmd_sn.value();
    abort.exp_stat_sn = target.stat_sn.value();
    std::string complaint;
    SECTION("as it should be") {}
    SECTION("another CmdSN") {
        abort.ref_cmd_sn = target.exp_cmd_sn.value();
        complaint = "TMF-01 RefCmdSN";
    }
    SECTION("another LUN") {
        abort.lun = 0;
        complaint = "TMF-01 LUN";
    }
    SECTION("a task that there never was") {
        abort.referenced_task_tag = 7;
        complaint = "TMF-01 the task was sent";
    }
    SECTION("a reset that names a task") {
        abort.flags = wire::final_bit | 5;
        complaint = "TMF-01 Referenced Task Tag";
    }
    target.receive(base::bytes_of_object(abort));
    CHECK(target.violations.empty() == complaint.empty());
    CHECK((complaint.empty() || complains(target, complaint)));
    target.violations.clear();
    command.itt = 3;
    command.cmd_sn = target.exp_cmd_sn.value();
    command.lun = 0x0007000000000000ULL;
    target.receive(base::bytes_of_object(command));
    CHECK_FALSE(complains(target, "TMF-05"));
    command.itt = 4;
    command.cmd_sn = target.exp_cmd_sn.value();
    command.lun = abort.lun;
    target.receive(base::bytes_of_object(command));
    CHECK(complains(target, "TMF-05"));
    target.violations.clear();
    target.answer_management(0);
    command.itt = 5;
    command.cmd_sn = target.exp_cmd_sn.value();
    target.receive(base::bytes_of_object(command));
    CHECK_FALSE(complains(target, "TMF-05"));
}

TEST_CASE("the fake target notices a wrong digest", "[support]") {
    FakeTarget target = make_target();
    target.config.connection.header_digest = true;
    auto pdu = command_for(target, wire::final_bit | wire::command_flag::read, 8);
    target.receive(base::bytes_of_object(pdu));
    target.receive(base::Bytes(std::array<std::byte, 4>{}));
    CHECK(complains(target, "DIG-01"));
}

} // namespace
} // namespace iscsi::testing

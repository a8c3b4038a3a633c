// UNH-IOL full feature phase, initiators: group 16 but for what a target refuses (failures_test.cpp): the
// SCSI Command PDU.
#include "unh.hpp"

#include <algorithm>
#include <set>

using namespace iscsi;
using namespace iscsi::scripted;
using namespace iscsi::scripted::unh;

namespace {

/// What every command must show, whatever it moves.
void check_fields(Rig& rig, const Io& io, std::uint32_t cmd_sn) {
    Pdu command = rig.target.seen(scsi_command).back();
    bool read = io.direction == session::Direction::in;
    bool write = io.direction == session::Direction::out;
    CHECK(command.get(field::lun) == lun_field(3));
    CHECK(command.get(field::itt) != no_tag);
    CHECK(command.get32(field::cmd_sn) == cmd_sn);
    CHECK(command.get(field::attribute) == 1); // simple
    CHECK(command.get(field::expected_length) == io.memory.size());
    CHECK(command.has(field::read) == read);
    CHECK(command.has(field::write) == write);
    CHECK(command.get(field::ahs_words) == 0);
    CHECK(command.cdb() == io.cdb);
    CHECK_FALSE(command.has(field::immediate));
}

void check_all_fields(bool immediate_data) {
    RigConfig config = mode(true, immediate_data);
    config.target.disk.units = {0, 3};
    Rig rig(config);
    REQUIRE(rig.log_in());
    std::uint32_t cmd_sn = config.login.cmd_sn.value();
    for (std::uint32_t bytes : {512U, 4096U, 65536U}) {
        std::uint32_t acknowledged = rig.target.stat_sn;
        Io& write = rig.write(bytes, 8, 3);
        rig.run();
        check_fields(rig, write, cmd_sn++);
        CHECK(rig.target.seen(scsi_command).back().get32(field::exp_stat_sn) == acknowledged);
        std::size_t with_command = immediate_data ? std::min(bytes, segment) : 0;
        CHECK(rig.target.seen(scsi_command).back().get(field::data_length) == with_command);
        Io& read = rig.read(bytes, 8, 3);
        rig.run();
        check_fields(rig, read, cmd_sn++);
        CHECK(read.memory == write.memory);
        Io& none = rig.touch(3);
        rig.run();
        check_fields(rig, none, cmd_sn++);
    }
    std::set<std::uint64_t> tags;
    for (const Pdu& command : rig.target.seen(scsi_command)) {
        tags.insert(command.get(field::itt));
    }
    CHECK(tags.size() == 9);
    check_clean(rig.target);
}

/// The lengths around which the four modes differ.
std::uint32_t length() {
    return GENERATE(512U, segment - 512, segment, segment + 512, first_burst - 512, first_burst,
                    first_burst + 512, 100352U);
}

struct Sent {
    Pdu command;
    std::size_t immediate = 0;
    std::size_t unsolicited = 0;
};

Sent write_in(Rig& rig, std::uint32_t bytes) {
    Io& io = rig.write(bytes);
    rig.run();
    CHECK(io.good());
    CHECK(std::equal(io.memory.begin(), io.memory.end(), rig.target.disks.bytes().begin()));
    check_clean(rig.target);
    Sent sent;
    sent.command = rig.target.seen(write_command).back();
    sent.immediate = sent.command.data.size();
    sent.unsolicited = bytes_of_all(sequences(rig.target)[no_tag]);
    return sent;
}

} // namespace

TEST_CASE("the fields of a SCSI Command with immediate data", "[UNH-FFP-16.1.1]") {
    check_all_fields(true);
}

TEST_CASE("the fields of a SCSI Command without immediate data", "[UNH-FFP-16.1.2]") {
    check_all_fields(false);
}

TEST_CASE("ImmediateData=Yes, InitialR2T=Yes: data with the command, no other unasked, F set",
          "[UNH-FFP-16.2.1][DATA-02]") {
    std::uint32_t bytes = length();
    Rig rig(mode(true, true));
    REQUIRE(rig.log_in());
    Sent sent = write_in(rig, bytes);
    CHECK(sent.immediate == std::min(bytes, segment));
    CHECK(sent.unsolicited == 0);
    CHECK(sent.command.has(field::final));
}

TEST_CASE("ImmediateData=No, InitialR2T=Yes: no data unasked, F set", "[UNH-FFP-16.2.2][DATA-02]") {
    std::uint32_t bytes = length();
    Rig rig(mode(true, false));
    REQUIRE(rig.log_in());
    Sent sent = write_in(rig, bytes);
    CHECK(sent.immediate == 0);
    CHECK(sent.unsolicited == 0);
    CHECK(sent.command.has(field::final));
}

TEST_CASE("ImmediateData=No, InitialR2T=No: no data with the command, FirstBurstLength behind it",
          "[UNH-FFP-16.2.3][DATA-02]") {
    std::uint32_t bytes = length();
    Rig rig(mode(false, false));
    REQUIRE(rig.log_in());
    Sent sent = write_in(rig, bytes);
    CHECK(sent.immediate == 0);
    CHECK(sent.unsolicited == std::min(bytes, first_burst));
    CHECK_FALSE(sent.command.has(field::final));
}

TEST_CASE("ImmediateData=Yes, InitialR2T=No: both together are FirstBurstLength",
          "[UNH-FFP-16.2.4][DATA-02]") {
    std::uint32_t bytes = length();
    Rig rig(mode(false, true));
    REQUIRE(rig.log_in());
    Sent sent = write_in(rig, bytes);
    CHECK(sent.immediate == std::min(bytes, segment));
    CHECK(sent.immediate + sent.unsolicited == std::min(bytes, first_burst));
    CHECK(sent.command.has(field::final) == (bytes <= segment));
}

TEST_CASE("a command that no unsolicited data follows has the F bit", "[UNH-FFP-16.3.1][DATA-02]") {
    Rig rig(mode(true, GENERATE(true, false)));
    REQUIRE(rig.log_in());
    rig.write(length());
    rig.read(8192);
    rig.touch();
    rig.run();
    for (const Pdu& command : rig.target.seen(scsi_command)) {
        CHECK(command.has(field::final));
    }
    check_clean(rig.target);
}

TEST_CASE("a SCSI Response that closes the window is obeyed", "[UNH-FFP-16.5][SEQ-02]") {
    RigConfig config;
    config.target.window = 1;
    Rig rig(config);
    REQUIRE(rig.log_in());
    rig.target.on(scsi_command).once().run([&](const Pdu&) { rig.target.config.window = 0; }).also();
    Io& first = rig.touch();
    Io& second = rig.touch();
    rig.run();
    CHECK(first.good());
    CHECK(rig.target.seen(scsi_command).size() == 1);
    const Pdu response = rig.target.sent(scsi_response).at(0);
    CHECK(response.get32(field::max_cmd_sn) == response.get32(field::exp_cmd_sn) - 1);
    rig.target.config.window = 8;
    rig.target.send(Pdu(Opcode::nop_in));
    rig.run();
    CHECK(second.good());
    check_clean(rig.target);
}

TEST_CASE("ExpCmdSN and MaxCmdSN that contradict each other or go backwards change nothing",
          "[UNH-FFP-16.5][SEQ-02]") {
    RigConfig config;
    config.target.window = 4;
    Rig rig(config);
    REQUIRE(rig.log_in());
    std::uint32_t cmd_sn = config.login.cmd_sn.value();
    std::uint32_t max = rig.target.max_cmd_sn();
    rig.target.send(Pdu(Opcode::nop_in).set(field::max_cmd_sn, max - 3));
    rig.target.send(
        Pdu(Opcode::nop_in).set(field::exp_cmd_sn, cmd_sn + 100).set(field::max_cmd_sn, cmd_sn + 98));
    rig.target.send(Pdu(Opcode::nop_in).set(field::exp_cmd_sn, cmd_sn - 7).set(field::max_cmd_sn, max - 1));
    rig.run();
    CHECK(rig.session->window().expected().value() == cmd_sn);
    CHECK(rig.session->window().max().value() == max);
    rig.target.on(scsi_command).hold();
    for (int i = 0; i < 6; ++i) {
        rig.touch();
    }
    rig.run();
    CHECK(rig.target.held() == 4);
    check_clean(rig.target);
}

TEST_CASE("the Expected Data Transfer Length is what the command moves", "[UNH-FFP-16.6]") {
    RigConfig config;
    config.target.disk.block_bytes = 1; // so that lengths can be odd
    config.target.disk.blocks = 1 << 20;
    config.login.offers.immediate_data = GENERATE(true, false);
    Rig rig(config);
    REQUIRE(rig.log_in());
    for (std::uint32_t bytes : {1U, 2U, 3U, 511U, 513U, 8191U, 8193U, 262143U, 524287U}) {
        Io& write = rig.write(bytes, 1);
        rig.run();
        CHECK(write.good());
        CHECK(rig.target.seen(scsi_command).back().get(field::expected_length) == bytes);
        Io& read = rig.read(bytes, 1);
        rig.run();
        CHECK(read.good());
        CHECK(rig.target.seen(scsi_command).back().get(field::expected_length) == bytes);
        CHECK(read.memory == write.memory);
        CHECK(read.received_bytes == bytes);
    }
    rig.touch();
    rig.run();
    CHECK(rig.target.seen(scsi_command).back().get(field::expected_length) == 0);
    check_clean(rig.target);
}

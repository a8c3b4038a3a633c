#include "base/bytes.hpp"
#include "wire/bhs.hpp"
#include "wire/describe.hpp"
#include "wire/segments.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <random>
#include <string>

namespace base = iscsi::base;
namespace wire = iscsi::wire;

namespace {

template <class Pdu>
std::array<unsigned, 48> bytes_of(const Pdu& pdu) {
    std::array<unsigned, 48> out{};
    base::Bytes bytes = base::bytes_of_object(pdu);
    for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = std::to_integer<unsigned>(bytes[i]);
    }
    return out;
}

} // namespace

TEST_CASE("a SCSI Command is laid out as its figure", "[rfc7143-11.3]") {
    wire::ScsiCommand command;
    command.flags = wire::final_bit | wire::command_flag::write | 1;
    command.data_segment_length = 0x010203;
    command.lun = 0x0001000000000000ULL;
    command.itt = 0x11121314;
    command.expected_data_transfer_length = 0x21222324;
    command.cmd_sn = 0x31323334;
    command.exp_stat_sn = 0x41424344;
    command.cdb[0] = std::byte{0x2a};
    command.cdb[15] = std::byte{0x51};
    std::array<unsigned, 48> expected{0x01, 0xa1, 0,    0,    0,    1,    2,    3,    0,    1,    0,    0,
                                      0,    0,    0,    0,    0x11, 0x12, 0x13, 0x14, 0x21, 0x22, 0x23, 0x24,
                                      0x31, 0x32, 0x33, 0x34, 0x41, 0x42, 0x43, 0x44, 0x2a, 0,    0,    0,
                                      0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0x51};
    CHECK(bytes_of(command) == expected);
}

TEST_CASE("a Login Response is laid out as its figure", "[rfc7143-11.13]") {
    wire::LoginResponse response;
    response.flags = 0x87;
    response.isid = 0x010203040506ULL;
    response.tsih = 0x0708;
    response.stat_sn = 0x11121314;
    response.status = 0x0203;
    auto bytes = bytes_of(response);
    CHECK(bytes[0] == 0x23);
    CHECK(bytes[1] == 0x87);
    CHECK(bytes[8] == 1);
    CHECK(bytes[13] == 6);
    CHECK(bytes[14] == 7);
    CHECK(bytes[15] == 8);
    CHECK(bytes[24] == 0x11);
    CHECK(bytes[36] == 2);
    CHECK(bytes[37] == 3);
    CHECK(wire::current_stage(response.flags) == wire::LoginStage::operational);
    CHECK(wire::next_stage(response.flags) == wire::LoginStage::full_feature);
    CHECK(wire::stage_bits(wire::LoginStage::security, wire::LoginStage::operational) == 0x01);
}

TEST_CASE("headers begin with their opcodes and reserved tags", "[rfc7143-11.2]") {
    CHECK(bytes_of(wire::LoginRequest{})[0] == 0x43);
    CHECK(bytes_of(wire::NopOut{})[16] == 0xff);
    CHECK(bytes_of(wire::DataOut{})[20] == 0xff);
    CHECK(bytes_of(wire::Reject{})[0] == 0x3f);
    CHECK(bytes_of(wire::LogoutRequest{})[1] == 0x80);
    CHECK(wire::generic(wire::NopIn{}).opcode() == wire::Opcode::nop_in);
    CHECK(wire::generic(wire::NopIn{}).is_final());
    CHECK_FALSE(wire::generic(wire::NopIn{}).immediate());
}

TEST_CASE("segments follow each other in whole words, digests only where there is something",
          "[rfc7143-11.2]") {
    wire::Bhs header;
    CHECK(wire::segments_of(header, true, true).total() == 52);
    CHECK(wire::segments_of(header, false, true).total() == 48);
    header.total_ahs_length = 2;
    header.data_segment_length = 5;
    wire::Segments all = wire::segments_of(header, true, true);
    CHECK(all.ahs_bytes == 8);
    CHECK(all.data_offset() == 60);
    CHECK(all.padding_offset() == 65);
    CHECK(all.padding_bytes == 3);
    CHECK(all.data_digest_offset() == 68);
    CHECK(all.total() == 72);
    header.total_ahs_length = 255;
    header.data_segment_length = 0xffffff;
    CHECK(wire::segments_of(header, false, false).total() == 48 + 1020 + 0x1000000);
}

TEST_CASE("a description names the PDU and what matters in it", "[log]") {
    wire::LoginRequest request;
    request.flags = 0x81;
    request.itt = 1;
    request.cmd_sn = 7;
    request.data_segment_length = 312;
    CHECK(wire::describe_pdu(request) ==
          "Login Request I itt=0x00000001 T 0->1 tsih=0 cid=0 cmd_sn=7 exp_stat_sn=0 data=312");
    wire::Reject reject;
    reject.reason = 4;
    CHECK_THAT(wire::describe_pdu(reject), Catch::Contains("Reject") && Catch::Contains("protocol error"));
    wire::R2t r2t;
    r2t.desired_data_transfer_length = 4096;
    CHECK_THAT(wire::describe_pdu(r2t), Catch::Contains("R2T") && Catch::Contains("length=4096"));
    std::array<std::byte, 47> cut{};
    CHECK(wire::describe(base::Bytes(cut)) == "short header (47 bytes)");
}

TEST_CASE("any 48 bytes have a printable description", "[log]") {
    std::mt19937 random(1);
    for (unsigned opcode = 0; opcode < 256; ++opcode) {
        std::array<std::byte, 48> bytes{};
        for (std::byte& b : bytes) {
            b = static_cast<std::byte>(random());
        }
        bytes[0] = static_cast<std::byte>(opcode);
        std::string line = wire::describe(base::Bytes(bytes));
        CHECK_FALSE(line.empty());
        CHECK(std::all_of(line.begin(), line.end(), [](char c) { return c >= 0x20 && c < 0x7f; }));
    }
}

TEST_CASE("every login status has words", "[rfc7143-11.13.5]") {
    CHECK(text(wire::LoginStatus::not_found) == "target not found");
    CHECK(text(static_cast<wire::LoginStatus>(0x02fe)) == "initiator error with an unknown detail");
    CHECK(text(static_cast<wire::LoginStatus>(0x0400)) == "reserved status class");
    CHECK(text(static_cast<wire::Opcode>(0x1d)) == "vendor-specific PDU");
    CHECK(text(static_cast<wire::AsyncEvent>(250)) == "vendor-specific event");
}

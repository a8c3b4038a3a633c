// What a script can do to our initiator, seen from both ends.
#include "scripted/rig.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <chrono>
#include <vector>

using namespace iscsi;
using namespace iscsi::scripted;

namespace {

RigConfig small() {
    RigConfig config;
    config.login.offers.max_recv_data_segment_bytes = 4096;
    config.login.offers.header_digest = "CRC32C";
    config.login.offers.data_digest = "CRC32C";
    return config;
}

} // namespace

TEST_CASE("a line is about what it says, as often as it says, and the last one goes first") {
    Rig rig;
    REQUIRE(rig.log_in());
    rig.target.on(scsi_command).reply(Target::status(scsi_status::busy));
    rig.target.on(scsi_command.with(field::lun, lun_field(9))).reply(Target::status(0x40));
    rig.target.on(scsi_command).after(1).times(2).reply(Target::status(scsi_status::task_set_full));
    std::vector<std::uint8_t> status;
    for (std::uint8_t unit : std::array<std::uint8_t, 5>{0, 0, 9, 9, 0}) {
        Io& io = rig.touch(unit);
        rig.run();
        REQUIRE(io.done);
        status.push_back(io.status);
    }
    CHECK(status == std::vector<std::uint8_t>{0x08, 0x28, 0x28, 0x40, 0x08});
    rig.target.clear();
    Io& io = rig.touch();
    rig.run();
    CHECK(io.good());
}

TEST_CASE("what is held goes out behind what is not: responses in another order") {
    Rig rig;
    REQUIRE(rig.log_in());
    rig.target.executing(scsi_command).once().hold();
    Io& first = rig.touch();
    Io& second = rig.touch();
    rig.run();
    CHECK(second.good());
    CHECK_FALSE(first.done);
    rig.target.release();
    rig.run();
    CHECK(first.good());
    CHECK(rig.target.complaints().empty());

    // The same with PDUs that are numbered already: StatSN goes backwards, and the session ends.
    rig.target.sending(scsi_response).once().hold();
    rig.touch();
    rig.touch();
    rig.run();
    CHECK_FALSE(rig.result);
}

TEST_CASE("a PDU that is doubled, dropped, cut off or damaged ends the session, and no data is handed on",
          "[DIG-02][DIG-03][DATA-10][SEQ-06]") {
    Rig rig(small());
    REQUIRE(rig.log_in());
    SendRule& line = rig.target.sending(data_in).after(1).once();
    base::Errc expected = base::Errc::protocol;
    bool ends = true;
    SECTION("doubled") {
        line.duplicate();
    }
    SECTION("dropped") {
        line.drop();
    }
    SECTION("header digest") {
        line.corrupt_header_digest();
        expected = base::Errc::digest;
    }
    SECTION("data digest") {
        line.corrupt_data_digest();
        expected = base::Errc::digest;
    }
    SECTION("data") {
        line.flip_data(100);
        expected = base::Errc::digest;
    }
    SECTION("too long") {
        line.set(field::data_length, 4100);
    }
    SECTION("cut off") {
        line.cut(60).close(Ending::abort);
        ends = false; // by itself: the connection does
    }
    Io& io = rig.read(16384);
    rig.run();
    CHECK(static_cast<bool>(rig.result) != ends);
    CHECK((!ends || rig.result.error().code == expected));
    CHECK((ends || rig.target.ending() == Ending::abort));
    CHECK_FALSE(io.done);
}

TEST_CASE("a delivery ends where the script says, and the initiator does not mind") {
    Rig rig(small());
    REQUIRE(rig.log_in());
    rig.target.sending(data_in).split({1, 47, 48, 51, 52, 53, 4147, 4148, 4151});
    Io& written = rig.write(16384);
    rig.run();
    Io& io = rig.read(16384);
    std::size_t steps = 0;
    while (rig.step()) {
        ++steps;
    }
    CHECK(io.good());
    CHECK(io.memory == written.memory);
    CHECK(steps > 4 * 9);
}

TEST_CASE("any field of any PDU can be what a test wants, the login's too") {
    Rig rig;
    SECTION("a field") {
        rig.target.sending(login_response).once().set(field::version_active, 3);
    }
    SECTION("a status") {
        rig.target.sending(login_response).after(1).once().set(field::status_class, 3);
    }
    SECTION("a key") {
        rig.target.sending(login_response).after(1).edit([](Pdu& pdu) {
            pdu.set_key("MaxBurstLength", "511");
        });
    }
    SECTION("a byte that has no name") {
        rig.target.sending(login_response).once().set(bytes_at("opcode byte", 0, 1), 0x3e);
    }
    CHECK_FALSE(rig.log_in());
}

TEST_CASE("the target speaks without being asked") {
    Rig rig;
    REQUIRE(rig.log_in());
    rig.target.send(Pdu(Opcode::async_message).set(field::async_event, 1).set(field::parameter3, 7));
    rig.run();
    REQUIRE(rig.events.size() == 1);
    CHECK(rig.events[0].kind == session::Event::Kind::logout_requested);
    CHECK(rig.events[0].within_s == 7);
    SECTION("an R2T for nothing") {
        rig.target.send(Pdu(Opcode::r2t).set(field::itt, 0x7000));
    }
    SECTION("a Reject of a command that was not sent") {
        rig.target.send(
            Pdu(Opcode::reject).set(field::reject_reason, 4).with_data(ByteVector(48, std::byte{1})));
    }
    SECTION("an opcode of nobody") {
        rig.target.send(Pdu(Opcode::nop_in).set(field::opcode, 0x2f));
    }
    rig.run();
    CHECK_FALSE(rig.result);
}

TEST_CASE("a new connection forgets the last one's state and keeps the script") {
    Rig rig;
    REQUIRE(rig.log_in());
    rig.target.on(scsi_command).reply(Target::status(scsi_status::busy));
    rig.touch();
    rig.run();
    rig.drop();
    REQUIRE(rig.log_in());
    Io& io = rig.touch();
    rig.run();
    CHECK(io.status == scsi_status::busy);
    CHECK(rig.target.connections() == 2);
    CHECK(rig.target.sent(login_response).back().get32(field::stat_sn) ==
          rig.config.target.first_stat_sn + 1);
    CHECK(rig.target.complaints().empty());
}

TEST_CASE("reserved bits that a target sets mean nothing, and we set none", "[DATA-09]") {
    RigConfig config = small();
    config.nop_out_interval = std::chrono::seconds(5);
    config.nop_out_timeout = std::chrono::seconds(5);
    Rig rig(config);
    std::vector<Opcode> kinds;
    rig.target.sending(any_pdu).edit([&](Pdu& pdu) {
        kinds.push_back(pdu.opcode());
        pdu.set_reserved();
    });
    REQUIRE(rig.log_in());
    Io& written = rig.write(300032);
    rig.run();
    Io& io = rig.read(300032);
    Io& refused = rig.touch(9);
    rig.advance(std::chrono::seconds(6));
    rig.target.ping();
    rig.target.send(Pdu(Opcode::async_message).set(field::async_event, 255));
    rig.run();
    rig.session->begin_logout(rig.now);
    rig.run();
    CHECK(rig.result);
    CHECK(rig.session->logged_out());
    CHECK(io.good());
    CHECK(io.memory == written.memory);
    CHECK(refused.status == scsi_status::check_condition);
    for (Opcode opcode : {Opcode::login_response, Opcode::r2t, Opcode::data_in, Opcode::scsi_response,
                          Opcode::nop_in, Opcode::async_message, Opcode::logout_response}) {
        CHECK(std::ranges::count(kinds, opcode) > 0);
    }
    CHECK(rig.target.complaints().empty());
}

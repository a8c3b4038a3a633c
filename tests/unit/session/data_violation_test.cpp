// What a target does wrong with data, one rule each: the session says which, ends the connection,
// and no command that was touched by it ever completes as responded.
#include "scene.hpp"

namespace iscsi::testing {
namespace {

TEST_CASE("Data-In for a task that does not exist is never written", "[rfc7143-11.7][SEQ-08]") {
    Scene scene;
    scene.read(64);
    auto pdu = scene.pair.target.stamped(scene.data_in(0, 0), FakeTarget::Status::none);
    auto foreign = GENERATE(std::uint32_t{0}, base::reserved_tag, std::uint32_t{0x00000801});
    pdu.itt = foreign == 0 ? scene.itt + (1U << session::tag_slot_bits) : foreign; // 0: its next generation
    scene.send(pdu, 64);
    CHECK(scene.io.buffer == std::vector<std::byte>(64, std::byte{0xee}));
    scene.protocol_error("does not exist");
}

TEST_CASE("Data-In for a task that has ended is never written", "[rfc7143-11.7][SEQ-08]") {
    Scene scene;
    scene.read(64);
    scene.pair.target.execute();
    scene.pair.run();
    REQUIRE(completions(scene.pair.session).size() == 1);
    std::vector<std::byte> was = scene.io.buffer;
    scene.send(scene.pair.target.stamped(scene.data_in(0, 0), FakeTarget::Status::none), 64);
    REQUIRE_FALSE(scene.pair.result);
    CHECK(scene.io.buffer == was);
}

TEST_CASE("Data-In for a write is refused", "[rfc7143-11.7][SEQ-08]") {
    Scene scene;
    scene.write(64);
    scene.send(scene.pair.target.stamped(scene.data_in(0, 0), FakeTarget::Status::none), 64);
    scene.protocol_error("reads nothing");
}

TEST_CASE("a gap in DataSN is refused", "[rfc7143-4.2.2.3][SEQ-06]") {
    Scene scene;
    scene.read(64);
    auto sn = GENERATE(1U, 0xffffffffU);
    scene.send(scene.pair.target.stamped(scene.data_in(sn, 0), FakeTarget::Status::none), 32);
    scene.protocol_error("DataSN");
}

TEST_CASE("a gap in the buffer offset of Data-In is refused", "[rfc7143-13.18][SEQ-06]") {
    Scene scene;
    scene.read(64);
    scene.send(scene.pair.target.stamped(scene.data_in(0, 32), FakeTarget::Status::none), 32);
    scene.protocol_error("offset 32, expected 0");
}

TEST_CASE("Data-In out of order is placed when that was negotiated", "[rfc7143-13.18]") {
    PairConfig config = wrapping_config();
    config.session.session.data_pdu_in_order = false;
    Scene scene(config);
    scene.read(64);
    FakeTarget& target = scene.pair.target;
    target.send(target.stamped(scene.data_in(0, 32), FakeTarget::Status::none),
                base::Bytes(target.disk).subspan(32, 32));
    auto last = scene.data_in(1, 0);
    last.flags = wire::final_bit | wire::data_in_flag::status;
    target.send(target.stamped(last), base::Bytes(target.disk).first(32));
    scene.pair.run();
    REQUIRE(scene.pair.result);
    REQUIRE(completions(scene.pair.session).size() == 1);
    CHECK(std::equal(scene.io.buffer.begin(), scene.io.buffer.end(), target.disk.begin()));
}

TEST_CASE("the same range twice does not make a read complete", "[rfc7143-11.7][DATA-05]") {
    PairConfig config = wrapping_config();
    config.session.session.data_pdu_in_order = false;
    Scene scene(config);
    scene.read(64);
    FakeTarget& target = scene.pair.target;
    for (std::uint32_t sn = 0; sn < 3; ++sn) {
        target.send(target.stamped(scene.data_in(sn, 0), FakeTarget::Status::none), pattern(32, 1));
    }
    scene.pair.run();
    scene.protocol_error("more Data-In");
}

TEST_CASE("Data-In beyond the expected length is refused before it is stored", "[rfc7143-11.7][DATA-05]") {
    Scene scene;
    scene.read(64);
    auto offset = GENERATE(0U, 1U, 65U, 0xffffffffU);
    scene.send(scene.pair.target.stamped(scene.data_in(0, offset), FakeTarget::Status::none),
               offset == 0 ? 65 : 64);
    CHECK(scene.io.buffer == std::vector<std::byte>(64, std::byte{0xee}));
    scene.protocol_error("outside");
}

TEST_CASE("status on a Data-In that is not final is refused", "[rfc7143-11.7.3][DATA-05]") {
    Scene scene;
    scene.read(64);
    auto pdu = scene.data_in(0, 0);
    pdu.flags = wire::data_in_flag::status;
    scene.send(scene.pair.target.stamped(pdu), 64);
    scene.protocol_error("without the F bit");
}

TEST_CASE("only good status may ride on Data-In", "[rfc7143-11.7.3][DATA-05]") {
    Scene scene;
    scene.read(64);
    auto pdu = scene.data_in(0, 0);
    pdu.flags = wire::final_bit | wire::data_in_flag::status;
    pdu.status = 0x02;
    scene.send(scene.pair.target.stamped(pdu), 64);
    scene.protocol_error("status 0x02");
}

TEST_CASE("a data segment longer than we declared is refused by its header", "[rfc7143-13.12][DATA-10]") {
    Scene scene;
    scene.read(20000);
    auto pdu = scene.pair.target.stamped(scene.data_in(0, 0), FakeTarget::Status::none);
    // The header alone: nothing is waited for, nothing stored.
    scene.pair.target.damage = [](std::vector<std::byte>& raw) { raw.resize(wire::bhs_bytes); };
    scene.send(pdu, 8193);
    CHECK(scene.io.buffer == std::vector<std::byte>(20000, std::byte{0xee}));
    scene.protocol_error("8193");
}

TEST_CASE("an R2T that breaks a rule is refused", "[rfc7143-11.8][DATA-04][SEQ-08]") {
    PairConfig config = wrapping_config();
    config.session.session.immediate_data = false;
    config.session.session.max_burst_bytes = 1024;
    config.session.session.first_burst_bytes = 512;
    Scene scene(config);
    scene.write(4096);
    wire::R2t pdu = scene.r2t(0, 1024);
    std::string why;
    SECTION("for a task that does not exist") {
        pdu.itt = scene.itt ^ 1U;
        why = "does not exist";
    }
    SECTION("with another LUN") {
        pdu.lun = 0;
        why = "LUN";
    }
    SECTION("with the reserved tag") {
        pdu.ttt = base::reserved_tag;
        why = "reserved Target Transfer Tag";
    }
    SECTION("with a gap in R2TSN") {
        pdu.r2t_sn = 1;
        why = "R2TSN 1, expected 0";
    }
    SECTION("for nothing") {
        pdu.desired_data_transfer_length = 0;
        why = "R2T for 0 bytes";
    }
    SECTION("for more than MaxBurstLength") {
        pdu.desired_data_transfer_length = 1025;
        why = "MaxBurstLength is 1024";
    }
    SECTION("for data beyond the end") {
        pdu.buffer_offset = 3073;
        why = "outside the 4096";
    }
    SECTION("for data far beyond the end") {
        pdu.buffer_offset = 0xfffffff0U;
        why = "outside the 4096";
    }
    scene.send(scene.pair.target.stamped(pdu, FakeTarget::Status::shows));
    CHECK(scene.pair.session.statistics().dataout_pdus == 0);
    scene.protocol_error(why);
}

TEST_CASE("an R2T for a read is refused", "[rfc7143-11.8][DATA-04]") {
    Scene scene;
    scene.read(64);
    scene.send(scene.pair.target.stamped(scene.r2t(0, 64), FakeTarget::Status::shows));
    scene.protocol_error("writes nothing");
}

TEST_CASE("more R2Ts than MaxOutstandingR2T are refused", "[rfc7143-13.17][DATA-04]") {
    PairConfig config = wrapping_config();
    config.session.session.immediate_data = false;
    config.session.session.max_outstanding_r2t = 2;
    Scene scene(config);
    scene.write(4096);
    for (std::uint32_t sn = 0; sn < 3; ++sn) {
        auto pdu = scene.r2t(sn * 512, 512);
        pdu.r2t_sn = sn;
        pdu.ttt = 100 + sn;
        scene.pair.target.send(scene.pair.target.stamped(pdu, FakeTarget::Status::shows));
    }
    while (scene.pair.receive()) { // All three before any of them can be answered.
    }
    scene.protocol_error("MaxOutstandingR2T 2");
}

} // namespace
} // namespace iscsi::testing

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

TEST_CASE("a data segment longer than we declared is refused by its header",
          "[rfc7143-13.12][DATA-10][DIG-05]") {
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

TEST_CASE("an R2T for what was given or asked for already is refused", "[rfc7143-11.8][DATA-04][SEQ-08]") {
    PairConfig config = wrapping_config();
    config.session.session.max_outstanding_r2t = 4;
    config.session.session.first_burst_bytes = 1024;
    config.session.connection.max_xmit_data_segment_bytes = 512;
    config.session.session.immediate_data = GENERATE(false, true);
    config.session.session.initial_r2t = GENERATE(false, true);
    const wire::SessionParameters& session = config.session.session;
    std::uint32_t given = session.initial_r2t ? (session.immediate_data ? 512 : 0) : 1024;
    Scene scene(config);
    scene.write(4096);
    auto ask = [&scene](std::uint32_t r2t_sn, std::uint32_t offset, std::uint32_t bytes) {
        wire::R2t pdu = scene.r2t(offset, bytes);
        pdu.r2t_sn = r2t_sn;
        scene.send(scene.pair.target.stamped(pdu, FakeTarget::Status::shows));
        return bool(scene.pair.result);
    };
    auto wrong = GENERATE(0, 1, 2, 3);
    CAPTURE(given, wrong);
    if (wrong == 0) { // What it was given unasked.
        if (given > 0) {
            CHECK_FALSE(ask(0, given - 1, 2));
        } else {
            CHECK(ask(0, 0, 1));
            CHECK_FALSE(ask(1, 0, 2));
        }
    } else if (wrong == 1) { // The same once more.
        REQUIRE(ask(0, given, 512));
        CHECK_FALSE(ask(1, given, 512));
    } else if (wrong == 2) { // A part of it, from the other side.
        REQUIRE(ask(0, 3072, 512));
        REQUIRE(ask(1, given, 512));
        CHECK_FALSE(ask(2, 2048, 1025));
    } else { // A byte here and there.
        std::uint32_t sn = 0;
        while (sn < 10 && ask(sn, 2000 + 10 * sn, 1)) {
            ++sn;
        }
        CHECK(sn == session::Ranges::most - (given > 0 ? 1 : 0));
    }
    scene.protocol_error("asked for before");
}

/// A write of 4096 bytes of which the target has asked for the first `asked`, and has them.
class HalfWrite : public Scene {
public:
    explicit HalfWrite(std::uint32_t asked) : Scene(config()) {
        write(4096);
        response.itt = itt;
        rest = r2t(asked, 4096 - asked);
        if (asked > 0) {
            send(pair.target.stamped(r2t(0, asked), FakeTarget::Status::shows));
            rest.r2t_sn = 1;
        }
        REQUIRE(pair.result);
    }
    void receive_all() {
        while (pair.receive()) {
        }
    }

    wire::ScsiResponse response; ///< GOOD
    wire::R2t rest;              ///< for what is left

private:
    static PairConfig config() {
        PairConfig config = wrapping_config();
        config.session.session.immediate_data = false;
        config.session.session.max_outstanding_r2t = 4;
        config.session.connection.max_xmit_data_segment_bytes = 1024;
        return config;
    }
};

TEST_CASE("good status for a write of which not all was sent is refused",
          "[rfc7143-11.4.5][DATA-05][DATA-06]") {
    auto asked = GENERATE(0U, 512U, 4095U);
    HalfWrite scene(asked);
    FakeTarget& target = scene.pair.target;
    wire::ScsiResponse& response = scene.response;
    SECTION("without a word about it") {
        scene.send(target.stamped(response));
        scene.protocol_error("good status for a write with " + std::to_string(asked) + " of 4096");
    }
    SECTION("with a residual that does not tell all of it") {
        response.flags |= wire::response_flag::underflow;
        response.residual_count = 4096 - asked - 1;
        scene.send(target.stamped(response));
        scene.protocol_error("good status for a write");
    }
    SECTION("but its residual may say so") {
        response.flags |= wire::response_flag::underflow;
        response.residual_count = 4096 - asked;
        scene.send(target.stamped(response));
        REQUIRE(scene.pair.result);
        CHECK(completions(scene.pair.session).size() == 1);
        CHECK(scene.io.command.underflow_bytes == 4096 - asked);
    }
    SECTION("and a write that failed need not have taken it") {
        response.status = 2;
        scene.send(target.stamped(response));
        REQUIRE(scene.pair.result);
        CHECK(completions(scene.pair.session).size() == 1);
    }
}

TEST_CASE("good status for a write whose last R2T is not answered is refused", "[rfc7143-11.4.5][DATA-05]") {
    auto asked = GENERATE(0U, 512U);
    HalfWrite scene(asked);
    FakeTarget& target = scene.pair.target;
    target.send(target.stamped(scene.rest, FakeTarget::Status::shows));
    bool began = GENERATE(false, true);
    if (began) {
        scene.receive_all();
        scene.pair.wire.iovecs = 3;
        REQUIRE(scene.pair.send());
    }
    CHECK(scene.pair.session.statistics().dataout_pdus == (asked > 0 ? 1U : 0U) + (began ? 1U : 0U));
    target.send(target.stamped(scene.response));
    scene.receive_all();
    scene.protocol_error("good status for a write");
}

} // namespace
} // namespace iscsi::testing

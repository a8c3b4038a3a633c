// What a target does wrong, one rule each: the session says which, ends the connection, and no command that
// was touched by it ever completes as responded.
#include "harness.hpp"

namespace iscsi::testing {
namespace {

using Catch::Matchers::Contains;
using wire::Opcode;

/// One command at the target, which keeps its peace until the test speaks for it.
class Scene {
public:
    explicit Scene(PairConfig config = wrapping_config()) : pair(with_hold(std::move(config))) {
        pair.target.keep_log = true;
        pair.target.disk = pattern(pair.target.disk.size(), 3);
    }
    void read(std::uint32_t bytes) {
        io.read(0, bytes);
        begin();
    }
    void write(std::uint32_t bytes) {
        // R2Ts are the test's to send.
        pair.target.intercept = [](const wire::Bhs&, base::Bytes) { return true; };
        io.write(0, pattern(bytes, 4));
        begin();
    }
    wire::DataIn data_in(std::uint32_t data_sn, std::uint32_t offset) const {
        wire::DataIn pdu;
        pdu.itt = itt;
        pdu.data_sn = data_sn;
        pdu.buffer_offset = offset;
        return pdu;
    }
    wire::R2t r2t(std::uint32_t offset, std::uint32_t bytes) const {
        wire::R2t pdu;
        pdu.lun = test_lun.value();
        pdu.itt = itt;
        pdu.ttt = 77;
        pdu.buffer_offset = offset;
        pdu.desired_data_transfer_length = bytes;
        return pdu;
    }
    template <class Pdu>
    void send(const Pdu& pdu, std::size_t data_bytes = 0) {
        pair.target.send(pdu, pattern(data_bytes, 9));
        pair.run();
    }
    /// The session took none of it, and says why.
    void refused(base::Errc code, const std::string& why) {
        REQUIRE_FALSE(pair.result);
        CHECK(pair.result.error().code == code);
        CHECK_THAT(pair.result.error().detail, Contains(why));
        CHECK(completions(pair.session).empty());
        base::RxSpans spans = pair.session.rx_spans();
        CHECK((spans.direct.empty() && spans.staging.empty()));
        std::array<iovec, 4> out{};
        CHECK(pair.session.tx_spans(out).empty());
        pair.session.abandon();
        auto ended = completions(pair.session);
        REQUIRE(ended.size() == 1);
        CHECK(ended[0]->outcome == session::Outcome::lost);
    }
    void protocol_error(const std::string& why) { refused(base::Errc::protocol, why); }

    Pair pair;
    Io io;
    std::uint32_t itt = 0;

private:
    static PairConfig with_hold(PairConfig config) {
        config.target.hold = true;
        return config;
    }
    void begin() {
        pair.session.submit(io.command);
        pair.run();
        itt = newest_itt(pair.target);
    }
};

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

TEST_CASE("good status with less data than expected is refused", "[rfc7143-11.4.5][DATA-06]") {
    Scene scene;
    scene.read(64);
    FakeTarget& target = scene.pair.target;
    target.send(target.stamped(scene.data_in(0, 0), FakeTarget::Status::none), pattern(32, 1));
    scene.send(target.response_to(scene.itt));
    scene.protocol_error("32 bytes of data, 64 were due");
}

TEST_CASE("good status in a Data-In with less data than expected is refused", "[rfc7143-11.7][DATA-06]") {
    Scene scene;
    scene.read(64);
    auto pdu = scene.data_in(0, 0);
    pdu.flags = wire::final_bit | wire::data_in_flag::status;
    scene.send(scene.pair.target.stamped(pdu), 60);
    scene.protocol_error("60 bytes of data, 64 were due");
}

TEST_CASE("an underflow that does not match the data is refused", "[rfc7143-11.4.5][DATA-06]") {
    Scene scene;
    scene.read(64);
    FakeTarget& target = scene.pair.target;
    target.send(target.stamped(scene.data_in(0, 0), FakeTarget::Status::none), pattern(32, 1));
    auto response = target.response_to(scene.itt);
    response.flags |= wire::response_flag::underflow;
    response.residual_count = 16;
    scene.send(response);
    scene.protocol_error("32 bytes of data, 48 were due");
}

TEST_CASE("a residual that cannot be is refused", "[rfc7143-11.4.5][DATA-06]") {
    Scene scene;
    scene.read(64);
    auto response = scene.pair.target.response_to(scene.itt);
    SECTION("more underflow than was expected at all") {
        response.flags |= wire::response_flag::underflow;
        response.residual_count = 65;
        scene.send(response);
        scene.protocol_error("underflow of 65");
    }
    SECTION("underflow and overflow at once") {
        response.flags |= wire::response_flag::underflow | wire::response_flag::overflow;
        response.residual_count = 64;
        scene.send(response);
        scene.protocol_error("at once");
    }
}

TEST_CASE("an ExpDataSN that misses Data-In PDUs is refused", "[rfc7143-11.4.8][DATA-07]") {
    Scene scene;
    scene.read(64);
    FakeTarget& target = scene.pair.target;
    target.send(target.stamped(scene.data_in(0, 0), FakeTarget::Status::none), pattern(64, 1));
    auto response = target.response_to(scene.itt);
    response.exp_data_sn = 2;
    scene.send(response);
    scene.protocol_error("ExpDataSN 2 after 1");
}

TEST_CASE("a response for a task that does not exist is refused", "[rfc7143-11.4][SEQ-08]") {
    Scene scene;
    scene.read(64);
    scene.send(scene.pair.target.response_to(scene.itt ^ 1U));
    scene.protocol_error("does not exist");
}

TEST_CASE("a reserved response code is refused", "[rfc7143-11.4.3][DATA-09]") {
    Scene scene;
    scene.read(64);
    auto response = scene.pair.target.response_to(scene.itt);
    response.response = 0x02;
    scene.send(response);
    scene.protocol_error("reserved response code 0x02");
}

TEST_CASE("a gap in StatSN is refused", "[rfc7143-4.2.2.2][SEQ-05]") {
    Scene scene;
    scene.write(64);
    auto ahead = GENERATE(1U, 0xffffffffU);
    scene.pair.target.stat_sn = scene.pair.target.stat_sn + ahead;
    SECTION("of a SCSI Response") {
        scene.send(scene.pair.target.response_to(scene.itt));
        scene.protocol_error("StatSN");
    }
    SECTION("of an Asynchronous Message") {
        scene.send(scene.pair.target.stamped(wire::AsyncMessage{}));
        scene.protocol_error("StatSN");
    }
    SECTION("of a Reject") {
        scene.send(scene.pair.target.stamped(wire::Reject{}), 48);
        scene.protocol_error("StatSN");
    }
}

TEST_CASE("a gap in StatSN of a Data-In with status is refused", "[rfc7143-4.2.2.2][SEQ-05]") {
    Scene scene;
    scene.read(64);
    ++scene.pair.target.stat_sn;
    auto pdu = scene.data_in(0, 0);
    pdu.flags = wire::final_bit | wire::data_in_flag::status;
    scene.send(scene.pair.target.stamped(pdu), 64);
    scene.protocol_error("StatSN");
}

TEST_CASE("sense data longer than its segment is refused", "[rfc7143-11.4.7]") {
    Scene scene;
    scene.read(64);
    auto response = scene.pair.target.response_to(scene.itt, 2);
    std::vector<std::byte> data(20);
    SECTION("SenseLength beyond the end") {
        data[1] = std::byte{19};
        scene.pair.target.send(response, data);
        scene.pair.run();
        scene.protocol_error("SenseLength 19");
    }
    SECTION("no room for SenseLength itself") {
        scene.pair.target.send(response, base::Bytes(data).first(1));
        scene.pair.run();
        scene.protocol_error("one byte");
    }
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

TEST_CASE("a PDU that has no place in full feature phase is refused by its header",
          "[rfc7143-7.8][DATA-09]") {
    Scene scene;
    scene.read(64);
    auto opcode = GENERATE(Opcode::login_response, Opcode::text_response, Opcode::task_management_response,
                           Opcode::scsi_command, static_cast<Opcode>(0x2f), static_cast<Opcode>(0x3e));
    wire::Bhs pdu;
    pdu.opcode_byte = wire::opcode_byte(opcode);
    pdu.flags = wire::final_bit;
    scene.pair.target.damage = [](std::vector<std::byte>& raw) { raw.resize(wire::bhs_bytes); };
    scene.send(pdu, 100);
    scene.protocol_error("unexpected PDU");
}

TEST_CASE("a header that does not match its digest ends the connection", "[rfc7143-7.7][DIG-02]") {
    PairConfig config = wrapping_config();
    config.session.connection.header_digest = true;
    Scene scene(config);
    scene.read(64);
    auto at = GENERATE(std::size_t{0}, std::size_t{19}, std::size_t{47}, std::size_t{48}, std::size_t{51});
    scene.pair.target.damage = [at](std::vector<std::byte>& raw) { raw[at] ^= std::byte{0x10}; };
    scene.pair.target.execute();
    scene.pair.run();
    CHECK(scene.io.buffer == std::vector<std::byte>(64, std::byte{0xee}));
    CHECK(scene.pair.session.statistics().digest_err == 1);
    scene.refused(base::Errc::digest, "header digest");
}

TEST_CASE("data that does not match its digest is never delivered", "[rfc7143-7.7][DIG-03]") {
    PairConfig config = wrapping_config();
    config.session.connection.data_digest = true;
    config.session.connection.max_recv_data_segment_bytes = 65536;
    Scene scene(config);
    auto bytes = GENERATE(61U, 64U, 40000U);
    scene.read(bytes);
    scene.pair.wire.chunk_max = GENERATE(std::size_t{1000}, SIZE_MAX);
    auto from_end = GENERATE(std::size_t{1}, std::size_t{4}, std::size_t{5}, std::size_t{60});
    scene.pair.target.damage = [from_end](std::vector<std::byte>& raw) {
        raw[raw.size() - from_end] ^= std::byte{1};
    };
    scene.pair.target.execute();
    scene.pair.run();
    CHECK(scene.pair.session.statistics().digest_err == 1);
    scene.refused(base::Errc::digest, "data digest");
}

TEST_CASE("sense that does not match its digest is never believed", "[rfc7143-7.7][DIG-03]") {
    PairConfig config = wrapping_config();
    config.session.connection.data_digest = true;
    Scene scene(config);
    scene.read(64);
    std::vector<std::byte> data(20);
    data[1] = std::byte{18};
    scene.pair.target.damage = [](std::vector<std::byte>& raw) { raw[50] ^= std::byte{1}; };
    scene.pair.target.send(scene.pair.target.response_to(scene.itt, 2), data);
    scene.pair.run();
    scene.refused(base::Errc::digest, "data digest");
}

TEST_CASE("additional header segments are skipped", "[rfc7143-11.2.2][DATA-08]") {
    PairConfig config = wrapping_config();
    config.session.connection.header_digest = GENERATE(false, true);
    config.session.connection.data_digest = true;
    Scene scene(config);
    scene.read(6000);
    scene.pair.wire.chunk_max = GENERATE(std::size_t{13}, SIZE_MAX);
    auto words = GENERATE(std::uint8_t{1}, std::uint8_t{255});
    scene.pair.target.tamper = [words](wire::Bhs& header, std::vector<std::byte>&) {
        header.total_ahs_length = words;
    };
    scene.pair.target.execute();
    scene.pair.run();
    REQUIRE(scene.pair.result);
    REQUIRE(completions(scene.pair.session).size() == 1);
    CHECK(std::equal(scene.io.buffer.begin(), scene.io.buffer.end(), scene.pair.target.disk.begin()));
}

TEST_CASE("reserved bits of a target's PDU are ignored", "[rfc7143-11.1][DATA-09]") {
    Scene scene;
    scene.read(64);
    scene.pair.target.tamper = [](wire::Bhs& header, std::vector<std::byte>&) {
        header.opcode_byte |= 0xc0;
        header.flags |= 0x38;
        header.lun = 0x1234567812345678ULL;
    };
    scene.pair.target.execute();
    scene.pair.run();
    REQUIRE(scene.pair.result);
    CHECK(completions(scene.pair.session).size() == 1);
}

TEST_CASE("random bytes from a target never harm anything but the connection", "[rfc7143-7]") {
    for (std::uint32_t seed = 0; seed < 300; ++seed) {
        Scene scene;
        scene.read(5000);
        std::mt19937 rng(seed);
        // A stream that is right up to a point: the interesting ones are nearly right.
        scene.pair.target.damage = [&rng](std::vector<std::byte>& raw) {
            for (int i = 0; i < 2; ++i) {
                std::size_t at = rng() % std::min<std::size_t>(raw.size(), wire::bhs_bytes);
                // A wrong TotalAHSLength shifts the data, which only a digest can show.
                raw[at] = at == 4 ? std::byte{0} : static_cast<std::byte>(rng());
            }
        };
        scene.pair.wire.random = true;
        scene.pair.wire.chunk_max = 3000;
        scene.pair.target.execute();
        scene.pair.run();
        std::vector<std::byte> noise = pattern(4096, seed);
        scene.pair.target.damage = [&noise](std::vector<std::byte>& raw) { raw = noise; };
        scene.send(wire::NopIn{});
        for (session::Command* command : completions(scene.pair.session)) {
            bool whole =
                std::equal(scene.io.buffer.begin(), scene.io.buffer.end(), scene.pair.target.disk.begin());
            bool good = command->outcome == session::Outcome::responded && command->status == 0 &&
                        command->underflow_bytes == 0;
            CHECK((!good || whole));
        }
        scene.pair.session.abandon();
    }
}

} // namespace
} // namespace iscsi::testing

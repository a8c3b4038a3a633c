// What a target does wrong with headers and digests, one rule each: the session says which, ends the
// connection, and no command that was touched by it ever completes as responded.
#include "scene.hpp"

namespace iscsi::testing {
namespace {

using wire::Opcode;

TEST_CASE("a PDU that has no place in full feature phase is refused by its header",
          "[rfc7143-7.7][DATA-09][DIG-05]") {
    Scene scene;
    scene.read(64);
    auto opcode =
        GENERATE(Opcode::login_response, Opcode::text_response, Opcode::scsi_command,
                 Opcode::task_management_request, static_cast<Opcode>(0x2f), static_cast<Opcode>(0x3e));
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

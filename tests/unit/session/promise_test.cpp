// What a session says is sure to come: whoever sleeps for it must be woken.
#include "scene.hpp"

namespace iscsi::testing {
namespace {

std::size_t promised(Scene& scene) {
    return scene.pair.session.rx_spans().promised;
}

} // namespace

TEST_CASE("only the rest of a payload whose header has come is promised", "[rfc7143-11.7]") {
    constexpr std::uint32_t payload_bytes = 8192;
    Scene scene;
    scene.read(4 * payload_bytes);
    FakeTarget& target = scene.pair.target;
    CHECK(promised(scene) == 0);

    scene.send(target.stamped(wire::NopIn(), FakeTarget::Status::none));
    CHECK(promised(scene) == 0);

    // A Data-In in pieces: half of its header, the other half, half of the payload, almost all of it, all.
    target.send(target.stamped(scene.data_in(0, 0), FakeTarget::Status::none),
                base::Bytes(target.disk).first(payload_bytes));
    for (auto [bytes, rest] : {std::pair<std::size_t, std::size_t>{24, 0},
                               {24, payload_bytes},
                               {4096, payload_bytes - 4096},
                               {4000, 96},
                               {96, 0}}) {
        scene.pair.wire.chunk_max = bytes;
        REQUIRE(scene.pair.receive());
        CHECK(promised(scene) == rest);
    }
    scene.pair.wire.chunk_max = SIZE_MAX;

    // The target ends the read early.
    wire::ScsiResponse response;
    response.itt = scene.itt;
    response.status = 0x08; // BUSY
    scene.send(target.stamped(response));
    REQUIRE(scene.pair.result);
    CHECK(promised(scene) == 0);
    CHECK(completions(scene.pair.session).size() == 1);
}

TEST_CASE("no more is promised than has been sent, wherever the stream is cut", "[rfc7143-11.7]") {
    PairConfig config = wrapping_config();
    config.session.connection.data_digest = GENERATE(false, true);
    Pair pair(config, 7);
    pair.wire.random = true;
    pair.target.disk = pattern(pair.target.disk.size(), 5);
    std::size_t promises = 0;
    for (std::uint32_t round = 0; round < 200; ++round) {
        Io io;
        const std::uint32_t bytes = 1 + 37 * round * (round % 3);
        if (round % 2 == 0) {
            io.read(0, bytes);
        } else {
            io.read_into_sink(0, bytes);
        }
        pair.submit(io.command);
        pair.wire.chunk_max = 1 + pair.rng() % 9000;
        while (pair.send() || pair.receive()) {
            const std::size_t promise = pair.session.rx_spans().promised;
            CHECK(promise <= pair.target.output().size());
            promises += promise > 0 ? 1 : 0;
        }
        REQUIRE(pair.result);
        CHECK(pair.session.rx_spans().promised == 0);
        REQUIRE(completions(pair.session).size() == 1);
        CHECK(std::equal(io.buffer.begin(), io.buffer.end(), pair.target.disk.begin()));
    }
    CHECK(promises > 100);
}

} // namespace iscsi::testing

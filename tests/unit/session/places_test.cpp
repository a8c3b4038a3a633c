// Where data lie that are not in memory of their command: what a sink is given, and what goes by way of a
// registered buffer.
#include "harness.hpp"

namespace iscsi::testing {
namespace {

TEST_CASE("a long read goes to its sink in pieces as large as the staging", "[rfc7143-11.7]") {
    PairConfig config = wrapping_config();
    config.session.connection.max_recv_data_segment_bytes = GENERATE(8192U, 65536U, 262144U);
    config.session.connection.data_digest = GENERATE(false, true);
    config.target.disk_bytes = 2'000'000;
    Pair pair(config);
    pair.target.disk = pattern(config.target.disk_bytes, 7);
    pair.wire.chunk_max = GENERATE(1460U, 100'000U);
    Io io;
    io.read_into_sink(3, 1'048'576);
    pair.submit(io.command);
    pair.run();
    REQUIRE(pair.result);
    REQUIRE(completions(pair.session).size() == 1);
    CHECK(io.command.received_bytes == 1'048'576);
    CHECK(std::equal(io.buffer.begin(), io.buffer.end(), pair.target.disk.begin() + 3));
    CHECK(pair.direct_bytes == 0);
    // However small the pieces in which it came: one a segment, or a staging full, and where the two meet.
    const std::size_t segments = 1'048'576 / config.session.connection.max_recv_data_segment_bytes;
    CHECK(io.pieces <= segments + 1'048'576 / (base::limits::staging_bytes / 2));
}

TEST_CASE("of a long read in long segments staging takes the headers only", "[rfc7143-11.7]") {
    constexpr std::uint32_t bytes = 1'048'576;
    PairConfig config = wrapping_config();
    config.session.connection.max_recv_data_segment_bytes = GENERATE(65536U, 262144U);
    config.session.connection.header_digest = GENERATE(false, true);
    config.session.connection.data_digest = GENERATE(false, true);
    config.target.disk_bytes = 2'000'000;
    Pair pair(config);
    pair.target.disk = pattern(config.target.disk_bytes, 7);
    Io first;
    Io second;
    first.read(3, bytes);
    second.read(500'000, bytes);
    pair.submit(first.command);
    pair.submit(second.command);
    pair.run();
    REQUIRE(pair.result);
    REQUIRE(completions(pair.session).size() == 2);
    CHECK(pair.direct_bytes == 2 * bytes);
    CHECK(std::equal(first.buffer.begin(), first.buffer.end(), pair.target.disk.begin() + 3));
    CHECK(std::equal(second.buffer.begin(), second.buffer.end(), pair.target.disk.begin() + 500'000));
}

TEST_CASE("a long read in short segments is received by whole stagings", "[rfc7143-11.7]") {
    constexpr std::uint32_t bytes = 1'048'576;
    PairConfig config = wrapping_config();
    config.session.connection.max_recv_data_segment_bytes = 8192;
    config.target.disk_bytes = 2'000'000;
    Pair pair(config);
    pair.target.disk = pattern(config.target.disk_bytes, 7);
    Io io;
    io.read(3, bytes);
    pair.submit(io.command);
    while (pair.send()) {
    }
    std::size_t receives = 0;
    while (pair.receive()) {
        ++receives;
    }
    REQUIRE(pair.result);
    REQUIRE(completions(pair.session).size() == 1);
    CHECK(receives <= bytes / base::limits::staging_bytes + 4);
    CHECK(std::equal(io.buffer.begin(), io.buffer.end(), pair.target.disk.begin() + 3));
}

TEST_CASE("staging is as large as ever while most commands are not long reads", "[rfc7143-11.7]") {
    PairConfig config = wrapping_config();
    config.session.connection.max_recv_data_segment_bytes = 262144;
    config.target.disk_bytes = 300'000;
    Pair pair(config);
    std::array<Io, 4> ios;
    ios[0].read(0, 262'144);
    ios[1].read(0, 262'144);
    ios[2].read(0, 4096);
    ios[3].without_data();
    auto staging_with = [&](Io& io) {
        pair.submit(io.command);
        pair.send();
        return pair.session.rx_spans().staging.size();
    };
    CHECK(staging_with(ios[2]) == base::limits::staging_bytes);
    CHECK(staging_with(ios[0]) == wire::bhs_bytes);
    CHECK(staging_with(ios[3]) == base::limits::staging_bytes);
    CHECK(staging_with(ios[1]) == wire::bhs_bytes);
    pair.run();
    REQUIRE(pair.result);
    REQUIRE(completions(pair.session).size() == 4);
    CHECK(pair.session.rx_spans().staging.size() == base::limits::staging_bytes);
    CHECK(std::equal(ios[1].buffer.begin(), ios[1].buffer.end(), pair.target.disk.begin()));
}

TEST_CASE("reads of 64 KiB that follow each other go to their sinks in a piece each", "[rfc7143-11.7]") {
    constexpr std::uint32_t bytes = 65536;
    PairConfig config = wrapping_config();
    config.session.connection.max_recv_data_segment_bytes = 262144;
    config.session.connection.header_digest = GENERATE(false, true);
    config.session.connection.data_digest = config.session.connection.header_digest;
    config.target.disk_bytes = 2'000'000;
    Pair pair(config);
    pair.target.disk = pattern(config.target.disk_bytes, 7);
    std::deque<Io> ios(20);
    for (std::size_t i = 0; i < ios.size(); ++i) {
        ios[i].read_into_sink(i * bytes, bytes);
        pair.submit(ios[i].command);
    }
    pair.run();
    REQUIRE(pair.result);
    REQUIRE(completions(pair.session).size() == ios.size());
    for (const Io& io : ios) {
        CHECK(io.pieces == 1);
        const auto at = pair.target.disk.begin() + static_cast<long>(io.offset);
        CHECK(std::equal(io.buffer.begin(), io.buffer.end(), at));
    }
}

TEST_CASE("a long read goes to a registered buffer, but for what was received with its headers",
          "[rfc7143-11.7]") {
    constexpr std::uint32_t bytes = 1'048'576;
    PairConfig config = wrapping_config();
    const std::uint32_t segment = GENERATE(65536U, 262144U);
    config.session.connection.max_recv_data_segment_bytes = segment;
    config.session.connection.header_digest = GENERATE(false, true);
    config.target.disk_bytes = 2'000'000;
    Pair pair(config);
    pair.target.disk = pattern(config.target.disk_bytes, 7);
    pair.wire.random = GENERATE(false, true);
    pair.wire.chunk_max = GENERATE(1460U, 100'000U);
    Io io;
    io.read_into_buffer(3, bytes, 5);
    pair.buffers[5] = io.buffer;
    pair.submit(io.command);
    pair.run();
    REQUIRE(pair.result);
    REQUIRE(completions(pair.session).size() == 1);
    CHECK(io.command.received_bytes == bytes);
    CHECK(std::equal(io.buffer.begin(), io.buffer.end(), pair.target.disk.begin() + 3));
    CHECK(pair.registered_bytes >= bytes - bytes / segment * (session::registered_bytes_min + 100));
    // Then a short one: staging is as large as ever.
    Io other;
    other.read(0, 4096);
    pair.submit(other.command);
    CHECK(pair.session.rx_spans().staging.size() == base::limits::staging_bytes);
    pair.run();
    REQUIRE(completions(pair.session).size() == 1);
    CHECK(std::equal(other.buffer.begin(), other.buffer.end(), pair.target.disk.begin()));
}

TEST_CASE("with data digests what is read into a registered buffer is seen first", "[rfc7143-11.7][DIG-01]") {
    PairConfig config = wrapping_config();
    config.session.connection.data_digest = true;
    config.session.connection.max_recv_data_segment_bytes = 65536;
    config.target.disk_bytes = 200'000;
    Pair pair(config);
    pair.target.disk = pattern(config.target.disk_bytes, 7);
    Io io;
    io.read_into_buffer(3, 131'072, 0);
    pair.submit(io.command);
    pair.run();
    REQUIRE(pair.result);
    REQUIRE(completions(pair.session).size() == 1);
    CHECK(pair.registered_bytes == 0);
    CHECK(std::equal(io.buffer.begin(), io.buffer.end(), pair.target.disk.begin() + 3));
}

TEST_CASE("a long write leaves its registered buffer between the headers, wherever a send ends",
          "[rfc7143-11.7]") {
    PairConfig config = wrapping_config();
    config.session.session.max_burst_bytes = 70'000;
    config.session.session.first_burst_bytes = 40'001;
    config.session.session.initial_r2t = GENERATE(false, true);
    config.session.connection.max_xmit_data_segment_bytes = 20'000;
    config.session.connection.header_digest = GENERATE(false, true);
    config.target.disk_bytes = 400'000;
    Pair pair(config);
    pair.wire.chunk_max = GENERATE(7U, 9'000U, 1'000'000U);
    pair.wire.random = pair.wire.chunk_max != 7;
    Io io;
    io.write_from_buffer(5, pattern(200'003, 1), 2);
    pair.buffers[2] = io.buffer;
    Io beside;
    beside.write(300'000, pattern(3000, 2));
    pair.submit(io.command);
    pair.submit(beside.command);
    pair.run();
    REQUIRE(pair.result);
    REQUIRE(completions(pair.session).size() == 2);
    INFO(complaints(pair.target));
    CHECK(pair.target.violations.empty());
    CHECK(pair.stable());
    CHECK(std::equal(io.buffer.begin(), io.buffer.end(), pair.target.disk.begin() + 5));
    CHECK(std::equal(beside.buffer.begin(), beside.buffer.end(), pair.target.disk.begin() + 300'000));
}

TEST_CASE("what comes for a read that is over goes to no sink", "[rfc7143-4.2.3.3]") {
    PairConfig config = recovery_config();
    Pair pair(config);
    Io io;
    io.read_into_sink(0, 4096);
    pair.submit(io.command);
    pair.run();
    pair.session.abandon();
    REQUIRE(completions(pair.session).size() == 1);
    pair.target.execute(0);
    pair.receive();
    CHECK(io.pieces == 0);
    CHECK(io.command.outcome == session::Outcome::lost);
}

} // namespace
} // namespace iscsi::testing

// Data through the session against a shadow disk: every mode of unsolicited data, digests, bursts, splits.
#include "harness.hpp"

#include <set>

namespace iscsi::testing {
namespace {

struct Mode {
    bool initial_r2t;
    bool immediate_data;
    bool header_digest;
    bool data_digest;
};

PairConfig random_config(const Mode& mode, std::mt19937& rng) {
    auto pick = [&rng](std::uint32_t low, std::uint32_t high) {
        return std::uniform_int_distribution<std::uint32_t>(low, high)(rng);
    };
    PairConfig config = wrapping_config();
    config.session.session.initial_r2t = mode.initial_r2t;
    config.session.session.immediate_data = mode.immediate_data;
    config.session.connection.header_digest = mode.header_digest;
    config.session.connection.data_digest = mode.data_digest;
    config.session.session.max_burst_bytes = pick(512, 40000);
    config.session.session.first_burst_bytes = pick(512, config.session.session.max_burst_bytes);
    config.session.session.max_outstanding_r2t = static_cast<std::uint16_t>(pick(1, 4));
    config.session.connection.max_recv_data_segment_bytes = pick(512, 20000);
    config.session.connection.max_xmit_data_segment_bytes = pick(512, 20000);
    config.target.disk_bytes = 300000;
    config.target.status_with_data = pick(0, 1) == 1;
    config.target.hold = true;
    config.target.window = pick(1, 32);
    if (pick(0, 1) == 1) {
        config.session.numbers.cmd_sn = base::CmdSn(0x7ffffff0U);
        config.session.numbers.exp_cmd_sn = config.session.numbers.cmd_sn;
        config.session.numbers.exp_stat_sn = base::StatSn(0x7fffffe0U);
    }
    config.session.numbers.max_cmd_sn = config.session.numbers.cmd_sn + config.target.window - 1;
    return config;
}

/// Reads and writes at random places that do not overlap while in flight, executed by the target in random
/// order, over a wire that cuts anywhere.
class Exercise {
public:
    Exercise(const PairConfig& config, std::uint32_t seed)
        : pair_(config, seed), shadow_(config.target.disk_bytes), rng_(seed) {
        pair_.wire.random = true;
        pair_.wire.chunk_max = seed % 2 == 0 ? 700 : 100000;
        pair_.wire.iovecs = 1 + seed % 17;
    }

    void run(std::size_t operations) {
        while (done_ < operations) {
            while (started_ < operations && free_.size() > 0) {
                start();
            }
            step();
            REQUIRE(pair_.result);
            finish();
        }
        INFO(complaints(pair_.target));
        CHECK(pair_.target.violations.empty());
        CHECK(pair_.stable());
        CHECK(pair_.session.idle());
        CHECK(pair_.target.disk == shadow_);
    }

private:
    static constexpr std::size_t areas = 40;

    std::size_t pick(std::size_t low, std::size_t high) {
        return std::uniform_int_distribution<std::size_t>(low, high)(rng_);
    }

    void start() {
        std::size_t area = free_.back();
        free_.pop_back();
        std::size_t area_bytes = shadow_.size() / areas;
        std::size_t offset = pick(0, area_bytes - 1);
        std::size_t bytes = pick(pick(0, 5) == 0 ? 0 : 1, area_bytes - offset);
        Io& io = ios_[area];
        std::size_t at = area * area_bytes + offset;
        if (pick(0, 1) == 0) {
            if (pick(0, 1) == 0) {
                io.read(at, static_cast<std::uint32_t>(bytes));
            } else {
                io.read_into_sink(at, static_cast<std::uint32_t>(bytes));
            }
        } else {
            std::vector<std::byte> data = pattern(bytes, static_cast<std::uint32_t>(rng_()));
            if (!pair_.session.connection_parameters().data_digest && pick(0, 1) == 0) {
                const auto index = static_cast<std::uint32_t>(area);
                io.write_from_buffer(at, std::move(data), index);
                pair_.buffers[index] = io.buffer;
            } else {
                io.write(at, std::move(data));
            }
            std::copy(io.buffer.begin(), io.buffer.end(), shadow_.begin() + static_cast<long>(at));
        }
        areas_.emplace(&io.command, area);
        pair_.submit(io.command);
        ++started_;
    }

    void step() {
        switch (pick(0, 3)) {
        case 0:
            pair_.send();
            break;
        case 1: { // The answer may be here before the send is reported.
            std::size_t owed = pair_.put();
            pair_.receive();
            if (owed > 0) {
                pair_.session.tx_done(owed);
            }
            break;
        }
        case 2:
            pair_.receive();
            break;
        default:
            if (pair_.target.held() > 0) {
                pair_.target.execute(pick(0, pair_.target.held() - 1));
            }
        }
    }

    void finish() {
        for (session::Command* command : completions(pair_.session)) {
            auto found = areas_.find(command);
            REQUIRE(found != areas_.end());
            Io& io = ios_[found->second];
            REQUIRE(command->outcome == session::Outcome::responded);
            REQUIRE(command->status == 0);
            if (command->direction == session::Direction::in) {
                REQUIRE(command->received_bytes == io.buffer.size());
                REQUIRE(std::equal(io.buffer.begin(), io.buffer.end(),
                                   shadow_.begin() + static_cast<long>(io.offset)));
            }
            free_.push_back(found->second);
            areas_.erase(found);
            ++done_;
        }
    }

    Pair pair_;
    std::vector<std::byte> shadow_;
    std::mt19937 rng_;
    std::array<Io, areas> ios_;
    std::vector<std::size_t> free_ = [] {
        std::vector<std::size_t> all(areas);
        for (std::size_t i = 0; i < areas; ++i) {
            all[i] = i;
        }
        return all;
    }();
    std::map<session::Command*, std::size_t> areas_;
    std::size_t started_ = 0;
    std::size_t done_ = 0;
};

TEST_CASE("what was written is read back, in every mode, with every digest, however the stream is cut",
          "[rfc7143-4.2.5][DATA-01][DATA-02][DATA-03][SEQ-03][DIG-01]") {
    for (std::uint32_t seed = 0; seed < 96; ++seed) {
        Mode mode{(seed & 1) != 0, (seed & 2) != 0, (seed & 4) != 0, (seed & 8) != 0};
        std::mt19937 rng(seed);
        CAPTURE(seed);
        Exercise exercise(random_config(mode, rng), seed);
        exercise.run(120);
    }
}

TEST_CASE("a long read goes straight to its place", "[rfc7143-11.7]") {
    PairConfig config = wrapping_config();
    config.session.connection.max_recv_data_segment_bytes = 262144;
    config.session.connection.data_digest = GENERATE(false, true);
    config.target.disk_bytes = 2'000'000;
    Pair pair(config);
    pair.target.disk = pattern(config.target.disk_bytes, 7);
    pair.wire.chunk_max = 100'000;
    Io io;
    io.read(3, 1'048'576);
    pair.submit(io.command);
    pair.run();
    REQUIRE(pair.result);
    REQUIRE(completions(pair.session).size() == 1);
    CHECK(std::equal(io.buffer.begin(), io.buffer.end(), pair.target.disk.begin() + 3));
    CHECK(pair.direct_bytes > 500'000);
}

TEST_CASE("a stream is understood byte by byte, and sent byte by byte", "[rfc7143-11.2]") {
    PairConfig config = wrapping_config();
    config.session.connection.header_digest = true;
    config.session.connection.data_digest = true;
    config.session.connection.max_xmit_data_segment_bytes = 600;
    config.session.session.first_burst_bytes = 1000;
    config.session.session.max_burst_bytes = 1100;
    config.session.session.initial_r2t = false;
    Pair pair(config);
    pair.wire.chunk_max = 1;
    Io write;
    write.write(11, pattern(5003, 1));
    pair.submit(write.command);
    pair.run();
    Io read;
    read.read(11, 5003);
    pair.submit(read.command);
    pair.run();
    REQUIRE(pair.result);
    CHECK(completions(pair.session).size() == 2);
    CHECK(read.buffer == write.buffer);
    INFO(complaints(pair.target));
    CHECK(pair.target.violations.empty());
    CHECK(pair.stable());
}

TEST_CASE("a send may stop short after any byte", "[rfc7143-11.2]") {
    PairConfig config = wrapping_config();
    config.session.connection.header_digest = true;
    config.session.connection.data_digest = true;
    config.session.session.initial_r2t = false;
    config.session.session.first_burst_bytes = 700;
    config.session.connection.max_xmit_data_segment_bytes = 512;
    std::size_t whole = 0;
    for (std::size_t cut = 1; cut == 1 || cut < whole; ++cut) {
        Pair pair(config);
        Io first;
        Io second;
        first.write(0, pattern(701, 1));
        second.write(800, pattern(33, 2));
        pair.submit(first.command);
        pair.submit(second.command);
        pair.wire.chunk_max = cut;
        pair.send();
        pair.wire.chunk_max = SIZE_MAX;
        pair.run();
        REQUIRE(pair.result);
        CAPTURE(cut, complaints(pair.target));
        REQUIRE(pair.target.violations.empty());
        REQUIRE(completions(pair.session).size() == 2);
        REQUIRE(std::equal(first.buffer.begin(), first.buffer.end(), pair.target.disk.begin()));
        REQUIRE(std::equal(second.buffer.begin(), second.buffer.end(), pair.target.disk.begin() + 800));
        whole = pair.session.statistics().txdata_octets;
    }
    CHECK(whole > 701 + 33);
}

TEST_CASE("padding is sent in the last PDU of a transfer only", "[rfc7143-11.7][DATA-03]") {
    PairConfig config = wrapping_config();
    config.session.connection.max_xmit_data_segment_bytes = 1001;
    Pair pair(config);
    pair.target.keep_log = true;
    Io io;
    io.write(0, pattern(4003, 1));
    pair.submit(io.command);
    pair.run();
    REQUIRE(completions(pair.session).size() == 1);
    std::size_t padded = 0;
    for (const wire::Bhs& header : pair.target.log) {
        padded += header.data_segment_length % 4 != 0 ? 1 : 0;
    }
    CHECK(padded == 1);
}

TEST_CASE("statistics count PDUs and bytes", "[statistics]") {
    Pair pair(wrapping_config());
    Io write;
    write.write(0, pattern(20000, 1));
    pair.submit(write.command);
    pair.run();
    Io read;
    read.read(0, 20000);
    pair.submit(read.command);
    pair.run();
    const session::Statistics& counted = pair.session.statistics();
    CHECK(counted.scsicmd_pdus == 2);
    CHECK(counted.r2t_pdus == 1);
    CHECK(counted.dataout_pdus == 2); // 8192 rode along, 11808 were asked for.
    CHECK(counted.datain_pdus == 3);
    CHECK(counted.scsirsp_pdus == 1);
    CHECK(counted.txdata_octets == 2 * 48 + 2 * 48 + 20000);
    CHECK(counted.rxdata_octets == 48 + 48 + 3 * 48 + 20000);
}

TEST_CASE("no tag and no CmdSN is given twice, also where they wrap, and no tag is the reserved one",
          "[rfc7143-11.2.1.8][SEQ-01][SEQ-03][SEQ-04][SEQ-07]") {
    PairConfig config = wrapping_config();
    std::uint32_t start = GENERATE(0xfffffff0U, 0x7ffffff0U);
    config.session.numbers.cmd_sn = base::CmdSn(start);
    config.session.numbers.exp_cmd_sn = config.session.numbers.cmd_sn;
    config.session.numbers.max_cmd_sn = config.session.numbers.cmd_sn + 31;
    config.session.numbers.exp_stat_sn = base::StatSn(start);
    Pair pair(config);
    pair.target.keep_log = true;
    for (int i = 0; i < 300; ++i) {
        Io io;
        io.read(0, 16);
        pair.submit(io.command);
        pair.run();
        REQUIRE(completions(pair.session).size() == 1);
    }
    std::set<std::uint32_t> tags;
    for (const wire::Bhs& header : pair.target.log) {
        auto command = base::load<wire::ScsiCommand>(base::bytes_of_object(header));
        // Each takes the next number: none is ever retried, so none can be left behind by half the circle.
        CHECK(command.cmd_sn == start + static_cast<std::uint32_t>(tags.size()));
        tags.insert(header.itt.get());
    }
    CHECK(tags.size() == 300);
    CHECK(pair.session.exp_stat_sn() == base::StatSn(start) + 300);
    CHECK(pair.target.violations.empty());
    CHECK_FALSE(tags.contains(base::reserved_tag));
}

} // namespace
} // namespace iscsi::testing

// What the session's tests share: a configuration, commands for the fake disk, patterns. Header only.
#pragma once

#include "support/pair.hpp"

#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace iscsi::testing {

using namespace std::chrono_literals;

inline constexpr base::Lun test_lun{0x0001000000000000ULL};

/// Numbers that wrap within the first commands (SEQ-03); everything else is the RFC's default.
inline PairConfig wrapping_config() {
    PairConfig config;
    config.session.numbers.cmd_sn = base::CmdSn(0xfffffff0U);
    config.session.numbers.exp_cmd_sn = base::CmdSn(0xfffffff0U);
    config.session.numbers.max_cmd_sn = base::CmdSn(0xfffffff0U + 31);
    config.session.numbers.exp_stat_sn = base::StatSn(0xfffffff0U);
    config.session.tasks = 32;
    config.target.window = 32;
    return config;
}

/// With keepalive and a limit to logging out.
inline PairConfig ping_config() {
    PairConfig config = wrapping_config();
    config.session.nop_out_interval = 5s;
    config.session.nop_out_timeout = 7s;
    config.session.logout_timeout = 15s;
    return config;
}

/// With a limit to everything, and a target that answers a command when it is told to.
inline PairConfig recovery_config() {
    PairConfig config = wrapping_config();
    config.session.recovery = {30s, 15s, 20s, 25s};
    config.target.hold = true;
    return config;
}

inline std::vector<std::byte> pattern(std::size_t bytes, std::uint32_t seed) {
    std::mt19937 rng(seed);
    std::vector<std::byte> out(bytes);
    for (std::byte& b : out) {
        b = static_cast<std::byte>(rng());
    }
    return out;
}

/// A command with the memory it moves, which it may lend to the session or fill itself; stays where it is.
struct Io final : base::DataSink {
    Io() = default;
    Io(const Io&) = delete;
    Io& operator=(const Io&) = delete;

    void read(std::uint64_t at, std::uint32_t bytes) {
        offset = at;
        buffer.assign(bytes, std::byte{0xee});
        prepare(read16);
        command.direction = session::Direction::in;
        command.data_in = buffer;
    }
    void read_into_sink(std::uint64_t at, std::uint32_t bytes) {
        read(at, bytes);
        command.data_in = {};
        command.sink = this;
        command.sink_offset = sink_start;
        command.sink_bytes = bytes;
        pieces = 0;
    }
    void put(std::uint64_t at, base::Bytes bytes) override {
        REQUIRE(at >= sink_start);
        REQUIRE(at - sink_start + bytes.size() <= buffer.size());
        std::copy(bytes.begin(), bytes.end(), buffer.begin() + static_cast<long>(at - sink_start));
        ++pieces;
    }
    void write(std::uint64_t at, std::vector<std::byte> data) {
        offset = at;
        buffer = std::move(data);
        prepare(write16);
        command.direction = session::Direction::out;
        command.data_out = buffer;
    }
    /// The data have to be in the ring's table, too, at `index`.
    void read_into_buffer(std::uint64_t at, std::uint32_t bytes, std::uint32_t index) {
        read_into_sink(at, bytes);
        command.registered = {index, 0, bytes};
    }
    void write_from_buffer(std::uint64_t at, std::vector<std::byte> data, std::uint32_t index) {
        write(at, std::move(data));
        command.data_out = {};
        command.registered = {index, 0, static_cast<std::uint32_t>(buffer.size())};
    }
    void without_data() {
        prepare(0x35);
        command.direction = session::Direction::none;
    }

    session::Command command;
    std::vector<std::byte> buffer;
    std::uint64_t offset = 0;
    std::size_t pieces = 0; ///< that the sink was given

private:
    static constexpr std::uint64_t sink_start = 1000;

    void prepare(std::uint8_t operation) {
        command = {};
        command.lun = test_lun;
        command.cdb = disk_cdb(operation, offset, static_cast<std::uint32_t>(buffer.size()));
        command.cdb_bytes = 16;
    }
};

/// All completions there are, in order.
inline std::vector<session::Command*> completions(session::Session& session) {
    std::vector<session::Command*> done;
    while (session::Command* command = session.next_completion()) {
        done.push_back(command);
    }
    return done;
}

inline std::string complaints(const FakeTarget& target) {
    std::string all;
    for (const std::string& violation : target.violations) {
        all += violation + "; ";
    }
    return all;
}

/// The ITT of the newest SCSI Command the target saw (it must keep its log).
inline std::uint32_t newest_itt(const FakeTarget& target) {
    for (auto header = target.log.rbegin(); header != target.log.rend(); ++header) {
        if (header->opcode() == wire::Opcode::scsi_command) {
            return header->itt;
        }
    }
    FAIL("no SCSI Command was sent");
    return 0;
}

} // namespace iscsi::testing

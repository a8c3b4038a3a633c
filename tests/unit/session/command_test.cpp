// Commands and their ends: status, sense, residuals, the window, and buffers that outlive their response.
#include "harness.hpp"

namespace iscsi::testing {
namespace {

using session::Outcome;

TEST_CASE("status and sense reach the submitter", "[rfc7143-11.4]") {
    PairConfig config = wrapping_config();
    config.target.hold = true;
    config.session.connection.data_digest = GENERATE(false, true);
    Pair pair(config);
    pair.target.keep_log = true;
    Io io;
    io.read(0, 64);
    pair.submit(io.command);
    pair.run();
    std::vector<std::byte> sense = pattern(300, 5);
    std::size_t length = GENERATE(std::size_t{0}, std::size_t{18}, std::size_t{252}, std::size_t{298});
    sense[0] = static_cast<std::byte>(length >> 8);
    sense[1] = static_cast<std::byte>(length);
    pair.target.send(pair.target.response_to(newest_itt(pair.target), 2), sense);
    pair.run();
    REQUIRE(pair.result);
    REQUIRE(completions(pair.session).size() == 1);
    CHECK(io.command.outcome == Outcome::responded);
    CHECK(io.command.status == 2);
    REQUIRE(io.command.sense_bytes == std::min<std::size_t>(length, 252));
    CHECK(std::equal(io.command.sense.begin(), io.command.sense.begin() + io.command.sense_bytes,
                     sense.begin() + 2));
}

TEST_CASE("a response code other than completed is a target failure whose status means nothing",
          "[rfc7143-11.4.3][DATA-07]") {
    PairConfig config = wrapping_config();
    config.target.hold = true;
    Pair pair(config);
    pair.target.keep_log = true;
    Io io;
    io.read(0, 64);
    pair.submit(io.command);
    pair.run();
    auto response = pair.target.response_to(newest_itt(pair.target));
    response.response = GENERATE(std::uint8_t{0x01}, std::uint8_t{0x80}, std::uint8_t{0xff});
    response.flags = 0xff;
    pair.target.send(response);
    pair.run();
    REQUIRE(pair.result);
    REQUIRE(completions(pair.session).size() == 1);
    CHECK(io.command.outcome == Outcome::target_failure);
    CHECK(io.command.response == response.response);
    CHECK(io.command.underflow_bytes == 0);
}

TEST_CASE("a short read says how short, and what was not sent stays untouched", "[rfc7143-11.4.5][DATA-06]") {
    PairConfig config = wrapping_config();
    config.target.status_with_data = GENERATE(false, true);
    config.target.hold = true;
    Pair pair(config);
    pair.target.keep_log = true;
    Io io;
    io.read(0, 96);
    pair.submit(io.command);
    pair.run();
    auto bytes = GENERATE(0U, 1U, 95U);
    pair.target.answer_read(newest_itt(pair.target), 96, pattern(bytes, 1));
    pair.run();
    REQUIRE(pair.result);
    REQUIRE(completions(pair.session).size() == 1);
    CHECK(io.command.outcome == Outcome::responded);
    CHECK(io.command.received_bytes == bytes);
    CHECK(io.command.underflow_bytes == 96 - bytes);
    CHECK(std::count(io.buffer.begin() + bytes, io.buffer.end(), std::byte{0xee}) == 96 - bytes);
}

TEST_CASE("an overflow is told, and the data there was room for is delivered", "[rfc7143-11.4.5][DATA-06]") {
    PairConfig config = wrapping_config();
    config.target.hold = true;
    config.target.status_with_data = false;
    Pair pair(config);
    pair.target.keep_log = true;
    Io io;
    io.read(0, 36);
    pair.submit(io.command);
    pair.run();
    pair.target.tamper = [](wire::Bhs& header, std::vector<std::byte>&) {
        if (header.opcode() == wire::Opcode::scsi_response) {
            auto response = base::load<wire::ScsiResponse>(base::bytes_of_object(header));
            response.flags |= wire::response_flag::overflow;
            response.residual_count = 200;
            header = wire::generic(response);
        }
    };
    pair.target.execute();
    pair.run();
    REQUIRE(pair.result);
    REQUIRE(completions(pair.session).size() == 1);
    CHECK(io.command.overflow_bytes == 200);
    CHECK(io.command.received_bytes == 36);
}

TEST_CASE("a failed read may have sent any part of its data", "[rfc7143-11.4.5]") {
    PairConfig config = wrapping_config();
    config.target.hold = true;
    Pair pair(config);
    pair.target.keep_log = true;
    Io io;
    io.read(0, 64);
    pair.submit(io.command);
    pair.run();
    wire::DataIn part;
    part.itt = newest_itt(pair.target);
    pair.target.send(pair.target.stamped(part, FakeTarget::Status::none), pattern(32, 1));
    pair.target.send(pair.target.response_to(part.itt, 2));
    pair.run();
    REQUIRE(pair.result);
    REQUIRE(completions(pair.session).size() == 1);
    CHECK(io.command.status == 2);
    CHECK(io.command.received_bytes == 32);
}

TEST_CASE("an ExpDataSN left zero is tolerated when all bytes are there", "[rfc7143-11.4.8]") {
    PairConfig config = wrapping_config();
    config.target.status_with_data = false;
    Pair pair(config);
    pair.target.tamper = [](wire::Bhs& header, std::vector<std::byte>&) {
        if (header.opcode() == wire::Opcode::scsi_response) {
            auto response = base::load<wire::ScsiResponse>(base::bytes_of_object(header));
            CHECK(response.exp_data_sn == 1U);
            response.exp_data_sn = 0;
            header = wire::generic(response);
        }
    };
    Io io;
    io.read(0, 64);
    pair.submit(io.command);
    pair.run();
    REQUIRE(pair.result);
    CHECK(completions(pair.session).size() == 1);
}

TEST_CASE("empty Data-In segments are taken", "[rfc7143-11.7][DATA-05]") {
    PairConfig config = wrapping_config();
    config.target.hold = true;
    Pair pair(config);
    pair.target.keep_log = true;
    Io io;
    io.read(0, 16);
    pair.submit(io.command);
    pair.run();
    wire::DataIn empty;
    empty.itt = newest_itt(pair.target);
    pair.target.send(pair.target.stamped(empty, FakeTarget::Status::none));
    wire::DataIn data = empty;
    data.data_sn = 1;
    data.flags = wire::final_bit | wire::data_in_flag::acknowledge; // The A bit means nothing at level 0.
    pair.target.send(pair.target.stamped(data, FakeTarget::Status::none), pattern(16, 2));
    wire::DataIn status = empty;
    status.data_sn = 2;
    status.flags = wire::final_bit | wire::data_in_flag::status;
    pair.target.send(pair.target.stamped(status));
    pair.run();
    REQUIRE(pair.result);
    REQUIRE(completions(pair.session).size() == 1);
    CHECK(io.buffer == pattern(16, 2));
}

TEST_CASE("a command without data goes and comes back", "[rfc7143-11.3]") {
    Pair pair(wrapping_config());
    Io io;
    io.without_data();
    pair.submit(io.command);
    pair.run();
    REQUIRE(completions(pair.session).size() == 1);
    CHECK(io.command.outcome == Outcome::responded);
    INFO(complaints(pair.target));
    CHECK(pair.target.violations.empty());
}

TEST_CASE("the SCSI Command says what it is", "[rfc7143-11.3][SEQ-01]") {
    Pair pair(wrapping_config());
    std::vector<wire::ScsiCommand> seen;
    pair.target.intercept = [&seen](const wire::Bhs& header, base::Bytes) {
        seen.push_back(base::load<wire::ScsiCommand>(base::bytes_of_object(header)));
        return false;
    };
    Io read;
    read.read(5, 40);
    read.command.attribute = session::TaskAttribute::head_of_queue;
    Io write;
    write.write(9, pattern(50, 1));
    pair.submit(read.command);
    pair.submit(write.command);
    pair.run();
    REQUIRE(seen.size() == 2);
    CHECK(seen[0].opcode_byte == 0x01);
    CHECK(seen[0].flags == (0x80 | 0x40 | 3));
    CHECK(seen[0].lun == test_lun.value());
    CHECK(seen[0].expected_data_transfer_length == 40U);
    CHECK(seen[0].cmd_sn == 0xfffffff0U);
    CHECK(seen[0].cdb == read.command.cdb);
    CHECK(seen[1].flags == (0x80 | 0x20 | 1));
    CHECK(seen[1].cmd_sn == 0xfffffff1U);
    CHECK(seen[1].data_segment_length == 50U);
}

TEST_CASE("a closed window holds commands back until it opens", "[rfc7143-4.2.2.1][SEQ-02]") {
    PairConfig config = wrapping_config();
    config.target.window = 0;
    config.session.numbers.max_cmd_sn = config.session.numbers.exp_cmd_sn - 1;
    Pair pair(config);
    std::array<Io, 5> ios;
    for (Io& io : ios) {
        io.read(0, 16);
        pair.submit(io.command);
    }
    pair.run();
    CHECK(pair.target.commands_seen() == 0);
    CHECK(pair.session.active() == 0);
    CHECK_FALSE(pair.session.idle());
    pair.target.config.hold = true;
    for (std::uint64_t open = 1; open <= 3; ++open) {
        pair.target.config.window = 1;
        pair.target.send(pair.target.stamped(wire::NopIn{}, FakeTarget::Status::shows));
        pair.run();
        CHECK(pair.target.commands_seen() == open);
    }
    pair.target.config.window = 10;
    while (pair.target.held() > 0) {
        pair.target.execute();
        pair.run();
    }
    CHECK(completions(pair.session).size() == 5);
    INFO(complaints(pair.target));
    CHECK(pair.target.violations.empty());
}

TEST_CASE("the window never shrinks, and numbers that contradict each other change nothing",
          "[rfc7143-4.2.2.1][SEQ-02]") {
    using base::CmdSn;
    session::CommandWindow window(CmdSn(0xfffffffeU), CmdSn(0xfffffffeU), CmdSn(3));
    window.update(CmdSn(0xfffffff0U), CmdSn(1));
    CHECK(window.max() == CmdSn(3));
    CHECK(window.expected() == CmdSn(0xfffffffeU));
    window.update(CmdSn(9), CmdSn(7)); // MaxCmdSN < ExpCmdSN - 1
    CHECK(window.max() == CmdSn(3));
    CHECK(window.expected() == CmdSn(0xfffffffeU));
    for (std::uint32_t i = 0; i < 6; ++i) {
        REQUIRE(window.is_open());
        CHECK(window.take() == CmdSn(0xfffffffeU + i));
    }
    CHECK_FALSE(window.is_open());
    window.update(CmdSn(4), CmdSn(3)); // Closed, and legally so.
    CHECK(window.expected() == CmdSn(4));
    CHECK_FALSE(window.is_open());
    window.update(CmdSn(4), CmdSn(4));
    CHECK(window.is_open());
}

TEST_CASE("no more commands are at the target than there are tasks, and all get their turn in order",
          "[rfc7143-4.2.2.1]") {
    PairConfig config = wrapping_config();
    config.session.tasks = 4;
    config.target.hold = true;
    Pair pair(config);
    std::deque<Io> ios(11);
    for (Io& io : ios) {
        io.read(0, 16);
        pair.submit(io.command);
    }
    std::vector<session::Command*> done;
    for (std::size_t i = 0; i < ios.size(); ++i) {
        pair.run();
        CHECK(pair.session.active() == std::min<std::size_t>(4, ios.size() - i));
        pair.target.execute();
        pair.run();
        for (session::Command* command : completions(pair.session)) {
            done.push_back(command);
        }
    }
    REQUIRE(done.size() == ios.size());
    for (std::size_t i = 0; i < ios.size(); ++i) {
        CHECK(done[i] == &ios[i].command);
    }
}

TEST_CASE("a write answered before all of it was sent completes when the buffer is free, and sends no more",
          "[rfc7143-11.4]") {
    PairConfig config = wrapping_config();
    config.session.session.initial_r2t = false;
    config.session.session.first_burst_bytes = 60000;
    config.session.connection.max_xmit_data_segment_bytes = 4096;
    Pair pair(config);
    pair.target.keep_log = true;
    pair.target.intercept = [&pair](const wire::Bhs& header, base::Bytes) {
        if (header.opcode() == wire::Opcode::scsi_command) {
            pair.target.send(pair.target.response_to(header.itt, 2));
        }
        return true;
    };
    Io io;
    io.write(0, pattern(60000, 1));
    pair.submit(io.command);
    pair.wire.iovecs = 8;
    std::vector<iovec> out(8);
    std::size_t made = 0;
    for (const iovec& piece : pair.session.tx_spans(out)) {
        made += piece.iov_len;
    }
    REQUIRE(made < 30000);
    pair.wire.chunk_max = 48 + 4096 + 100; // In the middle of the first Data-Out.
    REQUIRE(pair.send());
    pair.wire.chunk_max = SIZE_MAX;
    REQUIRE(pair.receive());
    CHECK(completions(pair.session).empty());
    CHECK(pair.session.active() == 1);
    // What was shown to the socket leaves, nothing else.
    std::size_t left = made - (48 + 4096 + 100);
    std::size_t sent = 0;
    while (std::size_t n = pair.put()) {
        sent += n;
        CHECK(completions(pair.session).empty());
        pair.session.tx_done(n);
    }
    CHECK(sent == left);
    REQUIRE(completions(pair.session).size() == 1);
    CHECK(io.command.status == 2);
    CHECK(pair.session.active() == 0);
}

TEST_CASE("solicited data not yet made is dropped when the answer comes", "[rfc7143-11.4]") {
    PairConfig config = wrapping_config();
    config.session.session.immediate_data = false;
    config.session.session.max_outstanding_r2t = 4;
    config.target.hold = true;
    Pair pair(config);
    pair.target.keep_log = true;
    pair.target.intercept = [](const wire::Bhs&, base::Bytes) { return true; };
    Io io;
    io.write(0, pattern(4096, 1));
    pair.submit(io.command);
    pair.run();
    wire::R2t r2t;
    r2t.lun = test_lun.value();
    r2t.itt = newest_itt(pair.target);
    r2t.ttt = 5;
    r2t.desired_data_transfer_length = 4096;
    pair.target.send(pair.target.stamped(r2t, FakeTarget::Status::shows));
    pair.target.send(pair.target.response_to(r2t.itt, 2));
    while (pair.receive()) {
    }
    REQUIRE(pair.result);
    CHECK(completions(pair.session).size() == 1);
    CHECK_FALSE(pair.send());
    // The slot's next task owes nothing for it.
    pair.target.intercept = {};
    pair.target.config.hold = false;
    Io next;
    next.write(0, pattern(4096, 2));
    pair.submit(next.command);
    pair.run();
    REQUIRE(pair.result);
    CHECK(completions(pair.session).size() == 1);
    CHECK(std::equal(next.buffer.begin(), next.buffer.end(), pair.target.disk.begin()));
}

TEST_CASE("the target may ask for more before the socket reports the last burst sent", "[rfc7143-13.17]") {
    PairConfig config = wrapping_config();
    config.session.session.immediate_data = false;
    config.session.session.max_burst_bytes = 1024;
    config.session.session.first_burst_bytes = 1024;
    Pair pair(config);
    Io io;
    io.write(0, pattern(8192, 1));
    pair.submit(io.command);
    bool moved = true;
    while (moved) {
        std::size_t owed = pair.put();
        moved = pair.receive();
        if (owed > 0) {
            pair.session.tx_done(owed);
            moved = true;
        }
        REQUIRE(pair.result);
    }
    CHECK(completions(pair.session).size() == 1);
    INFO(complaints(pair.target));
    CHECK(pair.target.violations.empty());
}

} // namespace
} // namespace iscsi::testing

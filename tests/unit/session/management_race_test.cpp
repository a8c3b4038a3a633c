// What comes while task management is under way, or after it (RFC 7143 section 4.2.3), on a virtual clock.
#include "management_bench.hpp"

namespace iscsi::testing {
namespace {

using Bench = ManagementBench;
using session::Outcome;

TEST_CASE("an answer that comes before that of the abort is believed", "[rfc7143-4.2.3.3][TMF-03][TMF-04]") {
    Bench bench;
    Io& io = bench.read();
    bench.pair.advance(30s);
    bench.pair.target.execute();
    bench.pair.run();
    REQUIRE(bench.done().size() == 1);
    CHECK(io.command.outcome == Outcome::responded);
    CHECK(io.command.status == 0);
    CHECK(std::equal(io.buffer.begin(), io.buffer.end(), bench.pair.target.disk.begin()));
    // It may say that there is no such task any more, that it has ended it, or nothing at all.
    auto code = GENERATE(0, 1, -1);
    if (code >= 0) {
        bench.pair.target.answer_management(static_cast<std::uint8_t>(code));
        bench.pair.run();
    } else {
        bench.pair.advance(15s);
        bench.pair.target.manage = {};
        bench.send_answer(0, bench.asked[0].itt);
    }
    CHECK(bench.pair.result);
    CHECK(bench.done().empty());
    CHECK(bench.asked.size() == 1);
}

TEST_CASE("a status that was sent and never came ends the session", "[rfc7143-11.6.1][TMF-03]") {
    Bench bench;
    bench.answer = 1; // No such task: it says that it has answered the command.
    Io& io = bench.read();
    bench.pair.advance(30s);
    REQUIRE_FALSE(bench.pair.result);
    CHECK_THAT(bench.pair.result.error().detail, Catch::Matchers::Contains("lost"));
    CHECK(bench.done().empty());
    bench.pair.session.abandon();
    REQUIRE(bench.done().size() == 1);
    CHECK(io.command.outcome == Outcome::lost);
}

TEST_CASE("an R2T of a task that is being aborted is answered", "[rfc7143-4.2.3.3][TMF-04]") {
    PairConfig config = recovery_config();
    config.session.session.immediate_data = false;
    Bench bench(config);
    std::uint32_t itt = 0;
    bench.pair.target.intercept = [&itt](const wire::Bhs& header, base::Bytes) {
        if (header.opcode() == wire::Opcode::scsi_command) {
            itt = header.itt;
            return true;
        }
        return header.opcode() == wire::Opcode::data_out;
    };
    bench.write(8192);
    bench.pair.advance(30s);
    REQUIRE(bench.asked.size() == 1);
    wire::R2t r2t;
    r2t.lun = test_lun.value();
    r2t.itt = itt;
    r2t.ttt = 7;
    r2t.desired_data_transfer_length = 8192;
    bench.pair.target.send(bench.pair.target.stamped(r2t, FakeTarget::Status::shows));
    bench.pair.run();
    REQUIRE(bench.pair.result);
    CHECK(bench.pair.session.statistics().dataout_pdus == 1);
    CHECK(bench.pair.target.log.back().opcode() == wire::Opcode::data_out);
    CHECK((bench.pair.target.log.back().flags & wire::final_bit) != 0);
    CHECK(bench.done().empty());
    bench.pair.target.answer_management(0);
    bench.pair.run();
    CHECK(bench.done().size() == 1);
}

TEST_CASE("commands of the unit wait while one of them is being aborted, those of others go",
          "[rfc7143-4.2.3][TMF-05]") {
    Bench bench;
    bench.read();
    bench.pair.advance(30s);
    REQUIRE(bench.asked.size() == 1);
    std::deque<Io> late(6);
    for (std::size_t i = 0; i < late.size(); ++i) {
        late[i].read(i, 16);
        late[i].command.lun = i % 2 == 0 ? test_lun : other_lun;
        bench.pair.submit(late[i].command);
    }
    bench.pair.run();
    CHECK(bench.pair.target.commands_seen() == 1 + 3);
    CHECK_FALSE(bench.pair.session.idle());
    SECTION("they go in their order when it is over") {
        bench.pair.target.answer_management(0);
        bench.pair.run();
        REQUIRE(bench.pair.target.commands_seen() == 1 + 6);
        CHECK(bench.done().size() == 1);
        while (bench.pair.target.held() > 0) {
            bench.pair.target.execute();
        }
        bench.pair.run();
        auto done = bench.done();
        REQUIRE(done.size() == 6);
        for (std::size_t i : {std::size_t{0}, std::size_t{2}, std::size_t{4}}) {
            CHECK(done[3 + i / 2] == &late[i].command);
        }
        CHECK(bench.pair.session.idle());
    }
    SECTION("they are lost when the session is logged out of") {
        bench.pair.session.begin_logout(bench.pair.now);
        auto lost = bench.done();
        REQUIRE(lost.size() == 3);
        CHECK(lost[0] == &late[0].command);
        bench.pair.target.answer_management(5); // Comes too late for anything.
        bench.pair.run();
        CHECK(bench.pair.result);
        CHECK(bench.asked.size() == 1);
        CHECK(bench.pair.session.logged_out());
        bench.pair.session.abandon();
        CHECK(bench.done().size() == 4);
    }
    SECTION("they are lost with the connection, behind those at the target") {
        bench.pair.session.abandon();
        auto lost = bench.done();
        REQUIRE(lost.size() == 7);
        CHECK(lost[4] == &late[0].command);
        CHECK(lost[6] == &late[4].command);
        CHECK(bench.pair.session.idle());
    }
}

TEST_CASE("a unit's reset ends its tasks and no others; the target's ends all", "[rfc7143-4.2.3.2][TMF-04]") {
    PairConfig config = recovery_config();
    config.session.recovery.abort_task = 0s;
    bool whole_target = GENERATE(false, true);
    if (whole_target) {
        config.session.recovery.lun_reset = 0s;
    }
    Bench bench(config);
    Io& stuck = bench.read();
    bench.pair.advance(1s);
    Io& same = bench.read();
    Io& other = bench.read(other_lun);
    bench.pair.advance(29s);
    REQUIRE(bench.functions() == Functions{whole_target ? target_reset : lun_reset});
    Io held;
    held.read(0, 16);
    held.command.lun = whole_target ? other_lun : test_lun;
    bench.pair.submit(held.command);
    bench.pair.run();
    CHECK(bench.pair.target.commands_seen() == 3);
    bench.pair.target.answer_management(0);
    bench.pair.run();
    auto done = bench.done();
    CHECK(done.size() == (whole_target ? 3 : 2));
    CHECK(stuck.command.outcome == Outcome::aborted);
    CHECK(same.command.outcome == Outcome::aborted);
    CHECK(other.command.outcome == (whole_target ? Outcome::aborted : Outcome::pending));
    CHECK(bench.pair.target.commands_seen() == 4);
    bench.pair.session.abandon();
}

TEST_CASE("a reset without an answer is not forgotten when its tasks end by themselves", "[TMF-02][TMF-06]") {
    PairConfig config = recovery_config();
    config.session.recovery.abort_task = 0s;
    Bench bench(config);
    bench.read();
    bench.pair.advance(30s);
    REQUIRE(bench.functions() == Functions{lun_reset});
    bench.pair.target.execute();
    bench.pair.run();
    CHECK(bench.done().size() == 1);
    bench.pair.advance(20s); // It may still end what comes next, so nothing may come before it is over.
    CHECK(bench.functions() == Functions{lun_reset, target_reset});
}

TEST_CASE("what comes for a task after its abort was answered is discarded",
          "[rfc7143-4.2.3.3][TMF-04][SEQ-07][SEQ-08]") {
    Bench bench;
    bench.answer = 0;
    Io& read = bench.read();
    std::uint32_t itt = newest_itt(bench.pair.target);
    bench.pair.advance(30s);
    REQUIRE(bench.done().size() == 1);
    std::vector<std::byte> was = read.buffer;
    // The slot has another task by now.
    Io& next = bench.read();
    CHECK((newest_itt(bench.pair.target) & session::tag_slot_mask) == (itt & session::tag_slot_mask));
    FakeTarget& target = bench.pair.target;
    wire::DataIn data;
    data.itt = itt;
    target.send(target.stamped(data, FakeTarget::Status::none), pattern(32, 1));
    data.data_sn = 1;
    data.flags = wire::final_bit | wire::data_in_flag::status;
    target.send(target.stamped(data), pattern(6000, 1));
    wire::R2t r2t;
    r2t.itt = itt;
    r2t.ttt = 5;
    r2t.desired_data_transfer_length = 64;
    target.send(target.stamped(r2t, FakeTarget::Status::shows));
    target.send(target.response_to(itt));
    bench.pair.run();
    REQUIRE(bench.pair.result);
    CHECK(bench.done().empty());
    CHECK(read.buffer == was);
    CHECK(next.buffer == std::vector<std::byte>(64, std::byte{0xee}));
    CHECK(bench.pair.session.exp_stat_sn() == target.stat_sn);
    target.execute();
    bench.pair.run();
    REQUIRE(bench.done().size() == 1);
    CHECK(std::equal(next.buffer.begin(), next.buffer.end(), target.disk.begin()));
    // Only of the task that was aborted: a tag that nothing was ever sent with is a mistake.
    target.send(target.response_to(session::next_generation(newest_itt(target))));
    bench.pair.run();
    CHECK_FALSE(bench.pair.result);
}

TEST_CASE("an aborted write keeps its buffer until all that was made of it has left", "[TMF-04][SEQ-07]") {
    PairConfig config = recovery_config();
    config.session.session.initial_r2t = false;
    config.session.session.first_burst_bytes = 60000;
    config.session.connection.max_xmit_data_segment_bytes = 4096;
    Bench bench(config);
    bench.pair.target.intercept = [](const wire::Bhs& header, base::Bytes) {
        return header.opcode() != wire::Opcode::task_management_request;
    };
    bench.answer = 0;
    Io io;
    io.write(0, pattern(60000, 1));
    bench.pair.submit(io.command);
    bench.pair.wire.iovecs = 8;
    bench.pair.wire.chunk_max = 48 + 4096 + 100;
    REQUIRE(bench.pair.send()); // The socket takes no more for a while.
    bench.pair.now += 30s;
    REQUIRE(bench.pair.session.at(bench.pair.now));
    std::size_t sent = 0;
    bench.pair.wire.chunk_max = SIZE_MAX;
    while (bench.asked.empty()) {
        sent = bench.pair.put();
        if (bench.asked.empty()) {
            bench.pair.session.tx_done(sent);
        }
    }
    while (bench.pair.receive()) {
    }
    REQUIRE(bench.pair.result);
    // Its last bytes left in the same send, which the socket has not reported yet.
    CHECK(bench.done().empty());
    CHECK(bench.pair.session.active() == 1);
    bench.pair.session.tx_done(sent);
    REQUIRE(bench.done().size() == 1);
    CHECK(io.command.outcome == Outcome::aborted);
}

TEST_CASE("an answer to a step that was given up changes nothing", "[rfc7143-4.2.3.3][TMF-06]") {
    Bench bench;
    bench.read();
    bench.pair.advance(30s + 15s);
    REQUIRE(bench.functions() == Functions{abort_task, lun_reset});
    for (std::uint8_t code : {std::uint8_t{0}, std::uint8_t{1}, std::uint8_t{255}}) {
        bench.send_answer(code, bench.asked[0].itt);
        bench.send_answer(code, session::management_slot);
        bench.send_answer(code, base::reserved_tag);
    }
    REQUIRE(bench.pair.result);
    CHECK(bench.done().empty());
    CHECK(bench.asked.size() == 2);
    CHECK(bench.asked[0].itt != bench.asked[1].itt);
    CHECK(bench.pair.session.exp_stat_sn() == bench.pair.target.stat_sn);
    bench.pair.target.answer_management(0);
    bench.pair.run();
    CHECK(bench.done().size() == 1);
}

} // namespace
} // namespace iscsi::testing

// Commands whose time is over: abort, resets, and the session's end, on a virtual clock (RFC 7143
// sections 7.11, 11.5 and 11.6).
#include "management_bench.hpp"

namespace iscsi::testing {
namespace {

using Bench = ManagementBench;
using session::Event;
using session::Outcome;
using wire::TaskManagementRequest;

TEST_CASE("a command whose time is over is aborted, and ends when the target says so",
          "[rfc7143-11.5][TMF-01][TMF-02][TMF-03][SEQ-07]") {
    Bench bench;
    Io& first = bench.read();
    bench.pair.advance(29'999ms);
    CHECK(bench.asked.empty());
    bench.pair.advance(1ms);
    REQUIRE(bench.functions() == Functions{abort_task});
    const TaskManagementRequest& pdu = bench.asked[0];
    CHECK(pdu.opcode_byte == 0x42);
    CHECK(pdu.flags == 0x81);
    CHECK(pdu.total_ahs_length == 0);
    CHECK(pdu.data_segment_length == 0U);
    CHECK(pdu.lun == test_lun.value());
    CHECK(pdu.referenced_task_tag == bench.pair.target.log[0].itt.get());
    CHECK(pdu.ref_cmd_sn == 0xfffffff0U);
    CHECK(pdu.cmd_sn == 0xfffffff1U);
    CHECK(pdu.exp_data_sn == 0U);
    CHECK((pdu.itt & session::tag_slot_mask) == session::management_slot);
    // Its slot and its buffer are the target's until then.
    CHECK(bench.done().empty());
    CHECK(bench.pair.session.active() == 1);
    bench.pair.target.answer_management(0);
    bench.pair.run();
    REQUIRE(bench.done().size() == 1);
    CHECK(first.command.outcome == Outcome::aborted);
    CHECK(first.command.status == 0x40); // never good
    CHECK(bench.pair.session.active() == 0);
    auto event = bench.pair.session.next_event();
    REQUIRE(event);
    CHECK(event->kind == Event::Kind::task_management);
    CHECK(event->code == abort_task);
    CHECK(event->lun == test_lun);
    CHECK(bench.pair.session.statistics().tmfcmd_pdus == 1);
    CHECK(bench.pair.session.statistics().tmfrsp_pdus == 1);
    // The session goes on, and nothing is due any more.
    Io& second = bench.read();
    bench.pair.target.execute();
    bench.pair.run();
    REQUIRE(bench.done().size() == 1);
    CHECK(second.command.outcome == Outcome::responded);
    bench.pair.advance(200s);
    CHECK(bench.pair.result);
    CHECK(bench.asked.size() == 1);
    CHECK_FALSE(bench.pair.session.deadline());
}

TEST_CASE("without an answer the unit is reset, then the target, then the session ends",
          "[rfc7143-7.11][TMF-01][TMF-02][TMF-06]") {
    Bench bench;
    Io& io = bench.read();
    bench.pair.advance(30s + 15s - 1ms);
    CHECK(bench.functions() == Functions{abort_task});
    bench.pair.advance(1ms);
    CHECK(bench.functions() == Functions{abort_task, lun_reset});
    bench.pair.advance(20s);
    REQUIRE(bench.functions() == Functions{abort_task, lun_reset, target_reset});
    CHECK(bench.asked[1].lun == test_lun.value());
    CHECK(bench.asked[1].referenced_task_tag == base::reserved_tag);
    CHECK(bench.asked[1].ref_cmd_sn == 0U);
    CHECK(bench.asked[2].lun == 0U);
    CHECK(bench.asked[2].referenced_task_tag == base::reserved_tag);
    bench.pair.advance(25s - 1ms);
    CHECK(bench.pair.result);
    CHECK(bench.done().empty());
    bench.pair.advance(1ms);
    REQUIRE_FALSE(bench.pair.result);
    CHECK(bench.pair.result.error().code == base::Errc::transport);
    CHECK_THAT(bench.pair.result.error().detail, Catch::Matchers::Contains("not answered in time"));
    CHECK(bench.pair.session.statistics().timeout_err == 1);
    bench.pair.session.abandon();
    REQUIRE(bench.done().size() == 1);
    CHECK(io.command.outcome == Outcome::lost);
}

TEST_CASE("a function that is refused makes way for the next one at once", "[rfc7143-11.6.1][TMF-03]") {
    Bench bench;
    bench.answer = GENERATE(std::uint8_t{2}, std::uint8_t{3}, std::uint8_t{4}, std::uint8_t{5},
                            std::uint8_t{6}, std::uint8_t{7}, std::uint8_t{99}, std::uint8_t{255});
    bench.read();
    bench.pair.advance(30s);
    CHECK(bench.functions() == Functions{abort_task, lun_reset, target_reset});
    REQUIRE_FALSE(bench.pair.result);
    CHECK(bench.pair.result.error().code == base::Errc::transport);
    CHECK(bench.done().empty());
}

TEST_CASE("steps without time are left out", "[TMF-02]") {
    PairConfig config = recovery_config();
    SECTION("one of them") {
        config.session.recovery.lun_reset = 0s;
        Bench bench(config);
        bench.read();
        bench.pair.advance(30s + 15s);
        CHECK(bench.functions() == Functions{abort_task, target_reset});
    }
    SECTION("all of them") {
        config.session.recovery = {30s, 0s, 0s, 0s};
        Bench bench(config);
        bench.read();
        bench.pair.advance(30s - 1ms);
        CHECK(bench.pair.result);
        bench.pair.advance(1ms);
        CHECK(bench.asked.empty());
        CHECK_FALSE(bench.pair.result);
    }
    SECTION("no command has a limit") {
        config.session.recovery.command = 0s;
        Bench bench(config);
        bench.read();
        CHECK_FALSE(bench.pair.session.deadline());
    }
}

TEST_CASE("a command may have a time of its own", "[TMF-02]") {
    PairConfig config = recovery_config();
    config.session.recovery.command = GENERATE(0s, 30s, 10s);
    Bench bench(config);
    Io io;
    io.read(0, 64);
    io.command.timeout = 20s;
    bench.pair.submit(io.command);
    bench.pair.run();
    bench.pair.advance(20s - 1ms);
    CHECK(bench.asked.empty());
    bench.pair.advance(1ms);
    CHECK(bench.functions() == Functions{abort_task});
    bench.pair.session.abandon();
}

TEST_CASE("of many commands whose time is over one is aborted at a time", "[rfc7143-4.2.2.1][TMF-02]") {
    Bench bench;
    for (int i = 0; i < 5; ++i) {
        bench.read();
        bench.pair.advance(1ms);
    }
    bench.pair.advance(30s);
    std::uint32_t cmd_sn = 0xfffffff0U;
    for (std::size_t asked = 1; asked <= 5; ++asked) {
        REQUIRE(bench.asked.size() == asked);
        CHECK(bench.asked.back().ref_cmd_sn == cmd_sn++);
        bench.pair.target.answer_management(0);
        bench.pair.run();
        bench.pair.advance(0s);
    }
    CHECK(bench.done().size() == 5);
    CHECK(bench.asked.size() == 5);
}

/// What the target says when it takes no task management for now.
void reject_management(Bench& bench, wire::RejectReason reason) {
    wire::Reject pdu;
    pdu.reason = static_cast<std::uint8_t>(reason);
    bench.pair.target.send(bench.pair.target.stamped(pdu), base::bytes_of_object(bench.asked.back()));
    bench.pair.run();
}

TEST_CASE("task management that is rejected is tried again, or the next step is",
          "[rfc7143-11.17.1][TMF-03][REJECT-02]") {
    Bench bench;
    bench.read();
    bench.pair.advance(30s);
    REQUIRE(bench.asked.size() == 1);
    SECTION("too many immediate requests") {
        reject_management(bench, wire::RejectReason::immediate_command_reject);
        REQUIRE(bench.pair.result);
        bench.pair.advance(999ms);
        CHECK(bench.asked.size() == 1);
        bench.pair.advance(1ms);
        CHECK(bench.functions() == Functions{abort_task, abort_task});
        bench.pair.target.answer_management(0);
        bench.pair.run();
        CHECK(bench.done().size() == 1);
    }
    SECTION("for ever too many") {
        for (int i = 0; i < 14; ++i) {
            reject_management(bench, wire::RejectReason::immediate_command_reject);
            bench.pair.advance(1s);
        }
        CHECK(bench.asked.size() == 15);
        bench.pair.advance(1s);
        CHECK(bench.functions().back() == lun_reset);
    }
    SECTION("it is not supported") {
        reject_management(bench, wire::RejectReason::command_not_supported);
        CHECK(bench.functions() == Functions{abort_task, lun_reset});
        bench.asked.pop_back();
        reject_management(bench, wire::RejectReason::command_not_supported); // of the first one, once more
        CHECK(bench.asked.size() == 1);
        CHECK(bench.pair.result);
    }
}

TEST_CASE("a command whose data moves has its time anew, and so have those behind it", "[TMF-02]") {
    Bench bench;
    Io& slow = bench.read(test_lun, 64);
    std::uint32_t itt = newest_itt(bench.pair.target);
    bench.pair.advance(1ms);
    Io& behind = bench.read(test_lun, 64);
    bench.pair.advance(10s);
    wire::DataIn pdu;
    pdu.itt = itt;
    bench.pair.target.send(bench.pair.target.stamped(pdu, FakeTarget::Status::none), pattern(32, 1));
    bench.pair.run();
    bench.pair.advance(20s);
    CHECK(bench.asked.empty());
    bench.pair.advance(30s - 1ms);
    CHECK(bench.functions() == Functions{abort_task});
    CHECK(bench.asked[0].referenced_task_tag == itt);
    CHECK(slow.command.outcome == Outcome::pending);
    CHECK(behind.command.outcome == Outcome::pending);
    bench.pair.session.abandon();
}

TEST_CASE("a command does not live on data of a later one", "[TMF-02]") {
    Bench bench;
    bench.read();
    std::uint32_t stuck = newest_itt(bench.pair.target);
    bench.pair.advance(1ms);
    bench.read();
    bench.pair.advance(10s);
    wire::DataIn pdu;
    pdu.itt = newest_itt(bench.pair.target);
    bench.pair.target.send(bench.pair.target.stamped(pdu, FakeTarget::Status::none), pattern(32, 1));
    bench.pair.run();
    bench.pair.advance(20s);
    REQUIRE(bench.asked.size() == 1);
    CHECK(bench.asked[0].referenced_task_tag == stuck);
    bench.pair.session.abandon();
}

TEST_CASE("a window that stays closed with nothing at the target ends the session",
          "[rfc7143-4.2.2.1][SEQ-02]") {
    PairConfig config = recovery_config();
    config.session.nop_out_interval = 5s;
    config.session.nop_out_timeout = 5s; // The target lives, and that is all.
    config.target.window = 0;
    config.session.numbers.max_cmd_sn = config.session.numbers.exp_cmd_sn - 1;
    Bench bench(config);
    bench.pair.advance(100s);
    REQUIRE(bench.pair.result);
    Io& io = bench.read();
    bench.pair.advance(29s);
    CHECK(bench.pair.result);
    SECTION("until its command's time is over") {
        bench.pair.advance(1s);
        REQUIRE_FALSE(bench.pair.result);
        CHECK_THAT(bench.pair.result.error().detail, Catch::Matchers::Contains("window stays closed"));
        CHECK(bench.asked.empty());
        bench.pair.session.abandon();
        CHECK(bench.done().size() == 1);
    }
    SECTION("not when it opens in time") {
        bench.pair.target.config.window = 1;
        bench.pair.target.send(bench.pair.target.stamped(wire::NopIn{}, FakeTarget::Status::shows));
        bench.pair.run();
        bench.pair.advance(29s);
        CHECK(bench.pair.result);
        bench.pair.target.execute();
        bench.pair.run();
        CHECK(bench.done().size() == 1);
        CHECK(io.command.outcome == Outcome::responded);
    }
    SECTION("and when it closes once more its command has all the time again") {
        bench.pair.target.config.window = 1;
        bench.pair.target.send(bench.pair.target.stamped(wire::NopIn{}, FakeTarget::Status::shows));
        bench.pair.run();
        bench.pair.target.config.window = 0;
        bench.pair.target.execute();
        bench.pair.run();
        CHECK(bench.done().size() == 1);
        REQUIRE_FALSE(bench.pair.session.window().is_open());
        bench.read();
        bench.pair.advance(29s);
        CHECK(bench.pair.result);
        bench.pair.advance(1s);
        CHECK_FALSE(bench.pair.result);
    }
}

} // namespace
} // namespace iscsi::testing

// Asynchronous messages, rejects and logout (RFC 7143 sections 11.9, 11.14, 11.15 and 11.17).
#include "harness.hpp"

namespace iscsi::testing {
namespace {

using Catch::Matchers::Contains;
using session::Event;
using session::Outcome;

TEST_CASE("asynchronous messages reach the owner", "[rfc7143-11.9][ASYNC-FF]") {
    Pair pair(wrapping_config());
    wire::AsyncMessage message;
    message.lun = test_lun.value();
    message.async_vcode = 9;
    message.parameter1 = 1;
    message.parameter2 = 2;
    message.parameter3 = 3;
    struct Row {
        std::uint8_t code;
        Event::Kind kind;
    };
    auto row =
        GENERATE(Row{1, Event::Kind::logout_requested}, Row{2, Event::Kind::connection_dropped},
                 Row{3, Event::Kind::session_dropped}, Row{4, Event::Kind::renegotiation_requested},
                 Row{5, Event::Kind::other}, Row{77, Event::Kind::other}, Row{250, Event::Kind::vendor});
    message.async_event = row.code;
    pair.target.send(pair.target.stamped(message));
    pair.run();
    REQUIRE(pair.result);
    auto event = pair.session.next_event();
    REQUIRE(event);
    CHECK(event->kind == row.kind);
    CHECK(event->code == row.code);
    CHECK(event->vendor_code == 9);
    bool dropped = row.code == 2 || row.code == 3;
    CHECK(event->time2wait_s == (dropped ? 2 : 0));
    CHECK(event->time2retain_s == (dropped ? 3 : 0));
    CHECK(event->cid == base::Cid(row.code == 2 ? 1 : 0));
    CHECK(event->within_s == (row.code == 1 || row.code == 4 ? 3 : 0));
    CHECK_FALSE(pair.session.next_event());
}

TEST_CASE("an asynchronous SCSI event brings its sense", "[rfc7143-11.9][ASYNC-00]") {
    Pair pair(wrapping_config());
    wire::AsyncMessage message;
    message.lun = test_lun.value();
    std::vector<std::byte> data = pattern(20, 1);
    data[0] = std::byte{0};
    data[1] = std::byte{18};
    SECTION("well formed") {
        pair.target.send(pair.target.stamped(message), data);
        pair.run();
        auto event = pair.session.next_event();
        REQUIRE(event);
        CHECK(event->kind == Event::Kind::scsi);
        CHECK(event->lun == test_lun);
        REQUIRE(event->sense_bytes == 18);
        CHECK(std::equal(data.begin() + 2, data.end(), event->sense.begin()));
    }
    SECTION("with a length beyond its data") {
        data[1] = std::byte{19};
        pair.target.send(pair.target.stamped(message), data);
        pair.run();
        CHECK_FALSE(pair.result);
    }
    SECTION("without data") {
        pair.target.send(pair.target.stamped(message));
        pair.run();
        CHECK_FALSE(pair.result);
    }
}

TEST_CASE("events that must be acted on are never lost among others", "[events]") {
    session::EventQueue events;
    Event event;
    for (int i = 0; i < 100; ++i) {
        event.kind = Event::Kind::vendor;
        events.push(event);
        event.kind = Event::Kind::logout_requested;
        event.within_s = static_cast<std::uint16_t>(i);
        events.push(event);
    }
    for (auto kind : {Event::Kind::connection_dropped, Event::Kind::session_dropped,
                      Event::Kind::renegotiation_requested, Event::Kind::logout_response}) {
        event.kind = kind;
        events.push(event);
    }
    std::map<Event::Kind, int> count;
    std::uint32_t missed = 0;
    while (auto next = events.pop()) {
        ++count[next->kind];
        missed += next->missed;
        if (next->kind == Event::Kind::logout_requested) {
            CHECK(next->within_s == 99);
        }
    }
    CHECK(count[Event::Kind::logout_requested] == 1);
    CHECK(count[Event::Kind::connection_dropped] == 1);
    CHECK(count[Event::Kind::session_dropped] == 1);
    CHECK(count[Event::Kind::renegotiation_requested] == 1);
    CHECK(count[Event::Kind::logout_response] == 1);
    CHECK(count[Event::Kind::vendor] + static_cast<int>(missed) == 100);
}

TEST_CASE("events that were lost are told with the last that was not", "[events]") {
    session::EventQueue events;
    Event event;
    event.kind = Event::Kind::scsi;
    for (int i = 0; i < 40; ++i) {
        events.push(event);
    }
    std::uint32_t told = 0;
    std::uint32_t missed = 0;
    while (auto next = events.pop()) {
        ++told;
        missed += next->missed;
    }
    CHECK(told > 10);
    CHECK(told + missed == 40);
    events.push(event);
    CHECK(events.pop()->missed == 0);
}

/// A Reject of the newest header of this kind in the target's log.
void reject(Pair& pair, wire::Opcode opcode, wire::RejectReason reason) {
    wire::Reject pdu;
    pdu.reason = static_cast<std::uint8_t>(reason);
    wire::Bhs rejected;
    rejected.opcode_byte = wire::opcode_byte(opcode);
    for (const wire::Bhs& header : pair.target.log) {
        if (header.opcode() == opcode) {
            rejected = header;
        }
    }
    pair.target.send(pair.target.stamped(pdu), base::bytes_of_object(rejected));
    pair.run();
}

TEST_CASE("a rejected command ends the connection, and the owner hears why",
          "[rfc7143-11.17][REJECT-01][REJECT-02][ERL-03]") {
    PairConfig config = wrapping_config();
    config.target.hold = true;
    Pair pair(config);
    pair.target.keep_log = true;
    Io io;
    io.read(0, 16);
    pair.submit(io.command);
    pair.run();
    // Whatever the reason: its CmdSN is missing at the target now, and nothing smaller mends that.
    auto reason =
        GENERATE(wire::RejectReason::data_digest_error, wire::RejectReason::protocol_error,
                 wire::RejectReason::command_not_supported, wire::RejectReason::immediate_command_reject,
                 wire::RejectReason::invalid_pdu_field, wire::RejectReason::long_operation_reject,
                 wire::RejectReason::negotiation_reset, wire::RejectReason::waiting_for_logout,
                 static_cast<wire::RejectReason>(0x7f));
    reject(pair, wire::Opcode::scsi_command, reason);
    REQUIRE_FALSE(pair.result);
    CHECK(pair.result.error().code == base::Errc::protocol);
    CHECK_THAT(pair.result.error().detail, Contains("rejected our SCSI Command"));
    auto event = pair.session.next_event();
    REQUIRE(event);
    CHECK(event->kind == Event::Kind::rejected);
    CHECK(event->code == static_cast<std::uint8_t>(reason));
    CHECK(event->rejected_opcode == 1);
    CHECK(event->lun == test_lun);
    CHECK(completions(pair.session).empty());
}

TEST_CASE("a rejected Data-Out ends the connection unless the target ends the task itself",
          "[rfc7143-7.8][DIG-04][REJECT-02]") {
    PairConfig config = wrapping_config();
    config.target.hold = true;
    config.session.session.immediate_data = false;
    Pair pair(config);
    pair.target.keep_log = true;
    Io io;
    io.write(0, pattern(600, 1));
    pair.submit(io.command);
    pair.run();
    SECTION("for a broken rule") {
        reject(pair, wire::Opcode::data_out, wire::RejectReason::protocol_error);
        CHECK_FALSE(pair.result);
    }
    SECTION("for a digest: CHECK CONDITION follows") {
        reject(pair, wire::Opcode::data_out, wire::RejectReason::data_digest_error);
        CHECK(pair.result);
        CHECK(completions(pair.session).empty());
        pair.target.send(pair.target.response_to(newest_itt(pair.target), 2));
        pair.run();
        CHECK(completions(pair.session).size() == 1);
        // Sent again it is a new command.
        auto first = base::load<wire::ScsiCommand>(base::bytes_of_object(pair.target.log[0]));
        pair.target.log.clear();
        pair.submit(io.command);
        pair.run();
        auto second = base::load<wire::ScsiCommand>(base::bytes_of_object(pair.target.log[0]));
        CHECK(second.cmd_sn == first.cmd_sn + 1);
        CHECK(second.itt != first.itt);
    }
    SECTION("of a task that ended meanwhile") {
        pair.target.execute();
        pair.run();
        REQUIRE(completions(pair.session).size() == 1);
        reject(pair, wire::Opcode::data_out, wire::RejectReason::protocol_error);
        CHECK(pair.result);
    }
}

TEST_CASE("a rejected ping is asked again after the next silence", "[rfc7143-11.17][REJECT-02][NOP-03]") {
    Pair pair(ping_config());
    pair.target.keep_log = true;
    bool mute = true;
    pair.target.intercept = [&mute](const wire::Bhs&, base::Bytes) { return mute; };
    pair.advance(5s);
    reject(pair, wire::Opcode::nop_out, wire::RejectReason::immediate_command_reject);
    REQUIRE(pair.result);
    mute = false;
    pair.advance(30s);
    CHECK(pair.result);
    CHECK(pair.target.log.size() == 7);
}

TEST_CASE("a negotiation that is said to be reset ends the connection, whatever was rejected",
          "[rfc7143-11.17.1][REJECT-02]") {
    Pair pair(ping_config());
    pair.target.keep_log = true;
    pair.target.intercept = [](const wire::Bhs&, base::Bytes) { return true; };
    pair.advance(5s);
    reject(pair, wire::Opcode::nop_out, wire::RejectReason::negotiation_reset);
    REQUIRE_FALSE(pair.result);
    CHECK_THAT(pair.result.error().detail, Contains("rejected our NOP-Out"));
}

TEST_CASE("a Logout that is rejected ends the connection without it",
          "[rfc7143-11.17][REJECT-02][LOGOUT-01]") {
    Pair pair(ping_config());
    pair.target.keep_log = true;
    pair.target.intercept = [](const wire::Bhs&, base::Bytes) { return true; };
    pair.session.begin_logout(pair.now);
    pair.run();
    reject(pair, wire::Opcode::logout_request, wire::RejectReason::protocol_error);
    CHECK_FALSE(pair.result);
    CHECK_FALSE(pair.session.logged_out());
}

TEST_CASE("a Reject too short to say what was rejected ends the connection", "[rfc7143-11.17][REJECT-01]") {
    Pair pair(wrapping_config());
    pair.target.send(pair.target.stamped(wire::Reject{}), pattern(47, 1));
    pair.run();
    REQUIRE_FALSE(pair.result);
    CHECK(pair.result.error().code == base::Errc::protocol);
}

TEST_CASE("a logout closes the session", "[rfc7143-11.14][LOGOUT-01]") {
    PairConfig config = ping_config();
    config.session.cid = base::Cid(3);
    Pair pair(config);
    pair.target.keep_log = true;
    pair.session.begin_logout(pair.now);
    pair.session.begin_logout(pair.now);
    CHECK_FALSE(pair.session.logged_out());
    pair.run();
    REQUIRE(pair.result);
    CHECK(pair.session.logged_out());
    REQUIRE(pair.target.log.size() == 1);
    auto logout = base::load<wire::LogoutRequest>(base::bytes_of_object(pair.target.log[0]));
    CHECK(logout.opcode_byte == 0x46);
    CHECK(logout.flags == 0x80);
    CHECK(logout.cid == 3);
    CHECK(logout.cmd_sn == 0xfffffff0U);
    auto event = pair.session.next_event();
    REQUIRE(event);
    CHECK(event->kind == Event::Kind::logout_response);
    CHECK_FALSE(pair.session.deadline());
    INFO(complaints(pair.target));
    CHECK(pair.target.violations.empty());
}

TEST_CASE("commands not yet sent are lost when logout begins, and so are new ones",
          "[rfc7143-11.14][LOGOUT-01]") {
    PairConfig config = ping_config();
    config.session.tasks = 2;
    config.target.hold = true;
    Pair pair(config);
    std::array<Io, 4> ios;
    for (Io& io : ios) {
        io.read(0, 16);
        pair.submit(io.command);
    }
    pair.run();
    pair.session.begin_logout(pair.now);
    auto lost = completions(pair.session);
    REQUIRE(lost.size() == 2);
    CHECK(lost[0] == &ios[2].command);
    CHECK(lost[0]->outcome == Outcome::lost);
    // What the target has may still be answered.
    pair.target.execute();
    pair.run();
    auto answered = completions(pair.session);
    REQUIRE(answered.size() == 1);
    CHECK(answered[0]->outcome == Outcome::responded);
    Io late;
    late.read(0, 16);
    pair.submit(late.command);
    REQUIRE(completions(pair.session).size() == 1);
    CHECK(late.command.outcome == Outcome::lost);
    CHECK(pair.target.commands_seen() == 2);
    pair.session.abandon();
    REQUIRE(completions(pair.session).size() == 1);
    CHECK(ios[1].command.outcome == Outcome::lost);
}

TEST_CASE("Logout waits for a burst already begun, and no other data follows it",
          "[rfc7143-11.14][LOGOUT-01]") {
    PairConfig config = ping_config();
    config.session.session.initial_r2t = false;
    config.session.session.first_burst_bytes = 30000;
    config.session.session.max_burst_bytes = 30000;
    config.session.connection.max_xmit_data_segment_bytes = 4096;
    config.target.hold = true;
    Pair pair(config);
    pair.target.keep_log = true;
    Io io;
    io.write(0, pattern(60000, 1));
    pair.submit(io.command);
    pair.wire.iovecs = 4;
    pair.send();
    pair.session.begin_logout(pair.now);
    pair.run();
    CHECK(pair.session.logged_out());
    INFO(complaints(pair.target));
    CHECK(pair.target.violations.empty());
    REQUIRE(pair.target.log.size() == 9); // The command, 7 Data-Out of the first burst, Logout.
    CHECK(pair.target.log.back().opcode() == wire::Opcode::logout_request);
}

TEST_CASE("a target that does not answer Logout is given up", "[rfc7143-11.14][LOGOUT-01]") {
    Pair pair(ping_config());
    pair.target.intercept = [](const wire::Bhs&, base::Bytes) { return true; };
    pair.now = base::TimePoint(100s); // The session heard nothing of the time that passed.
    pair.session.begin_logout(pair.now);
    pair.run();
    pair.advance(14'999ms);
    CHECK(pair.result);
    pair.advance(1ms);
    REQUIRE_FALSE(pair.result);
    CHECK(pair.result.error().code == base::Errc::logout);
}

TEST_CASE("a NOP-In is answered while logging out", "[rfc7143-11.14][NOP-01]") {
    Pair pair(ping_config());
    pair.target.intercept = [](const wire::Bhs&, base::Bytes) { return true; };
    pair.session.begin_logout(pair.now);
    pair.run();
    wire::NopIn ping;
    ping.ttt = 1;
    pair.target.send(pair.target.stamped(ping, FakeTarget::Status::shows));
    pair.run();
    CHECK(pair.session.statistics().noptx_pdus == 1);
}

TEST_CASE("a Logout Response nobody asked for is refused", "[rfc7143-11.15][LOGOUT-02]") {
    Pair pair(ping_config());
    wire::LogoutResponse response;
    SECTION("there was no Logout") {
        pair.target.send(pair.target.stamped(response));
        pair.run();
    }
    SECTION("it is for another tag") {
        pair.target.intercept = [](const wire::Bhs&, base::Bytes) { return true; };
        pair.session.begin_logout(pair.now);
        pair.run();
        response.itt = session::logout_slot;
        pair.target.send(pair.target.stamped(response));
        pair.run();
    }
    CHECK_FALSE(pair.result);
    CHECK_FALSE(pair.session.logged_out());
}

} // namespace
} // namespace iscsi::testing

// What a session does when the target speaks up: asynchronous messages, answers to a logout, commands that it
// never answers, and how the connection ends (RFC 7143 sections 11.9, 11.14 and 11.15).
#include "bench.hpp"

#include <catch2/catch.hpp>
#include <cerrno>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

using namespace iscsi;
using namespace iscsi::test;
using block::Verb;
using shard::PathState;
using Kind = session::Event::Kind;

namespace {

/// The target's next commands stay without an answer.
void be_silent(Bench& bench) {
    bench.target.bend = [](const SeenCommand&) {
        Bent bent;
        bent.silent = true;
        return std::optional(bent);
    };
}

/// Of the first command of a session: slot 0, generation 1 (session/tasks.hpp).
constexpr std::uint32_t first_itt = 1U << 12;

void send_async(Bench& bench, std::uint8_t event, std::array<std::uint16_t, 3> parameters) {
    wire::AsyncMessage message;
    message.async_event = event;
    message.parameter1 = parameters[0];
    message.parameter2 = parameters[1];
    message.parameter3 = parameters[2];
    testing::FakeTarget& judge = bench.target.judge();
    judge.send(judge.stamped(message));
}

/// Lets the next Logout pass the judge, and changes the answer.
void answer_logout_with(Bench& bench, std::uint8_t code) {
    bench.target.judge().tamper = [code](wire::Bhs& header, std::vector<std::byte>&) {
        if (header.opcode() == wire::Opcode::logout_response) {
            auto response = base::load<wire::LogoutResponse>(base::bytes_of_object(header));
            response.response = code;
            response.time2wait = 3;
            header = wire::generic(response);
        }
    };
}

} // namespace

TEST_CASE("a target that asks for a logout, or for negotiation, gets a logout, and I/O goes on after a login",
          "[rfc7143-11.9.1][ASYNC-01][ASYNC-04]") {
    Bench bench;
    start_session(bench);
    be_silent(bench);
    auto at_target = bench.write(0, 4096, 1);
    bench.lun->start(*at_target);
    bench.run_until([&] { return bench.target.seen.size() == 1; });
    std::vector<wire::Bhs> log;
    auto inner = bench.target.judge().intercept;
    bench.target.judge().intercept = [&](const wire::Bhs& header, base::Bytes data) {
        log.push_back(header);
        return inner(header, data);
    };
    auto event = GENERATE(std::uint8_t{1}, std::uint8_t{4});
    send_async(bench, event, {0, 0, 5});
    bench.run_until([&] { return bench.nexus->state() == PathState::down; });
    auto meanwhile = bench.write(8192, 4096, 2);
    bench.lun->start(*meanwhile);
    bench.run_until([&] { return bench.drops == 1; });
    // Nothing but the logout, which closes the session.
    REQUIRE(log.size() == 1);
    CHECK(log[0].opcode() == wire::Opcode::logout_request);
    CHECK((log[0].flags & wire::logout_reason_mask) == 0);
    REQUIRE_FALSE(bench.told.empty());
    CHECK(bench.told[0].kind == (event == 1 ? Kind::logout_requested : Kind::renegotiation_requested));
    CHECK(bench.told[0].within_s == 5);
    CHECK_FALSE(bench.nexus->has_session());
    CHECK_FALSE(at_target->done);
    CHECK_FALSE(meanwhile->done);
    bench.target.pump();
    CHECK(bench.target.ended_with == 0);
    bench.target.bend = {};
    start_session(bench);
    bench.run_until([&] { return bench.lun->idle(); });
    CHECK(at_target->error_number == 0);
    CHECK(meanwhile->error_number == 0);
    CHECK(std::equal(at_target->memory.begin(), at_target->memory.end(), bench.target.disk.begin()));
}

TEST_CASE("a target that announces the end of the session is left at once, and its times are passed on",
          "[rfc7143-11.9.1][ASYNC-02][ASYNC-03][ERL-04]") {
    Bench bench;
    start_session(bench);
    SECTION("of all connections") {
        send_async(bench, 3, {0, 7, 9});
        bench.run_until([&] { return bench.drops == 1; });
        REQUIRE(bench.told.size() == 1);
        CHECK(bench.told[0].kind == Kind::session_dropped);
        CHECK(bench.told[0].time2wait_s == 7);
        CHECK(bench.told[0].time2retain_s == 9);
        CHECK(bench.nexus->state() == PathState::down);
    }
    SECTION("of this connection") {
        send_async(bench, 2, {0, 8, 9});
        bench.run_until([&] { return bench.drops == 1; });
        REQUIRE(bench.told.size() == 1);
        CHECK(bench.told[0].kind == Kind::connection_dropped);
        CHECK(bench.told[0].time2wait_s == 8);
    }
    SECTION("of a connection that is another one") {
        send_async(bench, 2, {5, 8, 9});
        bench.run_until([&] { return bench.told.size() == 1; });
        CHECK(bench.told[0].kind == Kind::other);
        CHECK(bench.execute(Verb::read, 0, 512) == 0);
        CHECK(bench.drops == 0);
    }
}

TEST_CASE("messages that ask for nothing disturb nobody", "[rfc7143-11.9.1][ASYNC-FF]") {
    Bench bench;
    start_session(bench);
    for (auto event : {std::uint8_t{5}, std::uint8_t{77}, std::uint8_t{248}, std::uint8_t{255}}) {
        send_async(bench, event, {1, 2, 3});
    }
    bench.run_until([&] { return bench.told.size() == 4; });
    CHECK(bench.execute(Verb::read, 0, 512) == 0);
    CHECK(bench.drops == 0);
}

TEST_CASE("every answer to a logout ends the connection, and only one of them is well",
          "[rfc7143-11.15.1][LOGOUT-02]") {
    Bench bench;
    start_session(bench);
    auto code = GENERATE(std::uint8_t{0}, std::uint8_t{1}, std::uint8_t{2}, std::uint8_t{3});
    answer_logout_with(bench, code);
    auto result = bench.run(bench.nexus->log_out());
    CHECK(result.has_value() == (code == 0));
    if (code == 3) {
        CHECK(result.error().code == base::Errc::logout);
        CHECK(result.error().detail == "cleanup failed");
    }
    CHECK_FALSE(bench.nexus->has_session());
    bench.run_until([&] { return bench.target.ended_with == 0; });
    start_session(bench);
    CHECK(bench.execute(Verb::read, 0, 512) == 0);
}

namespace {

ring::Task<void> log_out(Bench& bench, base::Result<void>& result) {
    result = co_await bench.nexus->log_out();
}

/// A command of control's, which finds no session any more.
ring::Task<void> look(Bench& bench) {
    shard::PassThrough test;
    test.lun = Bench::disk_facts().lun;
    test.cdb_bytes = 6;
    auto reply = co_await bench.nexus->execute(test);
    CHECK(reply.outcome == session::Outcome::lost);
}

} // namespace

TEST_CASE("a target that closes the connection instead of answering a logout has answered it",
          "[rfc7143-11.14][LOGOUT-02]") {
    Bench bench;
    start_session(bench);
    bool asked = false;
    auto inner = bench.target.judge().intercept;
    bench.target.judge().intercept = [&](const wire::Bhs& header, base::Bytes data) {
        asked = asked || header.opcode() == wire::Opcode::logout_request;
        return asked || inner(header, data);
    };
    ring::TaskGroup group;
    base::Result<void> result = base::fail(base::Errc::internal);
    group.spawn(log_out(bench, result));
    bench.run_until([&] { return asked; });
    bench.target.die();
    bench.run_until([&] { return group.empty(); });
    CHECK(result);
    CHECK_FALSE(bench.nexus->has_session());
}

TEST_CASE("a logout that is never answered ends with its time", "[rfc7143-11.14][LOGOUT-01]") {
    Bench bench;
    shard::OpenRequest request = bench.open_request();
    request.logout_timeout = std::chrono::milliseconds(20);
    bench.open(request);
    bench.target.judge().intercept = [](const wire::Bhs&, base::Bytes) { return true; };
    auto result = bench.run(bench.nexus->log_out());
    REQUIRE_FALSE(result);
    CHECK(result.error().code == base::Errc::logout);
    CHECK_FALSE(bench.nexus->has_session());
}

TEST_CASE("what waits for the target when a logout begins, and what comes then, does not wait for its answer",
          "[rfc7143-11.14][LOGOUT-01]") {
    Bench bench;
    shard::OpenRequest request = bench.open_request();
    request.tasks = 2;
    start_session(bench, request);
    be_silent(bench);
    auto at_target = bench.write(0, 512, 1);
    auto with_it = bench.write(512, 512, 2);
    auto waiting = bench.write(1024, 512, 3);
    for (Io* io : {at_target.get(), with_it.get(), waiting.get()}) {
        bench.lun->start(*io);
    }
    bench.run_until([&] { return bench.target.seen.size() == 2; });
    bench.target.judge().intercept = [](const wire::Bhs&, base::Bytes) { return true; };
    bench.nexus->retire();
    ring::TaskGroup group;
    base::Result<void> result;
    group.spawn(log_out(bench, result));
    CHECK(waiting->error_number == ENOLINK);
    for (int i = 0; i < 5; ++i) {
        bench.turn();
    }
    CHECK_FALSE(at_target->done); // it may still be answered
    ring::TaskGroup looks;
    looks.spawn(look(bench));
    CHECK(looks.empty());
    bench.target.die();
    bench.run_until([&] { return group.empty() && looks.empty(); });
    CHECK(at_target->error_number == ENOLINK);
}

TEST_CASE("a block request whose command is never answered is aborted and sent again",
          "[rfc7143-7.11][TMF-02]") {
    Bench bench;
    shard::OpenRequest request = bench.open_request();
    request.recovery.command = std::chrono::milliseconds(20);
    request.recovery.abort_task = std::chrono::seconds(20);
    start_session(bench, request);
    int silent = 2;
    bench.target.bend = [&](const SeenCommand&) {
        Bent bent;
        bent.silent = true;
        return silent-- > 0 ? std::optional(bent) : std::nullopt;
    };
    auto io = bench.write(0, 4096, 1);
    CHECK(bench.finish(*io) == 0);
    CHECK(bench.target.seen.size() == 3);
    CHECK(bench.drops == 0);
    CHECK(bench.nexus->statistics().tmfcmd_pdus == 2);
    CHECK(std::equal(io->memory.begin(), io->memory.end(), bench.target.disk.begin()));
    bench.run_until([&] { return bench.told.size() == 2; });
    CHECK(bench.told[0].kind == Kind::task_management);
}

TEST_CASE("a flush and a WRITE SAME may take longer than what moves their data", "[sbc3-5][TMF-02]") {
    Bench bench;
    shard::OpenRequest request = bench.open_request();
    request.recovery.command = std::chrono::milliseconds(20);
    request.recovery.abort_task = std::chrono::seconds(20);
    start_session(bench, request);
    bench.target.bend = [seen = 0](const SeenCommand&) mutable {
        Bent bent;
        bent.silent = true;
        return ++seen <= 3 ? std::optional(bent) : std::nullopt;
    };
    auto flush = bench.request(block::Verb::flush, 0, 0);
    auto zeroes = bench.request(block::Verb::write_zeroes, 0, 4096);
    bench.lun->start(*flush);
    bench.lun->start(*zeroes);
    auto late = bench.write(8192, 4096, 1);
    CHECK(bench.finish(*late) == 0);
    CHECK(bench.operations() == std::vector<unsigned>{0x35, 0x93, 0x2a, 0x2a});
    CHECK(bench.nexus->statistics().tmfcmd_pdus == 1);
    CHECK_FALSE(flush->done);
    CHECK_FALSE(zeroes->done);
    bench.target.die();
    bench.run_until([&] { return bench.drops == 1; });
    bench.nexus->fail();
    bench.run_until([&] { return flush->done && zeroes->done; });
}

TEST_CASE("a write that is answered while its data leave ends when they have left", "[rfc7143-4.2.5.2]") {
    std::optional<std::uint32_t> itt; // outlives the target, which sets it
    Bench bench;
    shard::OpenRequest request = bench.open_request();
    request.tcp.window_bytes = 8192;
    request.nop_out_interval = {};
    start_session(bench, request);
    testing::FakeTarget& judge = bench.target.judge();
    judge.intercept = [&](const wire::Bhs& header, base::Bytes) {
        itt = header.itt;
        return true; // the data that follow are of no interest to a target that has answered
    };
    auto io = bench.write(0, 1 << 20, 3);
    bench.lun->start(*io);
    bench.loop->turn(ring::monotonic_now() + std::chrono::milliseconds(1));
    wire::ScsiResponse conflict;
    conflict.itt = first_itt;
    conflict.status = 0x18;
    judge.send(judge.stamped(conflict));
    const base::TimePoint begun = ring::monotonic_now();
    bench.run_until([&] { return io->done; });
    CHECK(itt == first_itt);
    CHECK(io->error_number == EBADE);
    CHECK(ring::monotonic_now() - begun < std::chrono::seconds(10));
}

TEST_CASE("a connection that ends for an error is reset, so that nothing of it reaches the target late",
          "[SESS-05]") {
    Bench bench;
    start_session(bench);
    testing::FakeTarget& judge = bench.target.judge();
    judge.send(judge.response_to(0x123)); // of no task
    bench.run_until([&] { return bench.drops == 1; });
    bench.run_until([&] { return bench.target.ended_with >= 0; });
    CHECK(bench.target.ended_with == ECONNRESET);
}

TEST_CASE("a connection does not wait to fill segments", "[SESS-05]") {
    Bench bench;
    start_session(bench);
    int connections = 0;
    for (int fd = 0; fd < 256; ++fd) {
        sockaddr_in peer{};
        socklen_t bytes = sizeof peer;
        if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &bytes) != 0 ||
            ntohs(peer.sin_port) != bench.target.port()) {
            continue;
        }
        int on = 0;
        bytes = sizeof on;
        CHECK(::getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &bytes) == 0);
        CHECK(on != 0);
        ++connections;
    }
    CHECK(connections == 1);
}

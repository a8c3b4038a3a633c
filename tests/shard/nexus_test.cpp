// Drops, replays and ends of a session under a unit in use.
#include "bench.hpp"
#include "shard/lun_news.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cerrno>
#include <netinet/in.h>

using namespace iscsi;
using namespace iscsi::test;
using block::Verb;
using shard::PathState;

namespace {

std::vector<std::unique_ptr<Io>> start_writes(Bench& bench, unsigned count) {
    std::vector<std::unique_ptr<Io>> ios;
    for (unsigned i = 0; i < count; ++i) {
        ios.push_back(bench.write(std::uint64_t{i} * 4096, 4096, i));
        bench.lun->start(*ios.back());
    }
    return ios;
}

Bent silence() {
    Bent bent;
    bent.silent = true;
    return bent;
}

} // namespace

TEST_CASE("requests wait while there is no session and go out when it is resumed") {
    Bench bench;
    auto read = bench.request(Verb::read, 0, 512);
    bench.lun->start(*read);
    bench.open();
    for (int i = 0; i < 5; ++i) {
        bench.turn();
    }
    CHECK_FALSE(read->done);
    CHECK(bench.target.seen.empty());
    bench.nexus->resume();
    bench.run_until([&] { return read->done; });
    CHECK(read->error_number == 0);
}

TEST_CASE("what was lost in a drop is sent again by a new session with the same ISID and TSIH 0",
          "[rfc7143-6.3.5][ERL-01][ERL-06][SESS-03]") {
    Bench bench;
    start_session(bench);
    bench.target.bend = [](const SeenCommand&) { return std::optional(silence()); };
    auto ios = start_writes(bench, 20);
    bench.run_until([&] { return bench.target.seen.size() == 8; });
    bench.target.die();
    bench.run_until([&] { return bench.drops == 1; });
    CHECK(bench.nexus->state() == PathState::down);
    CHECK_FALSE(bench.nexus->has_session());
    for (const auto& io : ios) {
        CHECK_FALSE(io->done);
    }
    bench.target.bend = {};
    start_session(bench);
    bench.run_until([&] { return bench.lun->idle(); });
    for (unsigned i = 0; i < ios.size(); ++i) {
        CHECK(ios[i]->error_number == 0);
        auto at = bench.target.disk.begin() + static_cast<std::ptrdiff_t>(i) * 4096;
        CHECK(std::equal(ios[i]->memory.begin(), ios[i]->memory.end(), at));
    }
    CHECK(bench.lun->counters().replays == 8);
    CHECK(std::all_of(bench.target.isids.begin(), bench.target.isids.end(),
                      [](std::uint64_t isid) { return isid == 0x80123456789aULL; }));
    CHECK(std::count(bench.target.tsihs.begin(), bench.target.tsihs.end(), 0) ==
          static_cast<long>(bench.target.tsihs.size()));
}

TEST_CASE("after the replacement timeout what waits fails, until a session is resumed") {
    Bench bench;
    start_session(bench);
    bench.target.bend = [](const SeenCommand&) { return std::optional(silence()); };
    auto ios = start_writes(bench, 20);
    bench.run_until([&] { return bench.target.seen.size() == 8; });
    bench.target.die();
    bench.run_until([&] { return bench.drops == 1; });
    bench.nexus->fail();
    CHECK(bench.lun->idle());
    for (const auto& io : ios) {
        CHECK(io->error_number == ENOLINK);
    }
    CHECK(bench.execute(Verb::read, 0, 512) == ENOLINK);

    SECTION("a session that came and went does not make requests wait again") {
        bench.open();
        bench.target.die();
        bench.run_until([&] { return bench.drops == 2; });
        CHECK(bench.nexus->state() == PathState::failed);
        bench.open();
        CHECK(bench.run(bench.nexus->log_out()));
        CHECK(bench.execute(Verb::read, 0, 512) == ENOLINK);
    }
    bench.target.bend = {};
    start_session(bench);
    CHECK(bench.execute(Verb::read, 0, 512) == 0);
}

TEST_CASE("a session that is about to end does not keep requests waiting when it drops") {
    Bench bench;
    start_session(bench);
    bench.target.bend = [](const SeenCommand&) { return std::optional(silence()); };
    auto ios = start_writes(bench, 3);
    bench.run_until([&] { return bench.target.seen.size() == 3; });
    bench.nexus->retire();
    bench.nexus->retire();
    CHECK_FALSE(bench.lun->idle());
    bench.target.die();
    bench.run_until([&] { return bench.lun->idle(); });
    CHECK(ios[0]->error_number == ENOLINK);
}

TEST_CASE("a sealed path fails what waits and what comes, and what is at the target ends well") {
    Bench bench;
    start_session(bench);
    bool answer = false;
    bench.target.bend = [&](const SeenCommand&) { return answer ? std::nullopt : std::optional(silence()); };
    auto silent = start_writes(bench, 7);
    bench.run_until([&] { return bench.target.seen.size() == 7; });
    answer = true;
    auto at_target = bench.write(1 << 20, 512, 7);
    bench.lun->start(*at_target);
    auto waiting = bench.write(2 << 20, 512, 8);
    bench.lun->start(*waiting);
    bench.nexus->seal();
    bench.nexus->seal();
    CHECK(waiting->error_number == ENOLINK);
    CHECK(bench.execute(Verb::read, 0, 512) == ENOLINK);
    CHECK_FALSE(at_target->done);
    bench.run_until([&] { return at_target->done; });
    CHECK(at_target->error_number == 0);
    CHECK(bench.target.seen.size() == 8);

    SECTION("control's commands still go") {
        shard::PassThrough request;
        request.lun = Bench::disk_facts().lun;
        request.cdb_bytes = 6;
        request.timeout = std::chrono::seconds(10);
        auto reply = bench.run(bench.nexus->execute(request));
        CHECK(reply.outcome == session::Outcome::responded);
        CHECK(bench.nexus->has_session());
    }
    SECTION("neither resume nor a new session opens it again") {
        bench.nexus->resume();
        CHECK(bench.execute(Verb::read, 0, 512) == ENOLINK);
        bench.target.die();
        bench.run_until([&] { return bench.drops == 1; });
        CHECK(bench.lun->idle());
        CHECK(silent[0]->error_number == ENOLINK);
        CHECK(bench.nexus->state() == PathState::failed);
        start_session(bench);
        CHECK(bench.nexus->state() == PathState::failed);
        CHECK(bench.execute(Verb::read, 0, 512) == ENOLINK);
    }
    bench.run(bench.nexus->log_out());
    CHECK(bench.lun->idle());
}

TEST_CASE("a path that is sealed while it is down fails what waits for it") {
    Bench bench;
    auto read = bench.request(Verb::read, 0, 512);
    bench.lun->start(*read);
    CHECK_FALSE(read->done);
    bench.nexus->seal();
    CHECK(read->error_number == ENOLINK);
    start_session(bench);
    CHECK(bench.execute(Verb::read, 0, 512) == ENOLINK);
    CHECK(bench.target.seen.empty());
}

TEST_CASE("a request that waits for a busy target fails at once when the path is sealed") {
    Bench bench;
    start_session(bench);
    Bent becoming_ready{0x02, {2, 4, 1}, {}};
    bench.target.bend = [&](const SeenCommand&) { return std::optional(becoming_ready); };
    auto read = bench.request(Verb::read, 0, 512);
    bench.lun->start(*read);
    bench.run_until([&] { return bench.lun->counters().retries == 1; });
    bench.nexus->seal();
    CHECK(read->error_number == ENOLINK);
}

TEST_CASE("an abandoned session gives its commands back") {
    Bench bench;
    start_session(bench);
    bench.target.bend = [](const SeenCommand&) { return std::optional(silence()); };
    auto ios = start_writes(bench, 3);
    bench.run_until([&] { return bench.target.seen.size() == 3; });
    bench.nexus->retire();
    ring::TaskGroup group;
    group.spawn(bench.nexus->abandon());
    bench.run_until([&] { return group.empty(); });
    CHECK(bench.lun->idle());
    CHECK(bench.drops == 0);
}

TEST_CASE("a refused login and a portal that is not there are failures, and the next try may succeed") {
    Bench bench;
    bench.target.refuse_login = true;
    auto refused = bench.try_open();
    REQUIRE_FALSE(refused);
    CHECK(refused.error().error.code == base::Errc::fatal_login);
    CHECK(refused.error().at.has_value());
    bench.target.die();
    shard::OpenRequest elsewhere = bench.open_request();
    reinterpret_cast<sockaddr_in&>(elsewhere.endpoints.front().address).sin_port = 0; // where nobody listens
    auto not_there = bench.run(bench.nexus->open(elsewhere));
    REQUIRE_FALSE(not_there);
    CHECK(not_there.error().error.code == base::Errc::transport);
    CHECK_FALSE(not_there.error().at.has_value());
    bench.target.refuse_login = false;
    start_session(bench);
    CHECK(bench.execute(Verb::read, 0, 512) == 0);
    CHECK(bench.run(bench.nexus->log_out()));
}

namespace {

ring::Task<void> open_in_vain(Bench& bench, bool& done) {
    auto opened = co_await bench.nexus->open(bench.open_request());
    CHECK_FALSE(opened);
    done = true;
}

ring::Task<void> execute(Bench& bench, shard::PassThrough request,
                         std::optional<shard::PassThroughReply>& reply) {
    reply = co_await bench.nexus->execute(request);
}

ring::Task<void> execute_all(Bench& bench, std::vector<shard::PassThrough> requests,
                             std::vector<shard::PassThroughReply>& replies) {
    replies = co_await bench.nexus->execute_all(std::move(requests));
}

} // namespace

TEST_CASE("an open at a portal that never answers ends when it is retired") {
    Bench bench;
    ring::TaskGroup group;
    bool done = false;
    group.spawn(open_in_vain(bench, done));
    base::TimePoint begin = ring::monotonic_now();
    for (int i = 0; i < 5; ++i) {
        bench.loop->turn(begin); // without the target's turns
    }
    CHECK_FALSE(done);
    bench.nexus->retire();
    bench.run_until([&] { return done; });
    CHECK(ring::monotonic_now() - begin < std::chrono::seconds(5));
}

TEST_CASE("a command of control's that is never answered ends with its timeout, and the connection with it") {
    Bench bench;
    start_session(bench);
    bench.target.bend = [](const SeenCommand&) { return std::optional(silence()); };
    shard::PassThrough request;
    request.lun = Bench::disk_facts().lun;
    request.cdb_bytes = 6;
    request.timeout = std::chrono::milliseconds(30);
    auto reply = bench.run(bench.nexus->execute(request));
    CHECK(reply.outcome == session::Outcome::lost);
    bench.run_until([&] { return bench.drops == 1; });
    CHECK_THAT(bench.drop_reason, Catch::Matchers::Contains("was not answered in time"));
    auto without_session = bench.run(bench.nexus->execute(request));
    CHECK(without_session.outcome == session::Outcome::lost);
}

TEST_CASE("a command of control's ends at once when the session is about to end") {
    Bench bench;
    start_session(bench);
    bench.target.bend = [](const SeenCommand&) { return std::optional(silence()); };
    shard::PassThrough request;
    request.lun = Bench::disk_facts().lun;
    request.cdb_bytes = 6;
    request.timeout = std::chrono::seconds(30);
    ring::TaskGroup group;
    std::optional<shard::PassThroughReply> reply;
    group.spawn(execute(bench, request, reply));
    bench.run_until([&] { return bench.target.seen.size() == 1; });
    CHECK_FALSE(reply);
    bench.nexus->retire();
    REQUIRE(reply);
    CHECK(reply->outcome == session::Outcome::lost);
    CHECK(bench.nexus->has_session());

    // One that comes later, the last flush, is carried out.
    bench.target.bend = {};
    CHECK(bench.run(bench.nexus->execute(request)).outcome == session::Outcome::responded);
    CHECK(bench.run(bench.nexus->log_out()));
}

TEST_CASE("commands of control's that go together come back in their order, those with an answer keep it") {
    Bench bench;
    start_session(bench);
    int commands = 0;
    bench.target.bend = [&](const SeenCommand&) {
        return ++commands == 2 ? std::optional(silence()) : std::nullopt;
    };
    shard::PassThrough request;
    request.lun = Bench::disk_facts().lun;
    request.cdb_bytes = 6;
    request.timeout = std::chrono::seconds(30);
    ring::TaskGroup group;
    std::vector<shard::PassThroughReply> replies;
    group.spawn(execute_all(bench, {3, request}, replies));
    bench.run_until([&] { return bench.target.seen.size() == 3; });
    // One of those that were answered waits behind the one that was not, another had its turn.
    bench.run_until([&] { return bench.nexus->statistics().scsirsp_pdus >= 2; });
    CHECK(replies.empty());
    bench.nexus->retire();
    REQUIRE(replies.size() == 3);
    CHECK(replies[0].outcome == session::Outcome::responded);
    CHECK(replies[1].outcome == session::Outcome::lost);
    CHECK(replies[2].outcome == session::Outcome::responded);
    CHECK(bench.run(bench.nexus->log_out()));
}

TEST_CASE("no commands of control's are answered at once") {
    Bench bench;
    start_session(bench);
    CHECK(bench.run(bench.nexus->execute_all({})).empty());
}

TEST_CASE("a target cannot fill control's memory with news") {
    Bench bench;
    start_session(bench);
    shard::LunNews news(*bench.nexus, Bench::disk_facts().lun);
    for (int i = 0; i < 100'000; ++i) {
        news.tell(scsi::Disposition());
    }
    bench.turn();
    bench.turn();
    CHECK(bench.effects == 1);
    news.tell(scsi::Disposition());
    bench.run_until([&] { return bench.effects == 2; });
}

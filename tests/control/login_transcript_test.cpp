// Transcripts of logins that fail: at debug level, once for each different failure, without secrets.
#include "control/login_transcript.hpp"

#include "control/log.hpp"
#include "control/log_lines.hpp"
#include "control/portals_bench.hpp"

#include <string>

using namespace iscsi;
using control::ToldFailures;
using records::Key;
using test::LogLines;
using Bench = test::PortalsBench;

namespace {

/// The log at debug level while it lives.
class Debugging {
public:
    Debugging() { control::log::open(control::log::Sink::standard_error, 1); }
    ~Debugging() { control::log::open(control::log::Sink::standard_error, 0); }
    Debugging(const Debugging&) = delete;
    Debugging& operator=(const Debugging&) = delete;
};

const std::string begin = "transcript of the login that failed";

} // namespace

TEST_CASE("each different failure is told once until it is forgotten, and not any number of them") {
    ToldFailures told;
    CHECK(told.is_news("a", "1"));
    CHECK_FALSE(told.is_news("a", "1"));
    CHECK(told.is_news("b", "1"));
    told.forget("a");
    CHECK(told.is_news("a", "1"));
    CHECK_FALSE(told.is_news("b", "1"));
    told.forget_all();
    CHECK(told.is_news("b", "1"));
    const auto news_of = [&told](const std::string& whose) {
        std::size_t news = 0;
        for (int i = 0; i < 1000; ++i) {
            news += told.is_news(whose, "made up " + std::to_string(i)) ? 1 : 0;
        }
        return news;
    };
    CHECK(news_of("b") == ToldFailures::failures_max - 1);
    CHECK(news_of("another record") == ToldFailures::failures_max);
    std::size_t all = 2 * ToldFailures::failures_max;
    for (int i = 0; i < 1000; ++i) {
        all += news_of("made up " + std::to_string(i));
    }
    CHECK(all == ToldFailures::all_max);
}

TEST_CASE("a login that fails has its transcript in the debug log, and one that succeeds has none",
          "[login]") {
    Bench bench(1);
    LogLines log;
    SECTION("nothing is kept without debug level") {
        bench[0].always.status = 0x0203;
        CHECK(bench.failure().code == base::Errc::fatal_login);
        CHECK(log.with(begin).empty());
    }
    SECTION("a refusal") {
        const Debugging debugging;
        bench[0].always.status = 0x0203;
        CHECK(bench.failure().code == base::Errc::fatal_login);
        REQUIRE(log.with(begin).size() == 1);
        CHECK(log.with(begin)[0].find("session 1 at 127.0.0.1 port ") != std::string::npos);
        CHECK(log.with(":     TargetName=iqn.2026-01.example:disk").size() == 1);
        CHECK(log.with("< Login Response, status 0203 (initiator error: target not found)").size() == 1);
    }
    SECTION("no failure, and redirections, which are none") {
        const Debugging debugging;
        bench[0].next = {bench.moved(0, false, "localhost")};
        bench.log_in();
        CHECK(bench[0].logins.size() == 2);
        CHECK(log.with(begin).empty());
    }
    SECTION("CHAP") {
        const Debugging debugging;
        bench[0].takes_one_algorithm = true;
        ipc::Login request = bench.request();
        REQUIRE(request.node.set(Key::session_authmethod, "CHAP"));
        REQUIRE(request.node.set(Key::session_username, "user"));
        REQUIRE(request.node.set(Key::session_password, "0123456789abcdef"));
        REQUIRE(request.node.set(Key::session_username_in, "target"));
        REQUIRE(request.node.set(Key::session_password_in, "fedcba9876543210"));
        CHECK(bench.failure(std::move(request)).code == base::Errc::authentication);
        CHECK(log.with(begin).size() == 1);
        CHECK(log.with("CHAP_R=<34 bytes, not shown>").size() == 1);
        CHECK(log.with("CHAP_R=0").empty());
        CHECK(log.with("CHAP_C=0").empty());
        CHECK(log.with("0123456789abcdef").empty());
        CHECK(log.with("fedcba9876543210").empty());
    }
}

TEST_CASE("a recovery has one transcript of each failure, however often it tries", "[login]") {
    const Debugging debugging;
    Bench bench(1);
    LogLines log;
    bench.log_in();
    bench[0].next = {{0x0203, ""}, {0x0203, ""}, {0x0301, ""}, {0x0203, ""}};
    bench[0].drop();
    bench.until_logins(0, 6);
    bench.fixture.run_until([&] { return !log.with(" is back after ").empty(); });
    CHECK(log.with(begin).size() == 2);
    CHECK(log.with("status 0203").size() >= 1);
    CHECK(log.with("< Login Response, status 0301").size() == 1);
    // It came back: the same failure is news again.
    bench[0].next = {{0x0203, ""}};
    bench[0].drop();
    bench.until_logins(0, 8);
    bench.fixture.run_until([&] { return log.with(begin).size() == 3; });
}

TEST_CASE("a discovery whose login fails has a transcript, too", "[login]") {
    const Debugging debugging;
    Bench bench(1);
    LogLines log;
    ipc::Discover request;
    REQUIRE(request.discovery.set(Key::discovery_address, "127.0.0.1"));
    REQUIRE(request.discovery.set(Key::discovery_port, std::to_string(bench[0].port())));
    REQUIRE(request.discovery.set(Key::discovery_reopen_max, "1"));
    bench[0].next = {{0x0301, ""}, {0x0301, ""}};
    (void)bench.failure(request);
    CHECK(bench[0].logins.size() == 2);
    REQUIRE(log.with(begin).size() == 1); // of two tries
    CHECK(log.with(begin)[0].find("discovery at 127.0.0.1 port ") != std::string::npos);
    CHECK(log.with(":     SessionType=Discovery").size() == 1);
    bench[0].next = {{0x0301, ""}, {0x0301, ""}};
    (void)bench.failure(request);
    CHECK(log.with(begin).size() == 2); // who asks again wants to hear it again
    (void)bench.ask(request);
    CHECK(log.with(begin).size() == 2);
}

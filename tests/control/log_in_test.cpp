// What the daemon makes of the ways in which a login ends: what a first login answers, where redirections
// lead, and that a session that was established comes back whatever the target says meanwhile.
#include "control/log_in.hpp"

#include "control/portals_bench.hpp"
#include "support/temporary_directory.hpp"

#include <fstream>
#include <memory>

using namespace iscsi;
using namespace std::chrono_literals;
using base::Errc;
using control::LoginRoute;
using control::Place;
using records::Key;
using test::Counts;
using test::LoginPortal;
using Bench = test::PortalsBench;

TEST_CASE("a first login ends with the exit code that open-iscsi gives the target's status",
          "[login][STATUS-0200][STATUS-0201][STATUS-0202][STATUS-0203][STATUS-0204][STATUS-0205][STATUS-0206]"
          "[STATUS-0207][STATUS-0208][STATUS-0209][STATUS-020a][STATUS-020b][STATUS-0300][STATUS-0301]"
          "[STATUS-0302][STATUS-other]") {
    struct Row {
        std::uint16_t status;
        int exit_code;
    };
    Bench bench(1);
    for (Row row : {Row{0x0200, 19}, Row{0x0201, 24}, Row{0x0202, 24}, Row{0x0203, 19}, Row{0x0204, 19},
                    Row{0x0205, 19}, Row{0x0206, 19}, Row{0x0207, 19}, Row{0x0208, 19}, Row{0x0209, 19},
                    Row{0x020a, 19}, Row{0x020b, 19}, Row{0x02ff, 19}, Row{0x0300, 5},  Row{0x0301, 5},
                    Row{0x0302, 5},  Row{0x03ff, 5},  Row{0x0101, 5},  Row{0x0400, 5},  Row{0xff00, 5}}) {
        CAPTURE(row.status);
        bench[0].logins.clear();
        bench[0].always.status = row.status;
        CHECK(base::exit_code(bench.failure().code) == row.exit_code);
        CHECK(bench[0].logins.size() == 1);
    }
    bench[0].always.status = 0;
    bench.log_in(); // nothing of the failed ones is left
}

TEST_CASE("a first login is repeated for what may pass, and for nothing else",
          "[login][STATUS-0201][STATUS-0203][STATUS-0300][STATUS-0301][STATUS-0302]") {
    for (Errc code :
         {Errc::transport, Errc::transport_timeout, Errc::disconnected, Errc::pdu_timeout, Errc::login}) {
        CHECK(control::worth_a_retry({code, ""}));
    }
    for (Errc code : {Errc::authentication, Errc::fatal_login, Errc::protocol, Errc::invalid, Errc::internal,
                      Errc::redirected, Errc::cancelled, Errc::not_supported}) {
        CHECK_FALSE(control::worth_a_retry({code, ""}));
    }
    CHECK(base::exit_code(control::as_told({Errc::transport, ""}).code) == 8);
    CHECK(base::exit_code(control::as_told({Errc::disconnected, ""}).code) == 8);
    CHECK(base::exit_code(control::as_told({Errc::pdu_timeout, ""}).code) == 11);
    CHECK(base::exit_code(control::as_told({Errc::login, ""}).code) == 5);
    CHECK(base::exit_code(control::as_told({Errc::authentication, ""}).code) == 24);
}

TEST_CASE("a session that was established asks again in longer and longer pauses, seldom when it was refused",
          "[login][STATUS-0201][STATUS-0202]") {
    auto pauses = [](Errc code) {
        std::vector<long> ms;
        base::Duration pause{};
        for (int i = 0; i < 9; ++i) {
            pause = control::pause_after(code, pause, 175ms);
            ms.push_back(std::chrono::duration_cast<std::chrono::milliseconds>(pause).count());
        }
        return ms;
    };
    CHECK(pauses(Errc::disconnected) ==
          std::vector<long>{250, 500, 1000, 2000, 4000, 8000, 8000, 8000, 8000});
    CHECK(pauses(Errc::fatal_login) == pauses(Errc::disconnected));
    CHECK(pauses(Errc::transport_timeout) == std::vector<long>(9, 175));
    CHECK(pauses(Errc::transport) == pauses(Errc::transport_timeout));
    CHECK(pauses(Errc::authentication) ==
          std::vector<long>{5000, 10000, 20000, 40000, 60000, 60000, 60000, 60000, 60000});
    CHECK(control::pause_after(Errc::login, 60s, 175ms) == 8s);
    CHECK(control::pause_after(Errc::authentication, 250ms, 175ms) == 5s);
}

TEST_CASE("connections are tried the less often the longer nobody answers, and the more sessions try",
          "[login][F-01][F-20]") {
    CHECK(control::reconnect_pause(0s, 1) == 150ms);
    CHECK(control::reconnect_pause(45s, 1) == 150ms);
    CHECK(control::reconnect_pause(120s, 1) == 400ms);
    CHECK(control::reconnect_pause(300s, 1) == 1s);
    CHECK(control::reconnect_pause(24h, 1) == 1s);
    CHECK(control::reconnect_pause(0s, 75) == 150ms);
    CHECK(control::reconnect_pause(0s, 250) == 500ms);
    CHECK(control::reconnect_pause(120s, 250) == 500ms);
    CHECK(control::reconnect_pause(0s, 100'000) == 1s);
}

TEST_CASE("an established session comes back through every refusal, as the same nexus",
          "[login][ISID-02][ISID-03][ISID-04][LOGIN-04][NAME-05][STATUS-0203][STATUS-0206][STATUS-020a]["
          "STATUS-0300]") {
    Bench bench(1);
    bench.log_in();
    auto status =
        GENERATE(as<std::uint16_t>{}, 0x0200, 0x0203, 0x0204, 0x0206, 0x020a, 0x020b, 0x0300, 0x0301);
    CAPTURE(status);
    bench[0].next = {{status, ""}};
    bench[0].drop();
    bench.until_logins(0, 3);
    const wire::LoginRequest& first = bench[0].logins.front().header;
    for (const LoginPortal::Seen& seen : bench[0].logins) {
        CHECK(seen.header.isid == first.isid.get());
        CHECK(seen.header.tsih == 0); // the target ends the old session before it begins the new one
        CHECK(seen.text == bench[0].logins.front().text);
    }
    CHECK((first.isid.get() >> 46) == 2); // random format
}

TEST_CASE("a change of the network ends the pause before the next try") {
    Bench bench(1);
    bench.log_in();
    bench[0].always.status = 0x0300;
    bench[0].drop();
    bench.until_logins(0, 5);
    const base::TimePoint before = ring::monotonic_now();
    bench.fixture.run_until([&] { // the pause is of 1.5 s at least
        bench.fixture.daemon->on_network_change();
        return bench[0].logins.size() == 6;
    });
    CHECK(ring::monotonic_now() - before > 200ms); // but not at once: it may change all the time
    CHECK(ring::monotonic_now() - before < 1400ms);
}

TEST_CASE("a change of the network is no reason to ask one that refuses", "[login][STATUS-0201]") {
    Bench bench(1);
    bench.log_in();
    bench[0].always.status = 0x0201;
    bench[0].drop();
    bench.until_logins(0, 2);
    const base::TimePoint until = ring::monotonic_now() + 1500ms;
    bench.fixture.run_until([&] {
        bench.fixture.daemon->on_network_change();
        return ring::monotonic_now() >= until;
    });
    CHECK(bench[0].logins.size() == 2);
}

TEST_CASE("sessions that were lost together do not come back in one moment") {
    CHECK(control::spread(8s, 0) == 6s);
    CHECK(control::spread(8s, 512) == 7s);
    CHECK(control::spread(8s, 1023) < 8s);
    CHECK(control::spread(8s, 1024) == 6s);
    CHECK(control::spread(0s, 77) == 0s);
}

TEST_CASE("a session that the target will not let in any more is kept, and the target is not pestered",
          "[login][STATUS-0201]") {
    Bench bench(1);
    bench.log_in();
    bench[0].always.status = 0x0201;
    bench[0].drop();
    bench.until_logins(0, 2);
    base::TimePoint then = ring::monotonic_now() + 1500ms; // five tries, were it any other status
    bench.fixture.run_until([&] { return ring::monotonic_now() >= then; });
    CHECK(bench[0].logins.size() == 2);
    ipc::Reply sessions = bench.ask(ipc::Sessions());
    CHECK(std::get<ipc::SessionsReply>(sessions).sessions.size() == 1);
}

TEST_CASE("a target that has moved for now is asked at its own address again after a drop",
          "[login][STATUS-0101][LOGIN-13]") {
    Bench bench(2);
    bench[0].always = bench.moved(1, false);
    bench[1].portal_group = 9;
    ipc::Login request = bench.request();
    REQUIRE(request.node.set(Key::node_tpgt, "1")); // that of the record's own portal, and of no other
    REQUIRE(std::holds_alternative<ipc::LoginReply>(bench.ask(std::move(request))));
    CHECK(bench.logins() == Counts{1, 1});
    CHECK(bench[0].logins[0].text == bench[1].logins[0].text);
    CHECK(bench[0].logins[0].header.isid == bench[1].logins[0].header.isid.get());
    bench[1].drop();
    bench.until_logins(1, 2);
    CHECK(bench.logins() == Counts{2, 2});
}

TEST_CASE("a target that has moved for good is asked at its new address from then on",
          "[login][STATUS-0102]") {
    Bench bench(3);
    bench[0].always = bench.moved(1, true);
    bench[1].always = bench.moved(2, true);
    bench.log_in();
    CHECK(bench.logins() == Counts{1, 1, 1});
    bench[2].drop();
    bench.until_logins(2, 2);
    CHECK(bench.logins() == Counts{1, 1, 2});

    // It is the record that the user sees, and where nobody answers any more is no dead end.
    bench[0].always = {};
    bench[2].close();
    bench[2].drop();
    bench.until_logins(0, 2);
    CHECK(bench.logins() == Counts{2, 1, 2});
    bench[0].drop();
    bench.until_logins(0, 3);
    CHECK(bench.logins() == Counts{3, 1, 2});
}

TEST_CASE("a remembered place that refuses the account is not asked for ever", "[login][STATUS-0102]") {
    Bench bench(2);
    bench[0].always = bench.moved(1, true);
    bench.log_in();
    bench[0].always = {};
    bench[1].always.status = 0x0202;
    bench[1].drop();
    bench.until_logins(1, 2);
    bench.until_logins(0, 2);
    CHECK(bench.logins() == Counts{2, 2});
}

TEST_CASE("secrets that were refused once are used again while their file cannot be read",
          "[login][STATUS-0202]") {
    Bench bench(1);
    test::TemporaryDirectory directory;
    const std::string path = directory.path() + "/secret";
    std::ofstream(path) << "0123456789abcdef";
    REQUIRE(::chmod(path.c_str(), 0600) == 0);
    ipc::Login request = bench.request();
    // Which alone asks for no CHAP, so that this portal will do.
    REQUIRE(request.node.set(Key::session_password_in, "file:" + path));
    REQUIRE(std::holds_alternative<ipc::LoginReply>(bench.ask(std::move(request))));
    std::filesystem::remove(path);
    bench[0].next = {{0x0202, ""}};
    bench[0].drop();
    bench.until_logins(0, 3);
    CHECK(bench.logins() == Counts{3});
}

TEST_CASE("a redirection that only anybody's unproven word vouches for is not remembered",
          "[login][STATUS-0102]") {
    Bench bench(2);
    bench.log_in();
    bench[0].next = {bench.moved(1, true)};
    bench[1].always.status = 0x0203;
    bench[0].drop();
    bench.until_logins(0, 3);
    CHECK(bench.logins() == Counts{3, 1});
}

TEST_CASE("a place that moved for now and then for good is remembered as neither", "[login][STATUS-0102]") {
    LoginRoute route(Place{"a", 1});
    CHECK_FALSE(route.moved_to().has_value());
    REQUIRE(route.follow({"b", 1, false}));
    CHECK_FALSE(route.moved_to().has_value());
    REQUIRE(route.follow({"c", 1, true}));
    CHECK_FALSE(route.moved_to().has_value());
    LoginRoute good(Place{"a", 1});
    REQUIRE(good.follow({"a", 2, true}));
    REQUIRE(good.follow({"c", 1, true}));
    CHECK(good.moved_to() == Place{"c", 1});
    REQUIRE(good.follow({"d", 1, false}));
    CHECK_FALSE(good.moved_to().has_value());
}

TEST_CASE("a redirection in a circle is found when it closes", "[login][STATUS-0101][STATUS-0102]") {
    bool permanent = GENERATE(false, true);
    Bench bench(3);
    bench[0].always = bench.moved(1, permanent);
    bench[1].always = bench.moved(2, permanent);
    auto back_to = GENERATE(0U, 1U, 2U);
    bench[2].always = bench.moved(back_to, permanent);
    ipc::Login request = bench.request();
    REQUIRE(request.node.set(Key::session_initial_login_retry_max, "4")); // it would be led around again
    base::Error error = bench.failure(std::move(request));
    CHECK(base::exit_code(error.code) == 5);
    CHECK_THAT(error.detail, Catch::Contains("circle"));
    CHECK(bench.logins() == Counts{1, 1, 1});
}

TEST_CASE("a redirection without end ends", "[login][STATUS-0101]") {
    Bench bench(13);
    for (std::size_t i = 0; i < 12; ++i) {
        bench[i].always = bench.moved(i + 1, false);
    }
    base::Error error = bench.failure();
    CHECK(base::exit_code(error.code) == 5);
    CHECK(bench.logins() == Counts{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0});
    bench[10].always = {};
    bench.log_in();
}

TEST_CASE("a target may move to a name or to an IPv6 address", "[login][STATUS-0101][DISC-05]") {
    Bench bench(2);
    SECTION("a name") {
        bench[0].always = bench.moved(1, false, "localhost");
    }
    SECTION("an address in brackets") {
        bench.portals[1] = std::make_unique<LoginPortal>(true);
        if (!bench[1].usable()) {
            return; // a host without IPv6
        }
        bench[0].always = bench.moved(1, false, "[::1]");
    }
    bench.log_in();
    CHECK(bench.logins() == Counts{1, 1});
}

TEST_CASE("a discovery follows redirections, and what has no address is where it was answered",
          "[login][STATUS-0101][STATUS-0102][DISC-01][DISC-04]") {
    Bench bench(3);
    bool permanent = GENERATE(false, true);
    bench[0].always = bench.moved(1, permanent);
    bench[1].always = bench.moved(2, permanent);
    bench[2].targets = "TargetName=iqn.2026-01.example:a\nTargetName=iqn.2026-01.example:b\n"
                       "TargetAddress=192.0.2.1:3261,7\n";
    ipc::Discover request;
    REQUIRE(request.discovery.set(Key::discovery_address, "127.0.0.1"));
    REQUIRE(request.discovery.set(Key::discovery_port, std::to_string(bench[0].port())));
    ipc::Reply reply = bench.ask(std::move(request));
    auto* found = std::get_if<ipc::DiscoverReply>(&reply);
    REQUIRE(found != nullptr);
    REQUIRE(found->found.size() == 2);
    CHECK(found->found[0].port == bench[2].port());
    CHECK(found->found[0].tpgt == -1);
    CHECK(found->found[1].address == "192.0.2.1");
    CHECK(bench.logins() == Counts{1, 1, 1});
    CHECK_THAT(bench[2].logins[0].text, Catch::Contains("SessionType=Discovery\n"));
}

// Targets that take no list of CHAP algorithms.
#include "control/portals_bench.hpp"

using namespace iscsi;
using records::Key;
using test::Counts;
using Bench = test::PortalsBench;

TEST_CASE("a target that takes no list of CHAP algorithms is offered MD5 alone, if the list has it",
          "[login][F-16]") {
    Bench bench(1);
    bench[0].takes_one_algorithm = true;
    ipc::Login request = bench.request();
    REQUIRE(request.node.set(Key::session_authmethod, "CHAP"));
    REQUIRE(request.node.set(Key::session_username, "user"));
    REQUIRE(request.node.set(Key::session_password, "0123456789abcdef"));
    SECTION("a list with MD5; what was learned holds for the next login") {
        REQUIRE(request.node.set(Key::session_chap_algs, "SHA256,MD5"));
        REQUIRE(std::holds_alternative<ipc::LoginReply>(bench.ask(std::move(request))));
        CHECK(bench.logins() == Counts{2});
        bench[0].drop();
        bench.until_logins(0, 3);
        CHECK(bench.logins() == Counts{3});
    }
    SECTION("the default is MD5 alone") {
        REQUIRE(std::holds_alternative<ipc::LoginReply>(bench.ask(std::move(request))));
        CHECK(bench.logins() == Counts{1});
    }
    SECTION("MD5 is not offered against the operator's will") {
        REQUIRE(request.node.set(Key::session_chap_algs, "SHA256,SHA1"));
        CHECK(base::exit_code(bench.failure(std::move(request)).code) == 24);
        CHECK(bench.logins() == Counts{1});
    }
    SECTION("a target that refuses MD5 as well is asked twice") {
        REQUIRE(request.node.set(Key::session_chap_algs, "SHA256,MD5"));
        bench[0].next = {{}, {0x0201, ""}};
        CHECK(base::exit_code(bench.failure(std::move(request)).code) == 24);
        CHECK(bench.logins() == Counts{2});
    }
}

TEST_CASE("a discovery whose list of CHAP algorithms is refused offers MD5 alone", "[login][F-16]") {
    Bench bench(1);
    bench[0].takes_one_algorithm = true;
    bench[0].targets = "TargetName=iqn.2026-01.example:a\n";
    ipc::Discover request;
    REQUIRE(request.discovery.set(Key::discovery_address, "127.0.0.1"));
    REQUIRE(request.discovery.set(Key::discovery_port, std::to_string(bench[0].port())));
    REQUIRE(request.discovery.set(Key::discovery_authmethod, "CHAP"));
    REQUIRE(request.discovery.set(Key::discovery_username, "user"));
    REQUIRE(request.discovery.set(Key::discovery_password, "0123456789abcdef"));
    REQUIRE(request.discovery.set(Key::session_chap_algs, "SHA256,MD5"));
    ipc::Reply reply = bench.ask(std::move(request));
    auto* found = std::get_if<ipc::DiscoverReply>(&reply);
    REQUIRE(found != nullptr);
    CHECK(found->found.size() == 1);
    CHECK(bench.logins() == Counts{2});
}

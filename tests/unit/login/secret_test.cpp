// What is left of secrets in memory.
#include "support/heap_watch.hpp"
#include "unit/login/login_bench.hpp"

#include <catch2/catch.hpp>

using iscsi::login::LoginConfig;
using iscsi::login::Secret;
using iscsi::test::FakeLoginTarget;
using Watch = iscsi::test::HeapWatch;
using iscsi::test::needle;
namespace base = iscsi::base;
namespace login = iscsi::login;

TEST_CASE("the watch sees what was not wiped", "[secret]") {
    Watch watch("a text that nobody wipes");
    { std::string careless(needle.text); }
    CHECK(Watch::found() == 1);
}

TEST_CASE("a secret is wiped wherever it has been", "[secret][CHAP-11]") {
    Watch watch("a secret of 24 octets...");
    {
        Secret first(needle.text);
        Secret copy(first);
        Secret moved(std::move(copy));
        Secret assigned("something else");
        assigned = first;
        assigned = Secret("shorter");
        copy = std::move(moved);
        assigned = std::move(copy);
        std::vector<Secret> many(3, first);
        many.push_back(assigned);
        many.erase(many.begin());
        REQUIRE(base::text_of(first.bytes()) == needle.text);
        Secret& self = first;
        first = self;
        REQUIRE(base::text_of(first.bytes()) == needle.text);
    }
    CHECK(Watch::found() == 0);
}

TEST_CASE("a login leaves neither secret in memory, however it ends", "[login][secret][CHAP-11]") {
    bool ours = GENERATE(true, false);
    bool succeeds = GENERATE(true, false);
    FakeLoginTarget target;
    target.own_secret = succeeds ? "the target's own" : "another one altogether";
    // The target has its own copies, which are not ours to wipe and live longer than the watch.
    Watch watch(ours ? "initiator secret" : "the target's own");
    {
        LoginConfig config = iscsi::test::with_chap(true);
        LoginConfig copy = config;
        auto made = login::Login::make(std::move(config));
        REQUIRE(made.has_value());
        CHECK(target.run(**made).has_value() == succeeds);
    }
    CHECK(Watch::found() == 0);
}

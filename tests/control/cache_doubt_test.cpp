// What an attention behind an outage says of a unit's cache, and what it does not.
#include "control/cache_doubt.hpp"

#include <catch2/catch.hpp>

using iscsi::control::CacheDoubt;
using Verdict = CacheDoubt::Verdict;
using enum iscsi::scsi::Effect;

namespace {

constexpr bool was_away = true;
constexpr bool was_there = false;

/// A login in which the unit says this.
Verdict log_in(CacheDoubt& cache, iscsi::scsi::Effects said, bool away = was_there) {
    cache.on_login();
    cache.on_attention(said);
    return cache.judge(away);
}

constexpr iscsi::scsi::Effects greeting = power_on_reset | cache_maybe_lost;
constexpr iscsi::scsi::Effects nexus_loss = power_on_reset;
constexpr iscsi::scsi::Effects nothing;

} // namespace

TEST_CASE("a unit that says nothing has kept its cache, also when its target was away", "[F-03]") {
    CacheDoubt cache;
    CHECK(log_in(cache, nothing, was_away) == Verdict::kept);
    CHECK(log_in(cache, nexus_loss, was_away) == Verdict::kept);
}

TEST_CASE("a loss of power that is named is one", "[spc-4-f.2][F-03]") {
    CacheDoubt cache;
    CHECK(log_in(cache, greeting | power_was_lost) == Verdict::lost);
}

TEST_CASE("29/00 of a target that was away is a loss", "[F-03]") {
    CacheDoubt cache;
    CHECK(log_in(cache, greeting, was_away) == Verdict::lost);
}

TEST_CASE("a target that greets twice in a row greets, until it does not", "[F-03]") {
    CacheDoubt cache;
    REQUIRE(log_in(cache, greeting) == Verdict::ask_again);
    REQUIRE(log_in(cache, greeting) == Verdict::kept);
    cache.settle();
    CHECK(log_in(cache, greeting) == Verdict::kept);
    CHECK(log_in(cache, greeting, was_away) == Verdict::lost);
    cache.settle();
    CHECK(log_in(cache, nothing) == Verdict::kept);
    cache.settle();
    CHECK(log_in(cache, greeting) == Verdict::lost);
}

TEST_CASE("what is not said a second time was news", "[sam5-5.14][F-03]") {
    CacheDoubt cache;
    REQUIRE(log_in(cache, greeting) == Verdict::ask_again);
    SECTION("asked at once") {
        CHECK(log_in(cache, nothing) == Verdict::lost);
    }
    SECTION("asked later, because the second login was not to be had") {
        cache.give_up_asking();
        CHECK(log_in(cache, nothing) == Verdict::lost);
    }
    cache.settle();
    CHECK(log_in(cache, nothing) == Verdict::kept); // of another outage
}

TEST_CASE("two attentions with an outage between them are no greeting", "[F-03]") {
    CacheDoubt cache;
    REQUIRE(log_in(cache, greeting) == Verdict::ask_again);
    cache.give_up_asking();
    CHECK(log_in(cache, greeting) == Verdict::ask_again);
}

TEST_CASE("a target that did not greet at a login before does not greet", "[F-03]") {
    CacheDoubt cache;
    REQUIRE(log_in(cache, nexus_loss) == Verdict::kept);
    cache.settle();
    CHECK(log_in(cache, greeting) == Verdict::lost);
}

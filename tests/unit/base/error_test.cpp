#include "base/error.hpp"
#include "base/result.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cerrno>
#include <set>
#include <string>

namespace base = iscsi::base;
using base::Errc;

TEST_CASE("the first 33 errors end iscsiadm with their own number", "[open-iscsi-exit-codes]") {
    std::set<std::string_view> texts;
    for (int code = 1; code <= 33; ++code) {
        INFO(code);
        CHECK(base::exit_code(static_cast<Errc>(code)) == code);
        CHECK_FALSE(base::text(static_cast<Errc>(code)).empty());
        texts.insert(base::text(static_cast<Errc>(code)));
    }
    CHECK(texts.size() == 33);
}

TEST_CASE("errors of ours end iscsiadm with the number of the kind they belong to",
          "[open-iscsi-exit-codes]") {
    struct Row {
        Errc ours;
        Errc kind;
    };
    constexpr std::array rows{Row{Errc::protocol, Errc::login}, Row{Errc::digest, Errc::transport},
                              Row{Errc::disconnected, Errc::transport}, Row{Errc::cancelled, Errc::internal},
                              Row{Errc::redirected, Errc::login}};
    for (const Row& row : rows) {
        CHECK(base::exit_code(row.ours) == base::exit_code(row.kind));
        CHECK(base::text(row.ours) == base::text(row.kind));
    }
}

TEST_CASE("a number that is no error counts as unknown", "[open-iscsi-exit-codes]") {
    CHECK(base::exit_code(static_cast<Errc>(0)) == 1);
    CHECK(base::exit_code(static_cast<Errc>(34)) == 1);
    CHECK(base::exit_code(static_cast<Errc>(-1)) == 1);
}

TEST_CASE("the texts that scripts look for", "[open-iscsi-exit-codes]") {
    CHECK(base::text(Errc::session_exists) == "session exists");
    CHECK(base::text(Errc::session_not_found) == "session not found");
    CHECK(base::text(Errc::transport_timeout) == "connection timed out");
    CHECK(base::text(Errc::fatal_login) == "encountered non-retryable iSCSI login failure");
    CHECK(base::text(Errc::authentication) == "iSCSI login failed due to authorization failure");
}

TEST_CASE("an error says its detail, or the text of its code", "[error]") {
    CHECK(base::Error{Errc::busy, "/dev/ublkb0 is mounted"}.message() == "/dev/ublkb0 is mounted");
    CHECK(base::Error{Errc::busy, ""}.message() == "device or resource in use");
}

TEST_CASE("a failed result carries its error on", "[result]") {
    auto inner = []() -> base::Result<int> { return base::fail(Errc::invalid, "no number"); };
    auto outer = [&inner]() -> base::Result<std::string> { return base::fail(inner().error()); };
    auto result = outer();
    REQUIRE_FALSE(result.has_value());
    CHECK(result.error().code == Errc::invalid);
    CHECK(result.error().detail == "no number");
}

TEST_CASE("what a connect that failed says of the way") {
    CHECK(base::cause_of_connect(ECONNREFUSED) == base::Cause::connection_refused);
    for (int number : {EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENETDOWN}) {
        CHECK(base::cause_of_connect(number) == base::Cause::no_route);
    }
    CHECK(base::cause_of_connect(ETIMEDOUT) == base::Cause::no_answer);
    CHECK(base::cause_of_connect(EACCES) == base::Cause::none);
}

// Names and addresses to endpoints.
#include "control/resolve.hpp"

#include <catch2/catch.hpp>
#include <optional>
#include <string>

using namespace iscsi;

namespace {

using Endpoints = base::Result<std::vector<shard::Endpoint>>;

ring::Task<void> keep(ring::Loop& loop, std::string host, std::optional<Endpoints>& out) {
    auto found = co_await control::resolve(loop, host, 3261);
    out = std::move(found);
}

Endpoints resolved(const std::string& host) {
    auto loop = ring::Loop::create(16);
    REQUIRE(loop);
    ring::TaskGroup group;
    std::optional<Endpoints> out;
    group.spawn(keep(**loop, host, out));
    while (!out) {
        (*loop)->turn(ring::monotonic_now() + std::chrono::milliseconds(50));
    }
    return std::move(*out);
}

} // namespace

TEST_CASE("numeric addresses need no resolver and no thread") {
    auto v4 = resolved("127.0.0.1");
    REQUIRE(v4);
    REQUIRE(v4->size() == 1);
    CHECK(v4->front().text == "127.0.0.1");
    CHECK(v4->front().port == 3261);
    CHECK(v4->front().address.ss_family == AF_INET);
    auto v6 = resolved("::1");
    REQUIRE(v6);
    CHECK(v6->front().text == "::1");
    CHECK(v6->front().address.ss_family == AF_INET6);
}

TEST_CASE("a name is looked up on another thread, and one that cannot be is an error") {
    auto local = resolved("localhost");
    REQUIRE(local);
    CHECK_FALSE(local->empty());
    auto missing = resolved("no such host");
    REQUIRE_FALSE(missing);
    CHECK(missing.error().code == base::Errc::transport);
    CHECK_FALSE(missing.error().detail.empty());
}

// In which order the addresses of a name are tried, after logins that nobody answered.
#include "base/limits.hpp"
#include "control/log_in.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace iscsi;
using base::Errc;
using control::AddressOrder;
using shard::Endpoint;
using Names = std::vector<std::string>;

namespace {

Endpoint at(const std::string& text, std::uint16_t port = 3260) {
    Endpoint endpoint;
    endpoint.text = text;
    endpoint.port = port;
    return endpoint;
}

struct Sorted {
    Names names;
    std::size_t preferred;
    bool operator==(const Sorted&) const = default;
};

Sorted sorted(const AddressOrder& order, const Names& names, const std::string& first = "") {
    std::vector<Endpoint> endpoints;
    for (const std::string& name : names) {
        endpoints.push_back(at(name));
    }
    Sorted out{{}, order.sort(endpoints, at(first))};
    for (const Endpoint& endpoint : endpoints) {
        out.names.push_back(endpoint.text);
    }
    return out;
}

} // namespace

TEST_CASE("addresses are tried as they come, but for the one where the session was") {
    const AddressOrder order;
    CHECK(sorted(order, {"a", "b", "c"}) == Sorted{{"a", "b", "c"}, 3});
    CHECK(sorted(order, {"a", "b", "c"}, "c") == Sorted{{"c", "a", "b"}, 3});
    CHECK(sorted(order, {"a"}) == Sorted{{"a"}, 1});
}

TEST_CASE("behind a login that nobody answered the next one begins with the next address") {
    AddressOrder order;
    CHECK(order.put_last(at("a")));
    CHECK(sorted(order, {"a", "b", "c"}, "a") == Sorted{{"b", "c", "a"}, 2});
    CHECK(order.put_last(at("b")));
    CHECK(sorted(order, {"a", "b", "c"}, "a") == Sorted{{"c", "a", "b"}, 1});
    CHECK(order.put_last(at("c")));
    // All have their turn, and the one whose turn it is its time.
    CHECK(sorted(order, {"a", "b", "c"}, "c") == Sorted{{"a", "b", "c"}, 1});
    CHECK_FALSE(order.put_last(at("a")));
    CHECK(sorted(order, {"a", "b", "c"}, "a") == Sorted{{"b", "c", "a"}, 1});
}

TEST_CASE("an address is one with its port") {
    AddressOrder order;
    order.put_last(at("a", 3261));
    CHECK(order.is_last(at("a", 3261)));
    CHECK_FALSE(order.is_last(at("a")));
    CHECK(order.has_last_beside(at("a")));
    CHECK_FALSE(order.has_last_beside(at("a", 3261)));
    CHECK(sorted(order, {"a", "b"}) == Sorted{{"a", "b"}, 2});
}

TEST_CASE("a name that leads elsewhere has nothing to be put last") {
    AddressOrder order;
    order.put_last(at("a"));
    CHECK(sorted(order, {"d", "e"}, "a") == Sorted{{"d", "e"}, 2});
    CHECK(sorted(order, {"a", "d"}) == Sorted{{"d", "a"}, 1});
}

TEST_CASE("a login that succeeds makes all addresses equal") {
    AddressOrder order;
    order.put_last(at("a"));
    order.forget();
    CHECK(sorted(order, {"a", "b"}, "b") == Sorted{{"b", "a"}, 2});
    CHECK(order.put_last(at("a")));
}

TEST_CASE("of a name that always leads elsewhere no more is kept than a name can have") {
    AddressOrder order;
    for (std::size_t i = 0; i <= base::limits::host_addresses_max; ++i) {
        CHECK(order.put_last(at(std::to_string(i))));
    }
    CHECK(sorted(order, {"1", "0"}) == Sorted{{"0", "1"}, 1}); // the oldest was forgotten
}

TEST_CASE("a target that answers a login has had its word, whatever that was", "[login]") {
    for (Errc code : {Errc::transport, Errc::disconnected, Errc::pdu_timeout, Errc::protocol}) {
        CHECK(control::is_unanswered(code));
    }
    for (Errc code : {Errc::login, Errc::fatal_login, Errc::authentication, Errc::redirected, Errc::invalid,
                      Errc::cancelled, Errc::internal}) {
        CHECK_FALSE(control::is_unanswered(code));
    }
}

// A registration with an iSNS server over hours, on virtual time: when it is refreshed, what it notices, and
// how it ends.
#include "control/isns_registration.hpp"

#include "sim/isns_server.hpp"

#include <catch2/catch.hpp>
#include <cerrno>
#include <optional>

using namespace iscsi;
using namespace iscsi::sim;
using namespace std::chrono_literals;

namespace {

const std::string me = "iqn.2026-01.example:me";

struct Scene {
    explicit Scene(const std::string& at = "192.0.2.1")
        : registration(*loop, records::Portal{at, 3205, records::tpgt_unknown}, [this] { ++changes; }) {
        server.address = at;
    }
    ~Scene() {
        registration.interrupt();
        pass(1s);
        procedures.spawn(registration.end());
        pass(1min);
        CHECK(kernel.datagrams.count() == 0);
    }

    void pass(base::Duration time) {
        const base::TimePoint until = stage.now + time;
        while (stage.now < until) {
            loop->turn(until);
        }
    }
    ring::Task<void> keep_once() {
        auto kept = co_await registration.keep(nodes, "");
        outcome = std::move(kept);
        ended_at = stage.now;
    }
    /// As discoveryd does it, but that nothing is looked at in between.
    void keep() {
        outcome.reset();
        procedures.spawn(keep_once());
        pass(1s);
    }
    bool is_kept() const { return outcome.has_value() && outcome->has_value(); }
    base::Errc error() const {
        REQUIRE(outcome.has_value());
        REQUIRE_FALSE(outcome->has_value());
        return outcome->error().code;
    }
    /// When keep() is due again, from now on.
    std::optional<base::Duration> due_in() const {
        const base::Deadline due = registration.due();
        return due ? std::optional(*due - stage.now) : std::nullopt;
    }

    Stage stage{1, false};
    Kernel kernel{stage};
    std::unique_ptr<ring::Loop> loop = std::move(*ring::Loop::create());
    IsnsServer server{kernel};
    int changes = 0;
    control::IsnsRegistration registration;
    std::vector<std::string> nodes{me};
    std::optional<base::Result<void>> outcome;
    base::TimePoint ended_at;
    ring::TaskGroup procedures;
};

} // namespace

TEST_CASE("it registers once, and is refreshed in half of the time that the server keeps it") {
    Scene scene;
    scene.server.period_s = 600;
    scene.server.inquires = false;
    CHECK_FALSE(scene.due_in().has_value());
    scene.keep();
    REQUIRE(scene.is_kept());
    CHECK(scene.server.has_registered(me));
    CHECK(scene.server.count(IsnsServer::registers) == 1);
    CHECK(scene.server.count(IsnsServer::wants_changes) == 1);
    REQUIRE(scene.due_in());
    CHECK(*scene.due_in() <= 300s);
    CHECK(*scene.due_in() > 298s);
    // A refresh is a question, which the server counts as a sign of life; nothing is registered anew.
    scene.pass(300s);
    CHECK(*scene.due_in() < 0s);
    scene.keep();
    REQUIRE(scene.is_kept());
    CHECK(scene.server.count(IsnsServer::query) == 1);
    CHECK(scene.server.count(IsnsServer::registers) == 1);
    CHECK(*scene.due_in() > 298s);
}

TEST_CASE("a server that sets no time is asked every five minutes whether it still knows us") {
    Scene scene;
    scene.server.inquires = false;
    scene.keep();
    REQUIRE(scene.is_kept());
    CHECK(*scene.due_in() <= 300s);
    CHECK(*scene.due_in() > 298s);
}

TEST_CASE("inquiries are answered, and each of them puts off the refresh; two that do not come are noticed") {
    Scene scene;
    scene.server.period_s = 3600;
    scene.keep();
    REQUIRE(scene.is_kept());
    for (std::size_t i = 1; i <= 5; ++i) {
        scene.pass(60s);
        CHECK(scene.server.inquire());
        scene.pass(1s);
        CHECK(scene.server.acknowledged == i);
        CHECK(*scene.due_in() > 123s);
        CHECK(*scene.due_in() <= 125s);
    }
    scene.pass(125s);
    CHECK(*scene.due_in() <= 0s);
    CHECK(scene.changes == 0);
}

TEST_CASE("an inquiry or a notification of somebody else counts for nothing") {
    Scene scene;
    scene.keep();
    REQUIRE(scene.is_kept());
    scene.pass(100s);
    scene.server.address = "192.0.2.66";
    CHECK(scene.server.inquire());
    CHECK(scene.server.notify());
    scene.pass(1s);
    CHECK(scene.server.acknowledged == 0);
    CHECK(scene.changes == 0);
    CHECK(*scene.due_in() < 25s);
    scene.server.address = "192.0.2.1";
    CHECK(scene.server.notify());
    scene.pass(1s);
    CHECK(scene.server.acknowledged == 1);
    CHECK(scene.changes == 1);
}

TEST_CASE("a server that forgot us is told everything again, at the same port") {
    Scene scene;
    scene.keep();
    REQUIRE(scene.is_kept());
    scene.server.forget();
    scene.keep();
    REQUIRE(scene.is_kept());
    CHECK(scene.server.has_registered(me));
    CHECK(scene.server.count(IsnsServer::registers) == 2);
    CHECK(scene.server.count(IsnsServer::wants_changes) == 2);
    CHECK(scene.kernel.datagrams.count() == 1);
    CHECK(scene.server.notify());
    scene.pass(1s);
    CHECK(scene.changes == 1);
}

TEST_CASE("who cannot hear the server any more says so, and registers at a port where it can") {
    Scene scene;
    scene.keep();
    REQUIRE(scene.is_kept());
    REQUIRE(scene.registration.is_told_of_changes());
    scene.kernel.datagrams.fail(ENETDOWN);
    scene.pass(1s);
    CHECK_FALSE(scene.registration.is_told_of_changes());
    scene.keep();
    REQUIRE(scene.is_kept());
    CHECK(scene.registration.is_told_of_changes());
    CHECK(scene.server.count(IsnsServer::registers) == 2);
    CHECK(scene.kernel.datagrams.count() == 1);
    CHECK(scene.server.notify());
    CHECK(scene.server.inquire());
    scene.pass(1s);
    CHECK(scene.changes == 1);
    CHECK(scene.server.acknowledged == 2);
}

TEST_CASE("over IPv6 it is the same, whatever an address looks like") {
    Scene scene("fd00::1");
    SECTION("an ordinary one") {}
    SECTION("one that has a group of ones where mapped addresses of IPv4 have it") {
        scene.kernel.ipv6_address = "fd00::ffff:c000:202";
    }
    scene.keep();
    REQUIRE(scene.is_kept());
    CHECK(scene.kernel.datagrams.family() == AF_INET6);
    CHECK(scene.server.inquire());
    CHECK(scene.server.notify());
    scene.pass(1s);
    CHECK(scene.server.acknowledged == 2);
    CHECK(scene.changes == 1);
}

TEST_CASE("other names are another registration") {
    Scene scene;
    scene.keep();
    REQUIRE(scene.is_kept());
    scene.nodes.emplace_back("iqn.2026-01.example:second");
    scene.keep();
    REQUIRE(scene.is_kept());
    CHECK(scene.server.count(IsnsServer::registers) == 2);
    CHECK(scene.server.count(IsnsServer::wants_changes) == 3);
}

TEST_CASE("a server that is away is an error, and the registration is as it was when it is back") {
    Scene scene;
    scene.keep();
    REQUIRE(scene.is_kept());
    SECTION("it refuses connections") {
        scene.server.listens = false;
        scene.keep();
        CHECK(scene.error() == base::Errc::isns_query);
    }
    SECTION("it is silent") {
        scene.server.speaks = false;
        scene.keep();
        CHECK_FALSE(scene.outcome.has_value());
        scene.pass(15s);
        CHECK(scene.error() == base::Errc::isns_query);
        CHECK(scene.outcome->error().detail.find("did not answer in time") != std::string::npos);
    }
    SECTION("nothing of it is to be reached") {
        scene.server.is_reachable = false;
        scene.keep();
        CHECK_FALSE(scene.outcome.has_value());
        scene.pass(10s);
        CHECK(scene.error() == base::Errc::isns_query);
    }
    scene.server.listens = scene.server.speaks = scene.server.is_reachable = true;
    scene.keep();
    CHECK(scene.is_kept());
    CHECK(scene.server.count(IsnsServer::registers) == 1);
}

TEST_CASE("a refusal is an error of its own, and no registration") {
    Scene scene;
    scene.server.registration_status = 8;
    scene.keep();
    CHECK(scene.error() == base::Errc::isns_registration);
    CHECK(scene.outcome->error().detail.find("source unauthorized") != std::string::npos);
    CHECK_FALSE(scene.due_in().has_value());
}

TEST_CASE("the end deregisters what was registered, and nothing else") {
    Scene scene;
    bool was_registered = false;
    SECTION("after a registration") {
        scene.keep();
        REQUIRE(scene.is_kept());
        was_registered = true;
    }
    SECTION("without one") {
        scene.server.registration_status = 8;
        scene.keep();
        REQUIRE_FALSE(scene.is_kept());
    }
    scene.procedures.spawn(scene.registration.end());
    scene.pass(1s);
    CHECK(scene.procedures.empty());
    CHECK_FALSE(scene.server.has_registered(me));
    CHECK(scene.server.count(IsnsServer::deregisters) == (was_registered ? 1 : 0));
    CHECK(scene.kernel.datagrams.count() == 0);
}

TEST_CASE("the end does not wait for a server that has gone") {
    Scene scene;
    scene.keep();
    REQUIRE(scene.is_kept());
    SECTION("silent") {
        scene.server.speaks = false;
    }
    SECTION("unreachable") {
        scene.server.is_reachable = false;
    }
    scene.procedures.spawn(scene.registration.end());
    scene.pass(2500ms);
    CHECK(scene.procedures.empty());
}

TEST_CASE("an interrupt ends a conversation at once, wherever it is") {
    Scene scene;
    SECTION("connecting") {
        scene.server.is_reachable = false;
    }
    SECTION("waiting for an answer") {
        scene.server.speaks = false;
    }
    scene.procedures.spawn(scene.keep_once());
    scene.pass(3s);
    REQUIRE_FALSE(scene.outcome.has_value());
    scene.registration.interrupt();
    scene.pass(1ms);
    REQUIRE(scene.outcome.has_value());
    CHECK_FALSE(scene.is_kept());
}

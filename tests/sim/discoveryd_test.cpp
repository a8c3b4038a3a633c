// What discoveryd does and when, over hours of virtual time: when it asks, what it logs in to and out of, and
// what it leaves alone.
#include "base/limits.hpp"
#include "sim/discovery_scene.hpp"

using namespace iscsi;
using namespace iscsi::sim;
using namespace std::chrono_literals;

namespace {

const std::string a = "iqn.2026-01.example:a";
const std::string b = "iqn.2026-01.example:b";

using Names = std::vector<std::string>;

} // namespace

TEST_CASE(
    "a target's list is asked for in the interval of the record, and again when the record is changed") {
    DiscoveryScene scene;
    scene.host.answer.emplace();
    scene.begin();
    scene.pass(1h);
    CHECK(scene.host.asked.empty());
    scene.watch(DiscoveryScene::send_targets, "60");
    scene.pass(2s);
    CHECK(scene.host.asked.size() == 1);
    scene.pass(50s);
    CHECK(scene.host.asked.size() == 1);
    scene.pass(10s);
    CHECK(scene.host.asked.size() == 2);
    scene.pass(1h);
    CHECK(scene.host.asked.size() > 58);
    CHECK(scene.host.asked.size() < 63);
    const std::size_t before = scene.host.asked.size();
    scene.watch(DiscoveryScene::send_targets, "3600");
    scene.pass(2s);
    CHECK(scene.host.asked.size() == before + 1);
    scene.pass(50min);
    CHECK(scene.host.asked.size() == before + 1);
    scene.watch(DiscoveryScene::send_targets, "60", "192.0.2.1", "No");
    scene.pass(2h);
    CHECK(scene.host.asked.size() == before + 1);
    CHECK(scene.log.with("not watched any more").size() == 1);
}

TEST_CASE("0 asks once, and below it every half minute") {
    DiscoveryScene scene;
    scene.host.answer.emplace();
    SECTION("once") {
        scene.watch(DiscoveryScene::send_targets, "0");
        scene.begin();
        scene.pass(1h);
        CHECK(scene.host.asked.size() == 1);
    }
    SECTION("the default") {
        scene.watch(DiscoveryScene::send_targets, "-1");
        scene.begin();
        scene.pass(29s);
        CHECK(scene.host.asked.size() == 1);
        scene.pass(2s);
        CHECK(scene.host.asked.size() == 2);
    }
}

TEST_CASE("what is new gets a record and is logged in to, once") {
    DiscoveryScene scene;
    scene.watch(DiscoveryScene::send_targets, "60");
    scene.host.answer = Names{a};
    scene.begin();
    scene.pass(1s);
    CHECK(scene.nodes() == Names{a});
    CHECK(scene.sessions() == Names{a});
    scene.host.answer = Names{a, b};
    scene.pass(70s);
    CHECK(scene.nodes() == Names{a, b});
    CHECK(scene.sessions() == Names{a, b});
    scene.pass(1h);
    CHECK(scene.host.logins.size() == 2);
    CHECK(scene.host.logouts.empty());
}

TEST_CASE("a session that a person ends stays ended until its portal was away") {
    DiscoveryScene scene;
    scene.watch(DiscoveryScene::send_targets, "60");
    scene.host.answer = Names{a, b};
    scene.begin();
    scene.pass(1s);
    REQUIRE(scene.host.running.size() == 2);
    std::erase_if(scene.host.running, [](const auto& entry) { return entry.second.target == a; });
    scene.pass(1h);
    CHECK(scene.sessions() == Names{b});
    scene.host.answer = Names{b};
    scene.pass(10min);
    CHECK(scene.nodes() == Names{b});
    scene.host.answer = Names{a, b};
    scene.pass(2min);
    CHECK(scene.host.running.size() == 2);
    CHECK(scene.nodes() == Names{a, b});
}

TEST_CASE("what could not be logged in to is tried again every half minute, until it works") {
    DiscoveryScene scene;
    scene.watch(DiscoveryScene::send_targets, "3600");
    scene.host.answer = Names{a, b};
    scene.host.unreachable = {a};
    scene.begin();
    scene.pass(5min);
    CHECK(scene.sessions() == Names{b});
    CHECK(scene.host.logins.size() > 9);
    CHECK(scene.host.logins.size() < 13);
    scene.host.unreachable.clear();
    scene.pass(1min);
    CHECK(scene.host.running.size() == 2);
    const std::size_t logins = scene.host.logins.size();
    scene.pass(30min);
    CHECK(scene.host.logins.size() == logins);
}

TEST_CASE("a login that takes its time holds up no other") {
    DiscoveryScene scene;
    scene.watch(DiscoveryScene::send_targets, "60");
    scene.host.answer.emplace();
    for (std::size_t i = 0; i < base::limits::watched_logins_max; ++i) {
        scene.host.answer->push_back("iqn.2026-01.example:m" + std::to_string(100 + i));
    }
    scene.host.hanging = {scene.host.answer->begin(), scene.host.answer->end() - 1};
    scene.begin();
    scene.pass(1s);
    CHECK(scene.host.logins.size() == base::limits::watched_logins_max);
    CHECK(scene.sessions() == Names{scene.host.answer->back()});
    scene.host.answer->push_back(b);
    scene.pass(62s);
    CHECK(scene.sessions().size() == 2);
    scene.host.hanging.clear();
    scene.pass(2s);
    CHECK(scene.sessions().size() == base::limits::watched_logins_max + 1);
}

TEST_CASE(
    "what somebody uses, or what is lost for less than its replacement_timeout, stays, and is said once") {
    DiscoveryScene scene;
    scene.watch(DiscoveryScene::send_targets, "60");
    scene.host.answer = Names{a, b};
    scene.host.used = {a};
    scene.begin();
    scene.pass(1s);
    scene.host.answer = Names{b};
    scene.pass(1h);
    CHECK(scene.sessions().size() == 2);
    CHECK(scene.nodes() == Names{a, b});
    CHECK(scene.log.with("gone, but kept: " + a).size() == 1);
    CHECK(scene.log.with("gone, its record is removed").empty());
    // It is asked every half minute, so that it goes soon after it may.
    CHECK(scene.host.logouts.size() > 60);
    scene.host.used.clear();
    scene.pass(32s);
    CHECK(scene.sessions() == Names{b});
    CHECK(scene.nodes() == Names{b});
    CHECK(scene.log.with("gone, its record is removed: " + a).size() == 1);
}

TEST_CASE("an address that does not answer takes nothing away, and is said once each time") {
    DiscoveryScene scene;
    scene.watch(DiscoveryScene::send_targets, "60");
    scene.host.answer = Names{a};
    scene.begin();
    scene.pass(1s);
    scene.host.answer.reset();
    scene.pass(1h);
    CHECK(scene.log.with("nobody is there").size() == 1);
    CHECK(scene.host.asked.size() > 110); // every half minute
    CHECK(scene.sessions() == Names{a});
    CHECK(scene.nodes() == Names{a});
    scene.host.answer = Names{a};
    scene.pass(1min);
    CHECK(scene.log.with("answers again").size() == 1);
    CHECK(scene.host.logins.size() == 1);
}

TEST_CASE("what is due while an address does not answer does not have it asked any faster") {
    DiscoveryScene scene;
    SECTION("an absence") {
        const auto [kind, interval] =
            GENERATE(std::pair(DiscoveryScene::send_targets, "60"), std::pair(DiscoveryScene::isns, "-1"));
        scene.watch(kind, interval);
        scene.host.answer = Names{a, b};
        scene.begin();
        scene.pass(1s);
        scene.host.answer = Names{b};
        if (kind == DiscoveryScene::isns) {
            CHECK(scene.server.notify());
        }
        scene.pass(kind == DiscoveryScene::isns ? 2s : 61s);
        REQUIRE(scene.log.with("not in the answer: " + a).size() == 1);
        scene.host.answer.reset();
        const std::size_t asked = scene.host.asked.size();
        scene.pass(1h);
        CHECK(scene.host.asked.size() > asked + 110); // every half minute
        CHECK(scene.host.asked.size() < asked + 123);
        scene.host.answer = Names{b};
        scene.pass(61s);
        CHECK(scene.nodes() == Names{b});
    }
    SECTION("a registration") {
        scene.watch(DiscoveryScene::isns, "-1");
        scene.server.period_s = 120;
        scene.host.answer = Names{a};
        scene.begin();
        scene.pass(1s);
        REQUIRE(scene.server.has_registered("iqn.2026-01.example:me"));
        scene.server.listens = false;
        scene.pass(1h);
        CHECK(scene.server.refused > 110);
        CHECK(scene.server.refused < 123);
    }
    SECTION("an interval of the record that is shorter is kept") {
        scene.watch(DiscoveryScene::send_targets, "10");
        scene.begin();
        scene.pass(1h);
        CHECK(scene.host.asked.size() > 330);
        CHECK(scene.host.asked.size() < 362);
    }
}

TEST_CASE("the end leaves sessions and records as they are") {
    DiscoveryScene scene;
    scene.watch(DiscoveryScene::isns, "-1");
    scene.host.answer = Names{a};
    scene.begin();
    scene.pass(1s);
    REQUIRE(scene.server.has_registered("iqn.2026-01.example:me"));
    scene.discoveryd.end();
    scene.pass(1s);
    CHECK(scene.procedures.empty());
    CHECK_FALSE(scene.server.has_registered("iqn.2026-01.example:me"));
    CHECK(scene.sessions() == Names{a});
    CHECK(scene.nodes() == Names{a});
}

TEST_CASE(
    "an iSNS server is asked when it reports a change, once for many, and when its registration is due") {
    DiscoveryScene scene;
    scene.watch(DiscoveryScene::isns, "-1");
    scene.server.inquires = false;
    scene.server.period_s = 7200;
    scene.host.answer = Names{a};
    scene.begin();
    scene.pass(50min);
    CHECK(scene.host.asked.size() == 1);
    scene.host.answer = Names{a, b};
    for (int i = 0; i < 5; ++i) {
        CHECK(scene.server.notify());
        scene.pass(20ms);
    }
    scene.pass(2s);
    CHECK(scene.host.asked.size() == 2);
    CHECK(scene.sessions() == Names{a, b});
    scene.pass(61min);
    CHECK(scene.host.asked.size() == 3);
    CHECK(scene.server.count(IsnsServer::registers) == 1);
}

TEST_CASE("an iSNS server that is away is tried every half minute, and registers us when it is back") {
    DiscoveryScene scene;
    scene.watch(DiscoveryScene::isns, "-1");
    scene.server.listens = false;
    scene.host.answer = Names{a};
    scene.begin();
    scene.pass(1h);
    CHECK(scene.host.asked.empty());
    CHECK(scene.log.with("cannot make connection").size() == 1);
    scene.server.listens = true;
    scene.pass(31s);
    CHECK(scene.server.has_registered("iqn.2026-01.example:me"));
    CHECK(scene.sessions() == Names{a});
}

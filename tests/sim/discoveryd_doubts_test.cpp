// What discoveryd takes away, and when it believes an answer that lacks something; servers that refuse to
// register it, and records that are one. On virtual time.
#include "base/limits.hpp"
#include "records/store_lock.hpp"
#include "sim/discovery_scene.hpp"

#include <algorithm>

using namespace iscsi;
using namespace iscsi::sim;
using namespace std::chrono_literals;

namespace {

const std::string a = "iqn.2026-01.example:a";
const std::string b = "iqn.2026-01.example:b";
const std::string c = "iqn.2026-01.example:c";

using Names = std::vector<std::string>;

} // namespace

TEST_CASE("what an answer lacks is gone only when an answer an interval later lacks it, too") {
    DiscoveryScene scene;
    scene.watch(DiscoveryScene::send_targets, "60");
    scene.host.answer = Names{a, b};
    scene.begin();
    scene.pass(1s);
    scene.host.answer = Names{b};
    scene.pass(61s);
    REQUIRE(scene.host.asked.size() == 2);
    CHECK(scene.log.with("not in the answer: " + a).size() == 1);
    CHECK(scene.sessions().size() == 2);
    CHECK(scene.nodes() == Names{a, b});
    SECTION("it is there again") {
        scene.host.answer = Names{a, b};
        scene.pass(61s);
        CHECK(scene.log.with("there again: " + a).size() == 1);
        scene.host.answer = Names{b};
        scene.pass(61s);
        CHECK(scene.log.with("not in the answer: " + a).size() == 2);
        CHECK(scene.nodes() == Names{a, b});
        CHECK(scene.host.logouts.empty());
        // And was never new.
        scene.host.answer = Names{a, b};
        scene.pass(10min);
        CHECK(scene.host.logins.size() == 2);
    }
    SECTION("an answer that does not come says nothing") {
        scene.host.answer.reset();
        scene.pass(10min);
        CHECK(scene.nodes() == Names{a, b});
        scene.host.answer = Names{b};
        scene.pass(61s);
        CHECK(scene.nodes() == Names{b});
    }
    SECTION("it is gone") {
        scene.pass(61s);
        REQUIRE(scene.host.asked.size() == 3);
        CHECK(scene.sessions() == Names{b});
        CHECK(scene.nodes() == Names{b});
        CHECK(scene.log.with("gone, to be logged out of: " + a).size() == 1);
        CHECK(scene.log.with("gone, its record is removed: " + a).size() == 1);
        CHECK(scene.log.with("not in the answer").size() == 1);
    }
}

TEST_CASE("what comes with the answer that settles what is gone is logged in to") {
    DiscoveryScene scene;
    scene.watch(DiscoveryScene::send_targets, "60");
    scene.host.answer = Names{a, b};
    scene.begin();
    scene.pass(1s);
    scene.host.answer = Names{b};
    scene.pass(61s);
    scene.host.answer = Names{b, c};
    scene.pass(61s);
    CHECK(scene.sessions() == Names{b, c});
    CHECK(scene.nodes() == Names{b, c});
}

TEST_CASE("what is gone stays gone when an answer is empty") {
    DiscoveryScene scene;
    scene.watch(DiscoveryScene::send_targets, "60");
    scene.host.answer = Names{a, b};
    scene.host.used = {a};
    scene.begin();
    scene.pass(1s);
    scene.host.answer = Names{b};
    scene.pass(10min);
    REQUIRE(scene.log.with("gone, but kept: " + a).size() == 1);
    scene.host.answer = Names{};
    scene.pass(31s);
    CHECK(scene.log.with("the answer is empty").size() == 1);
    scene.host.answer = Names{b};
    scene.pass(10min);
    CHECK(scene.log.with("gone, but kept: " + a).size() == 1);
    CHECK(scene.sessions() == Names{a, b});
}

TEST_CASE("many answers in a moment are one to what they lack") {
    DiscoveryScene scene;
    scene.watch(DiscoveryScene::isns, "-1");
    scene.host.answer = Names{a, b};
    scene.begin();
    scene.pass(1s);
    scene.host.answer = Names{b};
    for (int i = 0; i < 10; ++i) {
        CHECK(scene.server.notify());
        scene.pass(2s);
    }
    CHECK(scene.host.asked.size() == 11);
    CHECK(scene.nodes() == Names{a, b});
    // Nobody asks by itself here: but for what is missing.
    scene.pass(15s);
    CHECK(scene.nodes() == Names{b});
    CHECK(scene.sessions() == Names{b});
    const std::size_t asked = scene.host.asked.size();
    scene.pass(1min);
    CHECK(scene.host.asked.size() == asked);
}

TEST_CASE("an empty answer is believed when the next one is empty, too") {
    DiscoveryScene scene;
    scene.watch(DiscoveryScene::send_targets, "60");
    scene.host.answer = Names{a, b};
    scene.begin();
    scene.pass(1s);
    SECTION("twice") {
        scene.host.answer = Names{};
        scene.pass(61s);
        CHECK(scene.log.with("the answer is empty").size() == 1);
        CHECK(scene.nodes() == Names{a, b});
        CHECK(scene.host.logouts.empty());
        scene.pass(61s);
        CHECK(scene.nodes().empty());
        CHECK(scene.sessions().empty());
        CHECK(scene.log.with("the answer is empty").size() == 1);
        CHECK(scene.log.with("gone, its record is removed").size() == 2);
        scene.pass(1h);
        CHECK(scene.log.with("the answer is empty").size() == 1);
    }
    SECTION("one alone says nothing, not even of what is missing then") {
        scene.host.answer = Names{};
        scene.pass(61s);
        scene.host.answer = Names{b};
        scene.pass(61s);
        CHECK(scene.nodes() == Names{a, b});
        CHECK(scene.log.with("not in the answer: " + a).size() == 1);
        scene.host.answer = Names{};
        scene.pass(61s);
        CHECK(scene.log.with("the answer is empty").size() == 2);
        CHECK(scene.nodes() == Names{a, b});
        scene.host.answer = Names{b};
        scene.pass(61s);
        CHECK(scene.nodes() == Names{b});
    }
    SECTION("a server that lost its database and gets it back") {
        scene.host.answer = Names{};
        scene.pass(61s);
        scene.host.answer = Names{a, b};
        scene.pass(1h);
        CHECK(scene.nodes() == Names{a, b});
        CHECK(scene.host.logins.size() == 2);
        CHECK(scene.host.logouts.empty());
    }
}

TEST_CASE("what was removed while nobody watched is missed for an interval before its record goes") {
    DiscoveryScene scene;
    scene.watch(DiscoveryScene::send_targets, "60");
    scene.host.answer = Names{a, b};
    scene.begin();
    scene.pass(1s);
    scene.watch(DiscoveryScene::send_targets, "60", "192.0.2.1", "No");
    scene.pass(2s);
    scene.host.answer = Names{b};
    scene.watch(DiscoveryScene::send_targets, "60");
    scene.pass(30s);
    CHECK(scene.nodes() == Names{a, b});
    scene.pass(1min);
    CHECK(scene.nodes() == Names{b});
}

TEST_CASE("what is gone and waits for its login is not logged in to any more") {
    DiscoveryScene scene;
    scene.watch(DiscoveryScene::send_targets, "60");
    Names many;
    for (std::size_t i = 0; i < base::limits::watched_logins_max; ++i) {
        many.push_back("iqn.2026-01.example:m" + std::to_string(100 + i));
    }
    scene.host.answer = many;
    scene.host.answer->push_back(a);
    scene.host.hanging = {many.begin(), many.end()};
    scene.begin();
    scene.pass(1s);
    CHECK(scene.host.logins.size() == many.size());
    scene.host.answer = many;
    scene.pass(5min);
    CHECK(scene.nodes() == many);
    scene.host.hanging.clear();
    scene.pass(5min);
    CHECK(scene.host.logins.size() == many.size());
    CHECK(scene.sessions().size() == many.size());
}

TEST_CASE("a login that begins while records are removed keeps its record") {
    DiscoveryScene scene;
    scene.watch(DiscoveryScene::send_targets, "60");
    scene.host.answer = Names{a, b, c};
    scene.begin();
    scene.pass(1s);
    scene.host.running.clear(); // a person has logged out
    scene.host.answer = Names{c};
    scene.host.used = {a, b};
    SECTION("before its turn comes") {
        scene.host.on_counted = [&](const std::string& target) {
            if (target == a && scene.sessions().empty()) {
                scene.host.start_session(b);
            }
        };
        scene.pass(10min);
        CHECK(scene.sessions() == Names{b});
        CHECK(scene.nodes() == Names{b, c});
        CHECK(scene.log.with("put back").empty());
    }
    SECTION("when it has been asked for, that often") {
        // Before there is a lock, under it, and behind the removal; the store does what is to be done.
        const int often = GENERATE(1, 2, 3);
        int counted = 0;
        scene.host.on_counted = [&](const std::string& target) {
            if (target == a && ++counted == often) {
                scene.host.start_session(a);
            }
        };
        scene.pass(10min);
        CHECK(counted >= often);
        CHECK(scene.sessions() == Names{a});
        CHECK(scene.nodes() == Names{a, c});
        // Of the last question nobody but the watch itself notices that it was too early.
        CHECK(scene.log.with("it is put back").size() == (often == 3 ? 1 : 0));
        CHECK(scene.log.with("gone, its record is removed: " + a).size() == (often == 3 ? 1 : 0));
    }
    scene.host.on_counted = {};
    scene.host.used.clear();
    scene.pass(10min);
    CHECK(scene.sessions().empty());
    CHECK(scene.nodes() == Names{c});
}

TEST_CASE("control does not wait for the database's lock on its own thread") {
    DiscoveryScene scene; // which gives no threads
    scene.watch(DiscoveryScene::send_targets, "60");
    scene.host.answer = Names{a};
    {
        auto held = records::Lock::take(scene.store.store.paths().lock_dir(), 0ms);
        REQUIRE(held);
        scene.begin();
        // Each look that waited would take discoveryd's 10 s of real time.
        const auto before = std::chrono::steady_clock::now();
        scene.pass(5min);
        CHECK(std::chrono::steady_clock::now() - before < 60s);
        CHECK(scene.host.asked.size() > 9);
        CHECK(scene.log.with("held the record database too long").size() == 1);
        CHECK(scene.sessions().empty());
    }
    scene.pass(31s);
    CHECK(scene.sessions() == Names{a});
    CHECK(scene.nodes() == Names{a});
}

// --- A registration that is refused.

TEST_CASE("an iSNS server that registers us not is asked all the same, and its refusal is said once") {
    DiscoveryScene scene;
    scene.watch(DiscoveryScene::isns, "-1");
    scene.server.registration_status = 8;
    scene.host.answer = Names{a};
    scene.begin();
    scene.pass(1s);
    CHECK(scene.sessions() == Names{a});
    scene.pass(10min);
    // No change is reported: it is asked every half minute.
    CHECK(scene.host.asked.size() > 18);
    CHECK(scene.host.asked.size() < 22);
    REQUIRE(scene.log.with("source unauthorized").size() == 1);
    const std::string line = scene.log.with("source unauthorized").front();
    CHECK(line.find("iqn.2026-01.example:me") != std::string::npos);
    CHECK(line.find("30 s") != std::string::npos);
    CHECK(scene.log.with("answers again").empty());
    scene.server.registration_status = 0;
    scene.pass(1min);
    CHECK(scene.server.has_registered("iqn.2026-01.example:me"));
    CHECK(scene.log.with("registered as").size() == 1);
    const std::size_t asked = scene.host.asked.size();
    CHECK(scene.server.inquire());
    scene.pass(1min);
    CHECK(scene.host.asked.size() == asked);
}

// --- Two spellings.

TEST_CASE("two spellings of one address are one discovery") {
    DiscoveryScene scene;
    scene.host.answer = Names{a};
    scene.watch(DiscoveryScene::send_targets, "60", "fd00::1");
    scene.watch(DiscoveryScene::send_targets, "60", "fd00:0::1");
    scene.watch(DiscoveryScene::send_targets, "60", "storage.example");
    scene.watch(DiscoveryScene::send_targets, "60", "Storage.Example");
    scene.begin();
    scene.pass(1s);
    CHECK(scene.host.asked.size() == 2);
    CHECK(scene.log.with("watched from now on").size() == 2);
    CHECK(scene.log.with("two spellings").size() == 2);
    // The other one takes over.
    scene.watch(DiscoveryScene::send_targets, "60", "fd00::1", "No");
    scene.pass(2s);
    CHECK(scene.log.with("not watched any more").empty());
    scene.watch(DiscoveryScene::send_targets, "60", "fd00:0::1", "No");
    scene.pass(2s);
    CHECK(scene.log.with("not watched any more").size() == 1);
    scene.host.asked_at.clear();
    scene.pass(10min);
    CHECK_FALSE(scene.host.asked_at.empty());
    CHECK(std::ranges::none_of(scene.host.asked_at, [](const auto& at) { return at.starts_with("fd00"); }));
}

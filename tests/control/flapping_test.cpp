// Sessions that another initiator of the same name ends again and again.
#include "control/flapping.hpp"

#include "control/log_lines.hpp"
#include "control/units_bench.hpp"

using namespace iscsi;
using namespace iscsi::scripted;
using namespace iscsi::test;
using namespace std::chrono_literals;
using control::Flapping;

TEST_CASE("a session that is lost right after each login waits longer each time, up to a limit",
          "[SESS-04]") {
    Flapping flapping;
    base::TimePoint now(100s);
    CHECK(flapping.on_drop(now, false) == 0s); // The first login may have been long ago.
    for (auto pause : {0s, 0s, 2s, 4s, 8s, 16s, 30s, 30s}) {
        flapping.on_back(now);
        now += Flapping::short_life - 1ms;
        CHECK(flapping.on_drop(now, false) == pause);
        CHECK(flapping.is_suspicious() == (pause > 0s));
    }
    for (int i = 0; i < 100; ++i) {
        flapping.on_back(now);
        CHECK(flapping.on_drop(now, false) == 30s);
    }
    SECTION("one that fell silent was ended by nobody") {
        flapping.on_back(now);
        CHECK(flapping.on_drop(now, true) == 0s);
        CHECK_FALSE(flapping.is_suspicious());
    }
    SECTION("one that lasted makes up for it") {
        flapping.on_back(now);
        now += Flapping::short_life;
        CHECK(flapping.on_drop(now, false) == 0s);
        CHECK_FALSE(flapping.is_suspicious());
    }
}

TEST_CASE("another initiator is suspected where the target ends one session after the other, and only there",
          "[SESS-04][F-18]") {
    const bool by_target = GENERATE(true, false);
    LogLines log;
    UnitsBench bench(disks({0}));
    bench.server.with([](Target& target) { target.config.keys["DefaultTime2Wait"] = "0"; });
    ipc::Login login = bench.login_request();
    REQUIRE(login.node.set(Key::session_default_time2wait, "0"));
    bench.log_in(std::move(login));
    bench.server.with([&](Target& target) {
        if (by_target) {
            target.on(command(inquiry)).close();
        } else {
            target.sending(data_in).set(field::data_sn, 7);
        }
    });
    bench.attention({6, 0x2a, 0x09});
    const std::string lost =
        by_target ? "ended by the target again right after its login" : "lost again right after its login";
    bench.fixture.run_until([&] { return !log.with(lost).empty(); });
    CHECK(log.with("does another initiator use the name iqn.2026-01.example:me").empty() != by_target);
    CHECK(log.with("waits 2 s").size() == 1); // the first pause of those that are suspected
}

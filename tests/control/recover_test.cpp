// Sessions that are lost and do not come back, or not soon.
#include "control/log_lines.hpp"
#include "control/nbd_user.hpp"
#include "control/units_bench.hpp"

#include <cerrno>

using namespace iscsi;
using namespace iscsi::scripted;
using namespace iscsi::test;
using namespace std::chrono_literals;

TEST_CASE("a session that was tried as often as its record allows is given up: requests fail, and none is "
          "tried again",
          "[F-02]") {
    LogLines log;
    UnitsBench bench(disks({0}));
    ipc::Login login = bench.login_request();
    REQUIRE(login.node.set(Key::session_reopen_max, "2"));
    REQUIRE(login.node.set(Key::session_replacement_timeout, "-1"));
    bench.server.with([](Target& target) { target.config.keys["DefaultTime2Wait"] = "0"; });
    NbdUser user(bench, bench.log_in(std::move(login)).luns.at(0).uri);
    const auto connections = [&] {
        return bench.server.with([](Target& target) { return target.connections(); });
    };
    bench.server.with([](Target& target) {
        target.on(scripted::login_request).close();
        target.on(command(0x2a)).once().close();
    });
    CHECK(user.execute(NbdUser::Type::write) != 0);
    CHECK(log.with("given up after 2 tries").size() == 1);
    CHECK(connections() == 3);
    CHECK(user.execute(NbdUser::Type::read) != 0);
    bench.turn_for(1500ms);
    CHECK(connections() == 3);
    const auto list = std::get<ipc::SessionsReply>(bench.ask(ipc::Sessions{}));
    CHECK(list.sessions.at(0).failed_recoveries == 1);
    CHECK(list.sessions.at(0).recoveries == 0);
    CHECK(list.sessions.at(0).down_s);
    REQUIRE(std::holds_alternative<ipc::Done>(bench.ask(ipc::Logout{1})));
    bench.server.with([](Target& target) { target.clear(); });
    CHECK(bench.log_in().luns.size() == 1);
}

// A logout that is for a look alone: it spares whoever uses a device, whatever iscsid.safe_logout says.
#include "control/nbd_user.hpp"
#include "control/units_bench.hpp"

#include <memory>

using namespace iscsi;
using namespace iscsi::test;

TEST_CASE("a logout that only an unused session may have is refused while somebody uses a device") {
    UnitsBench bench(disks({0}), [](control::DaemonConfig& config) { config.safe_logout = false; });
    const auto reply = bench.log_in();
    const auto outcome = [&](bool only_if_unused) {
        return bench.ask(ipc::Logout{reply.sid, only_if_unused});
    };
    auto user = std::make_unique<NbdUser>(bench, reply.luns.at(0).uri);
    CHECK(user->execute(NbdUser::Type::write) == 0);
    const ipc::Reply refused = outcome(true);
    REQUIRE(std::holds_alternative<ipc::ErrorReply>(refused));
    CHECK(std::get<ipc::ErrorReply>(refused).error.code == base::Errc::busy);
    // It goes on as if nobody had asked.
    CHECK(user->execute(NbdUser::Type::read) == 0);
    CHECK(bench.units() == std::vector{running(0)});
    SECTION("nobody uses it any more") {
        user.reset();
        bench.fixture.run_until([&] { return std::holds_alternative<ipc::Done>(outcome(true)); });
        CHECK(std::get<ipc::SessionsReply>(bench.ask(ipc::Sessions())).sessions.empty());
    }
    SECTION("what iscsid.safe_logout = No allows is not taken from the next logout") {
        CHECK(std::holds_alternative<ipc::Done>(outcome(false)));
        CHECK(std::get<ipc::SessionsReply>(bench.ask(ipc::Sessions())).sessions.empty());
    }
}

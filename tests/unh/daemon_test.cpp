// The scripted target drives the daemon itself: discovery, login, scan, a unit that is served, logout.
#include "daemon_rig.hpp"
#include "unh.hpp"

using namespace iscsi;
using namespace iscsi::scripted;
using namespace iscsi::scripted::unh;

TEST_CASE("the daemon logs in to the scripted target over a real socket and serves its units") {
    TargetConfig config;
    config.disk.units = {0, 5};
    DaemonRig rig(config);
    ipc::LoginReply reply = rig.log_in();
    CHECK(reply.luns.size() == 2);
    rig.target.with([](Target& target) {
        CHECK(target.connections() == 1);
        CHECK(target.seen(read_command).size() > 4); // REPORT LUNS, INQUIRY, pages, capacity: the scan
        check_clean(target);
    });
}

// What a daemon goes by that finds a session of one before it in /run.
#include "control/log_lines.hpp"
#include "control/state_dir.hpp"
#include "control/units_bench.hpp"

using namespace iscsi;
using namespace iscsi::scripted;
using namespace iscsi::test;
using control::ReinstatedAt;
using control::SessionState;

namespace {

struct RestoredBench {
    explicit RestoredBench(const std::function<void(SessionState&)>& edit)
        : server(with_disks(disks({0}))),
          fixture([&](control::DaemonConfig& config) { leave(config.paths, edit); }) {}

    void leave(const records::Paths& paths, const std::function<void(SessionState&)>& edit) const {
        SessionState state;
        state.sid = 1;
        REQUIRE(state.node.set(Key::node_name, "iqn.2026-01.example:scripted"));
        REQUIRE(state.node.set(Key::conn_address, "127.0.0.1"));
        REQUIRE(state.node.set(Key::conn_port, std::to_string(server.port())));
        state.isid = base::Isid(0x80123456789a);
        state.initiator_name = "iqn.2026-01.example:me";
        state.portal_group = 1;
        state.reinstated_at = ReinstatedAt{"127.0.0.1", server.port(), 1};
        edit(state);
        REQUIRE(process::make_directories(paths));
        REQUIRE(control::StateDir(paths.sessions_dir()).write(state));
    }
    std::size_t connections() {
        return server.with([](Target& target) { return target.connections(); });
    }
    void until_said(const std::string& words) {
        fixture.run_until([&] { return !log.with(words).empty(); });
    }

    LogLines log;
    TcpServer server;
    DaemonFixture fixture;
};

} // namespace

TEST_CASE("what was seen of a target's reinstatement counts for the address it was seen at",
          "[rfc7143-6.3.5][ERL-06][F-34]") {
    struct Case {
        const char* address;
        int port_step;
        std::size_t logins; ///< with one beside the session's own, to see it
    };
    const auto one = GENERATE(values<Case>({{"127.0.0.1", 0, 1}, {"127.0.0.1", 1, 2}, {"127.0.0.2", 0, 2}}));
    RestoredBench bench([&](SessionState& state) {
        state.reinstated_at->address = one.address;
        state.reinstated_at->port = static_cast<std::uint16_t>(state.reinstated_at->port + one.port_step);
    });
    bench.until_said("is back after");
    CHECK(bench.connections() == one.logins);
}

TEST_CASE("in a portal group of which nothing was seen the target has the time that was negotiated",
          "[rfc7143-6.3.5][rfc7143-4.4.1][ERL-06][F-34]") {
    RestoredBench bench([](SessionState& state) {
        state.reinstated_at->portal_group = 9;
        state.time2wait_s = 100;
        state.time2retain_s = 3500;
    });
    bench.until_said("nothing is sent for 3600 s");
    CHECK(bench.connections() == 1);
}

TEST_CASE("a session of a daemon before is warned of as any other") {
    RestoredBench bench(
        [](SessionState& state) { REQUIRE(state.node.set(Key::session_password_in, "a secret of 16 b")); });
    bench.until_said("is back after");
    CHECK(bench.log.with("node.session.auth.password_in is set").size() == 1);
}

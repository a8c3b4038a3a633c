// The whole daemon, but for its request socket, against the scripted target: records and state in a directory
// of their own, block devices exported on Unix sockets, one real connection of the loopback.
#pragma once

#include "control/daemon.hpp"
#include "process.hpp"
#include "records/fields.hpp"
#include "scripted/tcp_server.hpp"
#include "support/temporary_directory.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace iscsi::scripted::unh {

class DaemonRig {
public:
    explicit DaemonRig(TargetConfig config = {}) : target(std::move(config)) {
        control::DaemonConfig with;
        with.paths = records::Paths(directory_.path());
        with.initiator = {"iqn.2026-01.example:me", ""};
        with.block = "socket";
        REQUIRE(process::make_directories(with.paths));
        auto made = control::Daemon::create(std::move(with));
        REQUIRE(made);
        daemon = std::move(*made);
        run(daemon->begin());
    }
    DaemonRig(const DaemonRig&) = delete;
    DaemonRig& operator=(const DaemonRig&) = delete;
    ~DaemonRig() {
        run(daemon->end_sessions());
        daemon->stop_shards();
        daemon.reset(); // before its directory
    }

    /// Logs in to the scripted target and serves its units.
    ipc::LoginReply log_in() {
        using records::Key;
        ipc::Login login;
        std::string name = target.with([](Target& its) { return its.config.name; });
        REQUIRE(login.node.set(Key::node_name, name));
        REQUIRE(login.node.set(Key::conn_address, "127.0.0.1"));
        REQUIRE(login.node.set(Key::conn_port, std::to_string(target.port())));
        REQUIRE(login.node.set(Key::session_default_time2wait, "0"));
        std::optional<ipc::Reply> reply;
        run(ask(std::move(login), reply));
        if (auto* failed = std::get_if<ipc::ErrorReply>(&*reply); failed != nullptr) {
            FAIL(failed->error.message());
        }
        return std::get<ipc::LoginReply>(*reply);
    }
    void run_until(const std::function<bool()>& done) {
        base::TimePoint give_up_at = ring::monotonic_now() + std::chrono::seconds(30);
        while (!done()) {
            daemon->loop().turn(ring::monotonic_now() + std::chrono::milliseconds(5));
            REQUIRE(ring::monotonic_now() < give_up_at);
        }
    }

    TcpServer target;
    std::unique_ptr<control::Daemon> daemon;

private:
    ring::Task<void> ask(ipc::Login login, std::optional<ipc::Reply>& reply) {
        ipc::Request request(std::move(login));
        reply = co_await daemon->handle(std::move(request));
    }
    void run(ring::Task<void> task) {
        ring::TaskGroup group;
        group.spawn(std::move(task));
        run_until([&] { return group.empty(); });
    }

    test::TemporaryDirectory directory_;
};

} // namespace iscsi::scripted::unh

// What the tests of logins share: a daemon, some portals of a target that answer as they are told, and a
// client. One thread: the portals are driven along with the daemon.
#pragma once

#include "control/daemon_fixture.hpp"
#include "support/login_portal.hpp"

#include <memory>
#include <string>
#include <vector>

namespace iscsi::test {

/// A daemon, some portals of a target, and a client.
struct PortalsBench {
    DaemonFixture fixture;
    std::vector<std::unique_ptr<LoginPortal>> portals;
    DaemonClient client{fixture};

    explicit PortalsBench(std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            portals.push_back(std::make_unique<LoginPortal>());
            REQUIRE(portals.back()->usable());
        }
        fixture.beside = [this] {
            for (auto& portal : portals) {
                portal->pump();
            }
        };
    }
    PortalsBench(const PortalsBench&) = delete;
    PortalsBench& operator=(const PortalsBench&) = delete;
    ~PortalsBench() { fixture.stop(); }
    LoginPortal& operator[](std::size_t i) { return *portals[i]; }

    /// Of the record of portal 0: no second try of a first login, no waiting after a drop, no scan.
    ipc::Login request() const {
        ipc::Login login;
        REQUIRE(login.node.set(records::Key::node_name, "iqn.2026-01.example:disk"));
        REQUIRE(login.node.set(records::Key::conn_address, "127.0.0.1"));
        REQUIRE(login.node.set(records::Key::conn_port, std::to_string(portals[0]->port())));
        REQUIRE(login.node.set(records::Key::session_initial_login_retry_max, "1"));
        REQUIRE(login.node.set(records::Key::conn_login_timeout, "2"));
        REQUIRE(login.node.set(records::Key::session_default_time2wait, "0"));
        REQUIRE(login.node.set(records::Key::session_scan, "manual"));
        return login;
    }
    ipc::Reply ask(ipc::Request request) {
        REQUIRE(client.send(ipc::encode(1, std::move(request))));
        return client.reply().reply;
    }
    void log_in() {
        ipc::Reply reply = ask(request());
        auto* failed = std::get_if<ipc::ErrorReply>(&reply);
        INFO((failed != nullptr ? failed->error.detail : std::string()));
        REQUIRE(std::holds_alternative<ipc::LoginReply>(reply));
    }
    base::Error failure() { return failure(request()); }
    base::Error failure(ipc::Request asked) {
        ipc::Reply reply = ask(std::move(asked));
        auto* failed = std::get_if<ipc::ErrorReply>(&reply);
        REQUIRE(failed != nullptr);
        return failed->error;
    }
    void until_logins(std::size_t portal, std::size_t count) {
        fixture.run_until([&] { return portals[portal]->logins.size() >= count; });
    }
    std::vector<std::size_t> logins() const {
        std::vector<std::size_t> counts;
        for (const auto& portal : portals) {
            counts.push_back(portal->logins.size());
        }
        return counts;
    }
    LoginPortal::Answer moved(std::size_t to, bool permanent, const std::string& host = "127.0.0.1") const {
        return {static_cast<std::uint16_t>(permanent ? 0x0102 : 0x0101),
                "TargetAddress=" + host + ":" + std::to_string(portals[to]->port()) + "\n"};
    }
};

/// Logins that each portal has seen.
using Counts = std::vector<std::size_t>;

} // namespace iscsi::test

// A daemon that is logged in to the scripted target over a real connection, with exports on sockets: what the
// tests of its units share. One thread, and that of the TcpServer. Source: the tests of this folder.
#pragma once

#include "control/daemon_fixture.hpp"
#include "scripted/tcp_server.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace iscsi::test {

using records::Key;
using scripted::data_in;
using scripted::DiskConfig;
using scripted::Disks;
using scripted::lun_field;
using scripted::Match;
using scripted::Opcode;
using scripted::Pdu;
using scripted::scsi_command;
using scripted::Sense;
using scripted::sense_segment;
using scripted::Target;
using scripted::TargetConfig;
using scripted::TcpServer;
namespace field = scripted::field;

inline constexpr std::uint8_t test_unit_ready = 0x00;
inline constexpr std::uint8_t report_luns = 0xa0;
inline constexpr std::uint8_t inquiry = 0x12;
inline constexpr std::uint8_t mode_sense = 0x1a;
inline constexpr std::size_t inquiry_bytes = 36;

inline Match command(std::uint8_t operation) {
    return scsi_command.with(field::operation, operation);
}

struct Unit {
    std::uint64_t number;
    std::string state;
    std::uint64_t size_bytes;
    friend bool operator==(const Unit&, const Unit&) = default;
};

inline std::ostream& operator<<(std::ostream& out, const Unit& unit) {
    return out << "LUN " << unit.number << ' ' << unit.state << ' ' << unit.size_bytes;
}

inline Unit running(std::uint64_t number, std::uint64_t blocks = 2048) {
    return {number, "running", blocks * 512};
}
inline Unit offline(std::uint64_t number) {
    return {number, "offline", 2048 * 512};
}

inline std::vector<Unit> units_of(const std::vector<ipc::AttachedLun>& luns) {
    std::vector<Unit> units;
    for (const ipc::AttachedLun& lun : luns) {
        units.push_back({lun.number, lun.state, lun.size_bytes});
    }
    return units;
}

inline DiskConfig disks(std::vector<std::uint8_t> units, std::uint64_t blocks = 2048) {
    DiskConfig config;
    config.units = std::move(units);
    config.blocks = blocks;
    return config;
}

inline TargetConfig with_disks(const DiskConfig& config) {
    TargetConfig target;
    target.disk = config;
    return target;
}

struct UnitsBench {
    explicit UnitsBench(const DiskConfig& config,
                        const std::function<void(control::DaemonConfig&)>& adjust = {})
        : server(with_disks(config)), fixture(adjust) {}
    ~UnitsBench() {
        fixture.stop();
        server.with([](Target& target) { CHECK(target.complaints() == std::vector<std::string>()); });
    }
    UnitsBench(const UnitsBench&) = delete;
    UnitsBench& operator=(const UnitsBench&) = delete;

    ipc::LoginReply log_in(const std::string& scan = "auto") { return log_in(login_request(scan)); }
    ipc::Login login_request(const std::string& scan = "auto") const {
        ipc::Login login;
        REQUIRE(login.node.set(Key::node_name, "iqn.2026-01.example:scripted"));
        REQUIRE(login.node.set(Key::conn_address, "127.0.0.1"));
        REQUIRE(login.node.set(Key::conn_port, std::to_string(server.port())));
        REQUIRE(login.node.set(Key::session_scan, scan));
        return login;
    }
    ipc::LoginReply log_in(ipc::Login login) {
        ipc::Reply reply = ask(std::move(login));
        auto* failed = std::get_if<ipc::ErrorReply>(&reply);
        INFO((failed != nullptr ? failed->error.detail : std::string()));
        REQUIRE(std::holds_alternative<ipc::LoginReply>(reply));
        return std::get<ipc::LoginReply>(reply);
    }
    ipc::Reply ask(ipc::Request request) {
        REQUIRE(client.send(ipc::encode(1, std::move(request))));
        return client.reply().reply;
    }
    std::vector<Unit> units() {
        ipc::Reply reply = ask(ipc::Sessions());
        REQUIRE(std::get<ipc::SessionsReply>(reply).sessions.size() == 1);
        std::vector<Unit> all = units_of(std::get<ipc::SessionsReply>(reply).sessions[0].luns);
        std::ranges::sort(all, {}, &Unit::number);
        return all;
    }
    void until_units(const std::vector<Unit>& expected) {
        std::vector<Unit> seen;
        const base::TimePoint give_up_at = ring::monotonic_now() + std::chrono::seconds(10);
        while (seen != expected && ring::monotonic_now() < give_up_at) {
            fixture.turn();
            seen = units();
        }
        CHECK(seen == expected);
    }
    void change(const DiskConfig& config) {
        server.with([&](Target& target) { target.disks = Disks(config); });
    }
    /// An asynchronous SCSI event: a unit attention that no command has to meet.
    void attention(const Sense& sense, std::uint8_t unit = 0) {
        server.with([&](Target& target) {
            target.send(Pdu(Opcode::async_message)
                            .set(field::lun, lun_field(unit))
                            .set(field::async_event, 0)
                            .with_data(sense_segment(sense)));
        });
    }
    /// The same, and the session has taken it: it keeps a few at a time.
    void attention_taken(const Sense& sense, std::uint8_t unit) {
        attention(sense, unit);
        const std::uint32_t ttt = server.with([](Target& target) { return target.ping(); });
        until_seen(scripted::nop_out.with(field::ttt, ttt), 1);
    }
    void turn_for(base::Duration time) {
        const base::TimePoint until = ring::monotonic_now() + time;
        while (ring::monotonic_now() < until) {
            fixture.turn();
        }
    }
    std::size_t seen(const Match& match) {
        return server.with([&](Target& target) { return target.seen(match).size(); });
    }
    void until_seen(const Match& match, std::size_t count) {
        fixture.run_until([&] { return seen(match) >= count; });
    }
    /// Every standard INQUIRY data that goes out from now on.
    void edit_inquiries(std::function<void(Pdu&)> what) {
        server.with([&](Target& target) {
            target.sending(data_in.when([](const Pdu& pdu) { return pdu.data.size() == inquiry_bytes; }))
                .edit(std::move(what));
        });
    }

    TcpServer server;
    test::DaemonFixture fixture;
    test::DaemonClient client{fixture};
};

} // namespace iscsi::test

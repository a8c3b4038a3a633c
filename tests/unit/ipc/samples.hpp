// One of every message, with every member set to something that is not its default.
#pragma once

#include "ipc/requests.hpp"

#include <string>
#include <vector>

namespace iscsi::ipc::samples {

inline records::Record node() {
    records::Record record(records::RecordKind::node);
    (void)record.set(records::Key::node_name, "iqn.2001-04.com.example:t1");
    (void)record.set(records::Key::conn_address, "fe80::1%eth0");
    (void)record.set(records::Key::session_password, "secret \"quoted\" \\ and = #");
    (void)record.set(records::Key::session_scan, "manual");
    (void)record.set("node.session.of_a_newer_version", "kept");
    return record;
}

inline records::Record iface(std::string_view name) {
    records::Record record(records::RecordKind::iface);
    (void)record.set(records::Key::iface_name, name);
    return record;
}

inline records::Record discovery() {
    records::Record record(records::RecordKind::send_targets);
    (void)record.set(records::Key::discovery_address, "10.0.0.1");
    (void)record.set(records::Key::discovery_reopen_max, "2");
    return record;
}

inline std::vector<Request> requests() {
    return {
        Discover{discovery(), {iface("if1"), iface("default")}},
        Login{node(), true},
        Logout{7},
        Sessions{true, {}},
        Sessions{false, ListPlace{7, 3}},
        Rescan{0xffffffffU},
        Stop{},
        Info{},
        Monitor{},
    };
}

inline AttachedLun lun() {
    AttachedLun lun;
    lun.number = 3;
    lun.state = "running";
    lun.device = "/run/iscsid/luns/1-3.sock";
    lun.uri = "nbd+unix:///?socket=/run/iscsid/luns/1-3.sock";
    lun.link = "/run/iscsid/by-path/ip-10.0.0.1:3260-iscsi-iqn.x-lun-3";
    lun.size_bytes = UINT64_MAX;
    lun.block_bytes = 4096;
    lun.vendor = "IET     ";
    lun.product = "VIRTUAL-DISK";
    lun.serial = "beaf31";
    lun.cache_losses = 2;
    lun.io = IoSnapshot{{3, 1, 8192, 120, {{20, 2}, {80, 1}}}, {1, 0, 4096, 96, {{96, 1}}}, {}, 7, 8, 9};
    return lun;
}

inline SessionSnapshot session() {
    SessionSnapshot session;
    session.sid = 1;
    session.host_number = 2;
    session.target = "iqn.2001-04.com.example:t1";
    session.tpgt = 65535;
    session.current = {"10.0.0.2", 3261};
    session.persistent = {"fe80::1", 65535};
    session.iface = {"if1", "tcp", "iqn.2001-04.com.example:ini", "10.0.0.5", "00:11:22:33:44:55", "eth0"};
    session.connection_state = ConnectionState::cleanup_wait;
    session.session_state = SessionState::failed;
    session.internal_state = InternalState::reopen;
    session.timeouts = {-1, 31, 32, 16};
    session.chap = {"u", "p", "ui", "pi"};
    session.negotiated = {"CRC32C", "CRC32C", 1, 2, 3, 4, 5, false, true};
    std::uint64_t n = 100;
    for (const base::CounterRow& row : base::session_counters) {
        session.statistics.*row.value = n++;
    }
    session.recoveries = 5;
    session.failed_recoveries = 6;
    session.luns = {lun(), AttachedLun{}};
    session.absent = {{4, "its port is in standby"}};
    session.authentication = "mutual CHAP";
    session.age_s = UINT64_MAX;
    session.down_s = 0;
    session.last_error = "Connection refused";
    session.queues = {{1, SessionState::failed, 7, 8, 9, "No route to host"},
                      {2, SessionState::logged_in, 0, 0, {}, ""}};
    return session;
}

inline EventReply event() {
    EventReply event;
    event.time_us = 1'700'000'000'123'456;
    event.event = "resized";
    event.level = "info";
    event.message = "session 7 LUN 0: 16 blocks, were 8";
    event.sid = 7;
    event.target = "iqn.2001-04.com.example:t1";
    event.portal = "[fe80::1%eth0]:3260";
    event.iface = "default";
    event.lun = 0;
    event.device = "/dev/ublkb0";
    event.lost = UINT64_MAX;
    return event;
}

inline std::vector<Reply> replies() {
    return {
        DiscoverReply{
            {{"iqn.2001-04.com.example:t1", "::1", 3261, 7, "if1"}, {"eui.1", "a", 1, -1, "default"}},
            {"bad name"}},
        LoginReply{5, {lun()}, "a note\nof two lines"},
        Done{},
        SessionsReply{{session(), SessionSnapshot{}}, ListPlace{0xffffffffU, UINT64_MAX}},
        SessionsReply{{}, ListPlace{3, {}}},
        InfoReply{"0.1", "iqn.2001-04.com.example:ini", "alias", 4711},
        ErrorReply{{base::Errc::digest, "first\nsecond"}},
        ErrorReply{{base::Errc::transport, "Connection refused", base::Cause::connection_refused}},
        event(),
        EventReply{},
    };
}

/// A line as the socket carries it, without its newline.
template <class Message>
std::string line_of(std::uint64_t id, const Message& message) {
    std::string line = encode(id, message);
    line.pop_back();
    return line;
}

} // namespace iscsi::ipc::samples

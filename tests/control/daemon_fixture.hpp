// What the tests of the daemon share: one in this process, on a directory of its own, and a client of its
// request socket that is moved along with it. Each owns what it opens; one thread: turn() gives all their
// turn.
#pragma once

#include "control/daemon.hpp"
#include "control/ipc_server.hpp"
#include "process.hpp"
#include "records/fields.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace iscsi::test {

inline ring::Task<void> stop_all(control::Daemon& daemon, control::IpcServer& server, bool& done) {
    co_await server.stop_accepting();
    co_await daemon.end_sessions();
    co_await server.close();
    done = true;
}

class DaemonFixture {
public:
    /// `adjust` may change the daemon's configuration.
    explicit DaemonFixture(const std::function<void(control::DaemonConfig&)>& adjust = {}) {
        ::signal(SIGPIPE, SIG_IGN);
        char directory[] = "/tmp/iscsid-test-XXXXXX";
        REQUIRE(::mkdtemp(directory) != nullptr);
        root_ = directory;
        control::DaemonConfig config;
        config.paths = records::Paths(root_);
        config.initiator = {"iqn.2026-01.example:me", ""};
        config.block = "socket";
        if (adjust) {
            adjust(config);
        }
        REQUIRE(process::make_directories(config.paths));
        socket_path_ = config.paths.ipc_socket();
        auto made = control::Daemon::create(std::move(config));
        REQUIRE(made);
        daemon = std::move(*made);
        begin();
        auto listening = control::IpcServer::listen(*daemon);
        REQUIRE(listening);
        server = std::move(*listening);
        server->start();
    }
    ~DaemonFixture() {
        stop();
        std::filesystem::remove_all(root_);
    }
    DaemonFixture(const DaemonFixture&) = delete;
    DaemonFixture& operator=(const DaemonFixture&) = delete;

    void begin() {
        ring::TaskGroup group;
        group.spawn(daemon->begin());
        run_until([&] { return group.empty(); });
    }
    void stop() {
        if (!std::exchange(stopped_, true)) {
            ring::TaskGroup group;
            bool done = false;
            group.spawn(stop_all(*daemon, *server, done));
            run_until([&] { return done; });
            daemon->stop_shards();
        }
    }
    void turn() {
        if (beside) {
            beside();
        }
        daemon->loop().turn(ring::monotonic_now() + std::chrono::milliseconds(5));
    }
    void run_until(auto condition) {
        base::TimePoint give_up_at = ring::monotonic_now() + std::chrono::seconds(30);
        while (!condition()) {
            turn();
            REQUIRE(ring::monotonic_now() < give_up_at);
        }
    }
    /// The directories as `file` below the run directory; "" for that itself.
    mode_t mode_of(const std::string& file) const {
        struct stat info {};
        REQUIRE(::stat((socket_path_.substr(0, socket_path_.rfind('/')) + file).c_str(), &info) == 0);
        return info.st_mode & 07777;
    }
    /// As another user, who may come as far as the run directory.
    int connect_as_guest() const {
        std::filesystem::permissions(root_, std::filesystem::perms(0711));
        REQUIRE(::seteuid(65534) == 0);
        int fd = connect();
        REQUIRE(::seteuid(0) == 0);
        return fd;
    }
    int connect() const {
        int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        socket_path_.copy(address.sun_path, sizeof address.sun_path - 1);
        REQUIRE(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
        return fd;
    }

    std::unique_ptr<control::Daemon> daemon;
    std::unique_ptr<control::IpcServer> server;
    std::function<void()> beside; ///< what the test drives along with the daemon

private:
    std::string root_;
    std::string socket_path_;
    bool stopped_ = false;
};

/// A client that the test moves along together with the daemon.
class DaemonClient {
public:
    explicit DaemonClient(DaemonFixture& fixture) : DaemonClient(fixture, fixture.connect()) {}
    DaemonClient(DaemonFixture& fixture, int fd) : fixture_(fixture), fd_(fd) {}
    DaemonClient(const DaemonClient&) = delete;
    DaemonClient& operator=(const DaemonClient&) = delete;
    ~DaemonClient() { leave(); }

    void leave() {
        if (fd_ >= 0) {
            ::close(std::exchange(fd_, -1));
        }
    }
    /// False when the daemon closed before it was all sent.
    bool send(std::string_view bytes) {
        while (!bytes.empty()) {
            ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN) {
                return false;
            }
            bytes.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
            fixture_.turn();
        }
        return true;
    }
    /// True when the daemon has closed, and said nothing before.
    bool ended() {
        char byte = 0;
        return ::recv(fd_, &byte, 1, MSG_PEEK) == 0;
    }
    ipc::TaggedReply reply() {
        std::optional<std::string> line;
        fixture_.run_until([&] {
            char buffer[65536];
            ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
            if (n > 0) {
                lines_.append({buffer, static_cast<std::size_t>(n)});
            }
            auto next = lines_.next();
            REQUIRE(next);
            line = *next;
            return line.has_value();
        });
        auto decoded = ipc::decode_reply(*line);
        REQUIRE(decoded);
        return std::move(*decoded);
    }
    base::Errc error() {
        ipc::TaggedReply got = reply();
        auto* failed = std::get_if<ipc::ErrorReply>(&got.reply);
        REQUIRE(failed != nullptr);
        return failed->error.code;
    }

private:
    DaemonFixture& fixture_;
    int fd_;
    ipc::LineBuffer lines_;
};

/// A portal of this host at which nobody listens.
inline ipc::Login login_request(const std::string& retries) {
    ipc::Login request;
    REQUIRE(request.node.set(records::Key::node_name, "iqn.2026-01.example:disk"));
    REQUIRE(request.node.set(records::Key::conn_address, "127.0.0.1"));
    REQUIRE(request.node.set(records::Key::conn_port, "1"));
    REQUIRE(request.node.set(records::Key::session_initial_login_retry_max, retries));
    REQUIRE(request.node.set(records::Key::conn_login_timeout, "1"));
    return request;
}
} // namespace iscsi::test

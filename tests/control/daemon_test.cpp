// The daemon behind its request socket: hostile clients, and the end of it all. No target: nothing listens at
// the portals asked for.
#include "control/daemon.hpp"
#include "control/ipc_server.hpp"
#include "process.hpp"
#include "records/fields.hpp"

#include <catch2/catch.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

using namespace iscsi;
using namespace std::chrono_literals;
using records::Key;

namespace {

ring::Task<void> stop_all(control::Daemon& daemon, control::IpcServer& server, bool& done) {
    server.stop_accepting();
    co_await daemon.end_sessions();
    co_await server.close();
    done = true;
}

class Fixture {
public:
    Fixture() {
        ::signal(SIGPIPE, SIG_IGN);
        char directory[] = "/tmp/iscsid-test-XXXXXX";
        REQUIRE(::mkdtemp(directory) != nullptr);
        root_ = directory;
        control::DaemonConfig config;
        config.paths = records::Paths(root_);
        config.initiator = {"iqn.2026-01.example:me", ""};
        config.block = "socket";
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
    ~Fixture() {
        stop();
        std::filesystem::remove_all(root_);
    }
    Fixture(const Fixture&) = delete;
    Fixture& operator=(const Fixture&) = delete;

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
    void turn() { daemon->loop().turn(ring::monotonic_now() + 5ms); }
    void run_until(auto condition) {
        base::TimePoint give_up_at = ring::monotonic_now() + 30s;
        while (!condition()) {
            turn();
            REQUIRE(ring::monotonic_now() < give_up_at);
        }
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

private:
    std::string root_;
    std::string socket_path_;
    bool stopped_ = false;
};

/// A client that the test moves along together with the daemon.
class Client {
public:
    explicit Client(Fixture& fixture) : fixture_(fixture), fd_(fixture.connect()) {}
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client() { leave(); }

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
    Fixture& fixture_;
    int fd_;
    ipc::LineBuffer lines_;
};

/// A portal of this host at which nobody listens.
ipc::Login login_request(const std::string& retries) {
    ipc::Login request;
    REQUIRE(request.node.set(Key::node_name, "iqn.2026-01.example:disk"));
    REQUIRE(request.node.set(Key::conn_address, "127.0.0.1"));
    REQUIRE(request.node.set(Key::conn_port, "1"));
    REQUIRE(request.node.set(Key::session_initial_login_retry_max, retries));
    REQUIRE(request.node.set(Key::conn_login_timeout, "1"));
    return request;
}

} // namespace

TEST_CASE("a request is answered with its id") {
    Fixture f;
    Client client(f);
    REQUIRE(client.send(ipc::encode(7, ipc::Request(ipc::Info()))));
    ipc::TaggedReply reply = client.reply();
    CHECK(reply.id == 7);
    REQUIRE(std::holds_alternative<ipc::InfoReply>(reply.reply));
    CHECK(std::get<ipc::InfoReply>(reply.reply).initiator_name == "iqn.2026-01.example:me");
}

TEST_CASE("garbage is an error, and the next line is read all the same") {
    Fixture f;
    Client client(f);
    REQUIRE(client.send("\x01\xff\xfe{[\"\n"));
    CHECK(client.error() == base::Errc::invalid);
    REQUIRE(client.send("{\"v\":1}\n[]\nnull\n"));
    (void)client.error();
    (void)client.error();
    (void)client.error();
    REQUIRE(client.send(std::string(100'000, '[') + "\n"));
    CHECK(client.error() == base::Errc::invalid);
    REQUIRE(client.send(ipc::encode(8, ipc::Request(ipc::Sessions()))));
    CHECK(client.reply().id == 8);
}

TEST_CASE("a line without an end ends the client, not the daemon") {
    Fixture f;
    Client client(f);
    std::string part(1 << 20, 'x');
    bool taken = true;
    for (int i = 0; i < 17 && taken; ++i) {
        taken = client.send(part);
    }
    f.run_until([&] { return !taken || client.ended(); });
    Client next(f);
    REQUIRE(next.send(ipc::encode(1, ipc::Request(ipc::Info()))));
    CHECK(next.reply().id == 1);
}

TEST_CASE("answers come when they are ready, not in the order of the requests") {
    Fixture f;
    Client client(f);
    REQUIRE(client.send(ipc::encode(1, ipc::Request(login_request("5"))) +
                        ipc::encode(2, ipc::Request(ipc::Info()))));
    CHECK(client.reply().id == 2);
    ipc::TaggedReply late = client.reply();
    CHECK(late.id == 1);
    REQUIRE(std::holds_alternative<ipc::ErrorReply>(late.reply));
    CHECK(std::get<ipc::ErrorReply>(late.reply).error.code == base::Errc::transport_timeout);
}

TEST_CASE("a record has one session at a time, one that is logging in counts") {
    Fixture f;
    Client client(f);
    REQUIRE(client.send(ipc::encode(1, ipc::Request(login_request("5"))) +
                        ipc::encode(2, ipc::Request(login_request("5")))));
    ipc::TaggedReply second = client.reply();
    CHECK(second.id == 2);
    CHECK(std::get<ipc::ErrorReply>(second.reply).error.code == base::Errc::session_exists);
}

TEST_CASE("requests about sessions that are not there say so") {
    Fixture f;
    Client client(f);
    REQUIRE(client.send(ipc::encode(1, ipc::Request(ipc::Logout{3}))));
    CHECK(client.error() == base::Errc::session_not_found);
    REQUIRE(client.send(ipc::encode(2, ipc::Request(ipc::Rescan{3}))));
    CHECK(client.error() == base::Errc::session_not_found);
}

TEST_CASE("a client that leaves while its login is under way does not disturb it or the others") {
    Fixture f;
    {
        Client client(f);
        REQUIRE(client.send(ipc::encode(1, ipc::Request(login_request("2")))));
        f.turn();
    }
    Client other(f);
    REQUIRE(other.send(ipc::encode(2, ipc::Request(ipc::Info()))));
    CHECK(other.reply().id == 2);
}

TEST_CASE("a client that asks and never reads is given up, and holds no memory for long") {
    Fixture f;
    Client client(f);
    std::string asked;
    for (std::uint64_t i = 1; i <= 2000; ++i) {
        asked += ipc::encode(i, ipc::Request(ipc::Info()));
    }
    // Some 2 MB a round: more than what may pile up.
    bool taken = true;
    for (int i = 0; i < 200 && taken; ++i) {
        taken = client.send(asked);
    }
    CHECK_FALSE(taken);
    Client other(f);
    REQUIRE(other.send(ipc::encode(2, ipc::Request(ipc::Info()))));
    CHECK(other.reply().id == 2);
}

TEST_CASE("a stop during logins interrupts them and answers everybody") {
    Fixture f;
    Client client(f);
    std::string all;
    for (int i = 0; i < 20; ++i) {
        ipc::Login one = login_request("1000");
        REQUIRE(one.node.set(Key::node_name, "iqn.2026-01.example:disk" + std::to_string(i)));
        all += ipc::encode(static_cast<std::uint64_t>(i + 1), ipc::Request(std::move(one)));
    }
    REQUIRE(client.send(all));
    base::TimePoint begin = ring::monotonic_now();
    f.stop();
    CHECK(ring::monotonic_now() - begin < 10s);
}

TEST_CASE("after the stop was asked for, requests are refused") {
    Fixture f;
    Client client(f);
    REQUIRE(client.send(ipc::encode(1, ipc::Request(ipc::Stop()))));
    CHECK(std::holds_alternative<ipc::Done>(client.reply().reply));
    CHECK(f.daemon->stop_requested().is_set());
    ring::TaskGroup group;
    group.spawn(f.daemon->end_sessions());
    f.run_until([&] { return group.empty(); });
    REQUIRE(client.send(ipc::encode(2, ipc::Request(login_request("1")))));
    CHECK(client.error() == base::Errc::cancelled);
}

TEST_CASE("a second daemon does not take the socket over") {
    Fixture f;
    auto second = control::IpcServer::listen(*f.daemon);
    REQUIRE_FALSE(second);
    CHECK(second.error().code == base::Errc::busy);
}

// The daemon behind its request socket: hostile clients, and the end of it all. No target: nothing listens at
// the portals asked for.
#include "control/daemon_fixture.hpp"

using namespace iscsi;
using namespace std::chrono_literals;
using records::Key;
using Client = test::DaemonClient;
using Fixture = test::DaemonFixture;
using test::login_request;

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

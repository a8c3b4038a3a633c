// Users who are not root at the request socket: what they get, and that they are in nobody's way.
#include "base/limits.hpp"
#include "control/daemon_fixture.hpp"

#include <list>

using namespace iscsi;
using Client = test::DaemonClient;
using Fixture = test::DaemonFixture;
using test::login_request;

TEST_CASE("the socket is everybody's, and nothing else below the run directory") {
    Fixture f;
    CHECK(f.mode_of("") == 0711);
    CHECK(f.mode_of("/control.sock") == 0666);
    for (const char* directory : {"/luns", "/by-path", "/sessions"}) {
        CHECK(f.mode_of(directory) == 0700);
    }
}

TEST_CASE("another user gets the list of sessions and nothing else") {
    if (::geteuid() != 0) {
        WARN("only root can ask as another user");
        return;
    }
    Fixture f;
    SECTION("the list") {
        Client guest(f, f.connect_as_guest());
        REQUIRE(guest.send(ipc::encode(5, ipc::Request(ipc::Sessions()))));
        ipc::TaggedReply reply = guest.reply();
        CHECK(reply.id == 5);
        CHECK(std::holds_alternative<ipc::SessionsReply>(reply.reply));
        f.run_until([&] { return guest.ended(); });
    }
    SECTION("no other request, however many come with it") {
        for (const ipc::Request& request :
             {ipc::Request(login_request("1")), ipc::Request(ipc::Logout{1}), ipc::Request(ipc::Rescan{1}),
              ipc::Request(ipc::Stop()), ipc::Request(ipc::Info()), ipc::Request(ipc::Discover()),
              ipc::Request(ipc::Monitor())}) {
            Client guest(f, f.connect_as_guest());
            REQUIRE(guest.send(ipc::encode(1, request) + ipc::encode(2, ipc::Request(ipc::Sessions()))));
            ipc::TaggedReply reply = guest.reply();
            CHECK(reply.id == 0);
            REQUIRE(std::holds_alternative<ipc::ErrorReply>(reply.reply));
            CHECK(std::get<ipc::ErrorReply>(reply.reply).error.code == base::Errc::access_denied);
            f.run_until([&] { return guest.ended(); });
        }
        CHECK_FALSE(f.daemon->stop_requested().is_set());
    }
    SECTION("no second request after the first") {
        Client guest(f, f.connect_as_guest());
        const std::string asked = ipc::encode(1, ipc::Request(ipc::Sessions()));
        REQUIRE(guest.send(asked + asked));
        (void)guest.reply();
        f.run_until([&] { return guest.ended(); });
    }
    SECTION("no long line") {
        Client guest(f, f.connect_as_guest());
        (void)guest.send(std::string(base::limits::ipc_guest_line_bytes_max + 1, 'x'));
        f.run_until([&] { return guest.ended(); });
    }
}

TEST_CASE("of the list that other users get, CHAP names, secrets and the words of failures are left out") {
    ipc::SessionsReply list;
    ipc::SessionSnapshot session;
    session.target = "iqn.2026-01.example:disk";
    session.chap = {"name-1", "secret-1", "name-2", "secret-2"};
    session.last_error = "node.session.auth.password: /etc/iscsi/my-secret: Permission denied";
    session.down_s = 95;
    list.sessions = {session, session};
    ipc::Reply reply(list);
    control::take_secrets_out(reply);
    const std::string line = ipc::encode(1, reply);
    CHECK(line.find("iqn.2026-01.example:disk") != std::string::npos);
    CHECK(line.find("name-") == std::string::npos);
    CHECK(line.find("secret-") == std::string::npos);
    CHECK(line.find("my-secret") == std::string::npos);
    CHECK(line.find("auth.password") == std::string::npos);
    CHECK(line.find("\"down_s\":95") != std::string::npos);
}

TEST_CASE("other users cannot keep root out") {
    if (::geteuid() != 0) {
        WARN("only root can ask as another user");
        return;
    }
    Fixture f;
    std::list<Client> guests;
    for (std::size_t i = 0; i < base::limits::ipc_guests_max; ++i) {
        guests.emplace_back(f, f.connect_as_guest());
        f.turn();
    }
    Client one_more(f, f.connect_as_guest());
    f.run_until([&] { return one_more.ended(); });
    CHECK_FALSE(guests.front().ended());
    Client root(f);
    REQUIRE(root.send(ipc::encode(1, ipc::Request(ipc::Info()))));
    CHECK(root.reply().id == 1);
    // A guest that leaves makes room for another.
    guests.pop_back();
    f.run_until([&] {
        Client guest(f, f.connect_as_guest());
        (void)guest.send(ipc::encode(5, ipc::Request(ipc::Sessions())));
        f.turn();
        return !guest.ended();
    });
}

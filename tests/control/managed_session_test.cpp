// What control makes of the messages of a target (RFC 7143 sections 11.9 and 11.15).
#include "control/log_lines.hpp"
#include "control/session_scene.hpp"
#include "ipc/snapshot.hpp"

#include <algorithm>
#include <array>

using namespace iscsi;
using namespace std::chrono_literals;
using session::Event;
using Scene = test::SessionScene;

TEST_CASE("control hears of an asynchronous SCSI event as of a unit attention", "[rfc7143-11.9]") {
    Scene scene;
    Event event;
    event.kind = Event::Kind::scsi;
    event.lun = base::Lun(0x0005000000000000ULL);
    event.sense_bytes = 18;
    std::fill(event.sense.begin(), event.sense.end(), std::byte{0});
    event.sense[0] = std::byte{0x70};
    event.sense[2] = std::byte{0x06};
    event.sense[7] = std::byte{10};
    event.sense[12] = std::byte{0x3f}; // REPORTED LUNS DATA HAS CHANGED
    event.sense[13] = std::byte{0x0e};
    scene.session->on_nexus_event(event);
    REQUIRE(scene.ear.luns == std::vector<base::Lun>{event.lun});
    CHECK(scene.ear.news[0].effects.has(scsi::Effect::luns_changed));
    CHECK(scene.ear.news[0].sense.asc == 0x3f);
}

TEST_CASE("a Time2Wait that the target names is kept for the next login",
          "[rfc7143-11.9.1][ASYNC-02][ASYNC-03][ERL-04]") {
    Scene scene;
    Event event;
    event.time2wait_s = 17;
    event.time2retain_s = 3;
    CHECK_FALSE(scene.session->time2wait);
    SECTION("as it ends the session, or the connection") {
        event.kind = GENERATE(Event::Kind::session_dropped, Event::Kind::connection_dropped);
        scene.session->on_nexus_event(event);
        CHECK(scene.session->time2wait == base::Duration(17s));
    }
    SECTION("as a logout fails") {
        event.kind = Event::Kind::logout_response;
        event.code = GENERATE(std::uint8_t{2}, std::uint8_t{3});
        scene.session->on_nexus_event(event);
        CHECK(scene.session->time2wait == base::Duration(17s));
    }
    SECTION("not with a logout that went well, or did not find the connection: the field means nothing") {
        event.kind = Event::Kind::logout_response;
        event.code = GENERATE(std::uint8_t{0}, std::uint8_t{1});
        scene.session->on_nexus_event(event);
        CHECK_FALSE(scene.session->time2wait);
    }
    CHECK(scene.ear.news.empty());
}

TEST_CASE("what a target repeats at the speed of the wire is few lines in the log", "[rfc7143-11.17]") {
    Scene scene;
    test::LogLines log;
    Event event;
    event.kind = GENERATE(Event::Kind::rejected, Event::Kind::logout_requested, Event::Kind::session_dropped,
                          Event::Kind::task_management);
    for (int i = 0; i < 4000; ++i) {
        event.missed = i == 0 ? 0 : 1;
        scene.session->on_nexus_event(event);
    }
    CHECK(log.with("session 1 ").size() == 2); // and that some were lost
    CHECK(log.with("more than could be kept").size() == 1);
    CHECK(scene.ear.missed == 3999);
}

TEST_CASE("each step that is taken about a command without an answer is a line of its own", "[TMF-02]") {
    Scene scene;
    test::LogLines log;
    Event event;
    event.kind = Event::Kind::task_management;
    for (const std::uint8_t function : std::array<std::uint8_t, 5>{1, 1, 5, 6, 6}) {
        event.code = function;
        scene.session->on_nexus_event(event);
    }
    CHECK(log.with("was not answered in time").size() == 3);
}

TEST_CASE("what is shown of a session are the states of the protocol", "[rfc7143-8][SESS-01]") {
    using State = control::ManagedSession::State;
    Scene scene;
    struct Row {
        State state;
        ipc::ConnectionState connection;
        ipc::SessionState session;
    };
    auto row =
        GENERATE(Row{State::logging_in, ipc::ConnectionState::in_login, ipc::SessionState::free},
                 Row{State::running, ipc::ConnectionState::logged_in, ipc::SessionState::logged_in},
                 Row{State::recovering, ipc::ConnectionState::transport_wait, ipc::SessionState::failed},
                 Row{State::ending, ipc::ConnectionState::in_logout, ipc::SessionState::logged_in});
    scene.session->state = row.state;
    auto shown = scene.session->snapshot({});
    CHECK(shown.connection_state == row.connection);
    CHECK(shown.session_state == row.session);
}

TEST_CASE("a queue that is down is shown beside those that are up") {
    using State = control::ManagedSession::State;
    Scene scene;
    control::ManagedSession& session = *scene.session;
    session.state = State::running;
    CHECK(session.snapshot({}).queues.empty());
    for (int i = 0; i < 2; ++i) {
        auto made = std::make_unique<control::ManagedSession>(session.listener, session.sid, session.node,
                                                              session.shard);
        made->leader = &session;
        made->state = State::running;
        session.companions.push_back(std::move(made));
    }
    control::ManagedSession& lost = *session.companions[1];
    lost.state = State::recovering;
    lost.recoveries = 3;
    lost.failed_recoveries = 1;
    lost.down_since = ring::boot_time_now() - 30s;
    lost.last_error = "Connection refused";
    const auto shown = session.snapshot({});
    CHECK_FALSE(shown.down_s);
    REQUIRE(shown.queues.size() == 2);
    CHECK(shown.queues[0] == ipc::QueueSnapshot{1, ipc::SessionState::logged_in, 0, 0, {}, ""});
    CHECK(shown.queues[1].number == 2);
    CHECK(shown.queues[1].session_state == ipc::SessionState::failed);
    CHECK(shown.queues[1].down_s.value_or(0) >= 30);
    CHECK(shown.queues[1].recoveries == 3);
    CHECK(shown.queues[1].failed_recoveries == 1);
    CHECK(shown.queues[1].last_error == "Connection refused");
}

TEST_CASE(
    "what is shown of a session says how old it is, since when it is down and why, and what is not shown") {
    using State = control::ManagedSession::State;
    Scene scene;
    control::ManagedSession& session = *scene.session;
    auto shown = session.snapshot({});
    CHECK_FALSE(shown.age_s);
    CHECK_FALSE(shown.down_s);
    CHECK(shown.authentication == "None");
    session.logged_in_at = ring::boot_time_now() - 90s;
    session.down_since = ring::boot_time_now() - 30s;
    session.last_error = "Connection refused";
    session.absent[base::Lun(0x0005000000000000ULL)] = {"LUN 5: not ready", true};
    session.state = State::recovering;
    shown = session.snapshot({});
    CHECK(shown.age_s.value_or(0) >= 90);
    CHECK(shown.down_s.value_or(0) >= 30);
    CHECK(shown.down_s.value_or(0) < shown.age_s.value_or(0));
    CHECK(shown.last_error == "Connection refused");
    CHECK(shown.absent == std::vector<ipc::AbsentLun>{{5, "LUN 5: not ready"}});
    session.state = State::running;
    shown = session.snapshot({});
    CHECK_FALSE(shown.down_s);
    CHECK(shown.last_error.empty());
    // A clock that was set back makes nothing older than it can be.
    session.logged_in_at = ring::boot_time_now() + 90s;
    CHECK(session.snapshot({}).age_s == 0);
}

TEST_CASE("what is shown of a session says which way CHAP went, and others than root are told that, too") {
    records::Record node = Scene::some_node();
    const auto authentication = [&] {
        Scene scene(node);
        return scene.session->snapshot({}).authentication;
    };
    CHECK(authentication() == "None");
    REQUIRE(node.set(records::Key::session_username, "user"));
    CHECK(authentication() == "None"); // without a secret there is none
    REQUIRE(node.set(records::Key::session_password, "secret123456"));
    CHECK(authentication() == "CHAP");
    REQUIRE(node.set(records::Key::session_password_in, "another12345"));
    CHECK(authentication() == "mutual CHAP");
}

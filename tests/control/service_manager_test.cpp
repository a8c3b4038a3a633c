// What iscsid and a service manager tell each other, as far as one process can see it; the rest is in
// tests/interop/service_manager.py.
#include "service_manager.hpp"

#include "support/in_child.hpp"
#include "support/temporary_directory.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>
#include <vector>

using namespace iscsi;
using namespace std::chrono_literals;

namespace {

constexpr auto watchdog_time = 40ms;

std::unique_ptr<ring::Loop> make_loop() {
    auto loop = ring::Loop::create(16);
    REQUIRE(loop);
    return std::move(*loop);
}

/// A watchdog on a loop of this thread, over shards' loops that turn when the test says so.
struct Watched {
    explicit Watched(base::Duration given = watchdog_time) : time(given) { running.spawn(watchdog.run()); }
    ~Watched() {
        watchdog.end();
        turn_all_until([this] { return running.empty(); });
    }
    Watched(const Watched&) = delete;
    Watched& operator=(const Watched&) = delete;

    void turn_until(bool second_turns, auto condition) {
        const base::TimePoint give_up_at = ring::monotonic_now() + 20s;
        while (!condition()) {
            here->turn(ring::monotonic_now() + 1ms);
            first->turn(ring::monotonic_now());
            if (second_turns) {
                second->turn(ring::monotonic_now());
            }
            REQUIRE(ring::monotonic_now() < give_up_at);
        }
    }
    void turn_all_until(auto condition) { turn_until(true, condition); }

    std::unique_ptr<ring::Loop> here = make_loop();
    std::unique_ptr<ring::Loop> first = make_loop();
    std::unique_ptr<ring::Loop> second = make_loop();
    std::vector<base::TimePoint> said;
    bool has_room = true;
    base::Duration time;
    process::Watchdog watchdog{*here, {first.get(), second.get()}, time, [this] {
                                   said.push_back(ring::monotonic_now());
                                   return has_room;
                               }};
    ring::TaskGroup running;
};

/// The datagrams that came to a socket with a name.
class Listener {
public:
    explicit Listener(const std::string& path) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof address.sun_path - 1);
        REQUIRE(::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    }
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;
    ~Listener() { ::close(fd_); }

    std::string next() const {
        char text[256];
        ssize_t bytes = ::recv(fd_, text, sizeof text, MSG_DONTWAIT);
        return bytes < 0 ? "nothing" : std::string(text, static_cast<std::size_t>(bytes));
    }

private:
    int fd_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
};

base::Result<process::ServiceManager> with(const char* variable, const std::string& value) {
    ::setenv(variable, value.c_str(), 1);
    auto manager = process::ServiceManager::from_environment("/nowhere");
    CHECK(::getenv(variable) == nullptr);
    return manager;
}

} // namespace

TEST_CASE("while all shards answer, a sign of life comes every half of the watchdog's time") {
    const base::TimePoint begin = ring::monotonic_now();
    Watched w;
    w.turn_all_until([&] { return w.said.size() == 6; });
    CHECK(w.said.back() - begin >= 5 * watchdog_time / 2);
}

TEST_CASE("a shard that does not turn keeps the process from saying that it lives, until it turns") {
    Watched w;
    w.turn_all_until([&] { return w.said.size() == 2; });
    // The next question was not asked yet.
    const base::TimePoint long_enough = ring::monotonic_now() + 5 * watchdog_time;
    w.turn_until(false, [&] { return ring::monotonic_now() >= long_enough; });
    CHECK(w.said.size() == 2);
    w.turn_all_until([&] { return w.said.size() == 4; });
}

TEST_CASE("a shard that never turned is never vouched for") {
    Watched w;
    const base::TimePoint long_enough = ring::monotonic_now() + 3 * watchdog_time;
    w.turn_until(false, [&] { return ring::monotonic_now() >= long_enough; });
    CHECK(w.said.empty());
}

TEST_CASE("a sign of life for which there was no room is given again soon") {
    Watched w(24h);
    w.has_room = false;
    w.turn_all_until([&] { return w.said.size() == 3; });
    w.has_room = true;
    w.turn_all_until([&] { return w.said.size() == 4; });
    const base::TimePoint long_enough = ring::monotonic_now() + 3 * process::say_again_pause;
    w.turn_all_until([&] { return ring::monotonic_now() >= long_enough; });
    CHECK(w.said.size() == 4);
}

TEST_CASE("a watchdog that is told to end does so in its pause, and in the middle of a question") {
    auto w = std::make_unique<Watched>();
    w->turn_all_until([&] { return w->said.size() == 1; });
    w->watchdog.end();
    CHECK(w->running.empty());
    w = std::make_unique<Watched>();
    w->watchdog.end();
    CHECK_FALSE(w->running.empty());
    w->turn_all_until([&] { return w->running.empty(); });
    w->watchdog.end();
}

TEST_CASE("without a service manager there is nothing to serve, to watch or to say") {
    for (const char* variable :
         {"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "WATCHDOG_PID"}) {
        ::unsetenv(variable);
    }
    auto manager = process::ServiceManager::from_environment("/nowhere");
    REQUIRE(manager);
    CHECK_FALSE(manager->take_listening_socket());
    CHECK_FALSE(manager->watchdog_time());
    CHECK(manager->say_ready());
    CHECK(manager->say_alive());
    CHECK(manager->say_stopping());
}

TEST_CASE("what is said is a datagram each, and what nobody makes room for is not waited with") {
    test::TemporaryDirectory directory;
    Listener listener(directory.path() + "/notify");
    auto manager = with("NOTIFY_SOCKET", directory.path() + "/notify");
    REQUIRE(manager);
    CHECK(manager->say_ready());
    CHECK(listener.next() == "READY=1");
    // In this thread: one that waited would never end.
    int taken = 0;
    while (manager->say_alive()) {
        REQUIRE(++taken < 100'000);
    }
    CHECK_FALSE(manager->say_stopping());
    CHECK(listener.next() == "WATCHDOG=1");
    CHECK(manager->say_stopping());
    for (int i = 1; i < taken; ++i) {
        REQUIRE(listener.next() == "WATCHDOG=1");
    }
    CHECK(listener.next() == "STOPPING=1");
    CHECK(listener.next() == "nothing");
}

TEST_CASE("a process that is another one than was started says which it is") {
    test::TemporaryDirectory directory;
    Listener listener(directory.path() + "/notify");
    auto manager = with("NOTIFY_SOCKET", directory.path() + "/notify");
    REQUIRE(manager);
    CHECK(test::in_child([&] { return manager->say_ready() ? 0 : 1; }) == 0);
    CHECK(listener.next().starts_with("READY=1\nMAINPID="));
}

TEST_CASE("a service manager that is gone is not told again and again") {
    auto manager = with("NOTIFY_SOCKET", "/no/such/socket");
    REQUIRE(manager);
    CHECK(manager->say_ready());
}

TEST_CASE("the watchdog's time is in microseconds, and absurd ones are no accident") {
    auto manager = with("WATCHDOG_USEC", "400000");
    REQUIRE(manager);
    CHECK(manager->watchdog_time() == 400ms);
    auto patient = with("WATCHDOG_USEC", "18446744073709551614");
    REQUIRE(patient);
    CHECK(patient->watchdog_time() > 24h * 365);
}

TEST_CASE("variables that say nothing are refused by their names") {
    for (auto [variable, value] :
         std::vector<std::pair<const char*, std::string>>{{"WATCHDOG_USEC", "soon"},
                                                          {"NOTIFY_SOCKET", "relative"},
                                                          {"NOTIFY_SOCKET", ""},
                                                          {"NOTIFY_SOCKET", "@"},
                                                          {"NOTIFY_SOCKET", "/" + std::string(200, 'x')}}) {
        CAPTURE(variable, value);
        auto refused = with(variable, value);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().code == base::Errc::invalid);
        CHECK(refused.error().detail.find(variable) != std::string::npos);
    }
}

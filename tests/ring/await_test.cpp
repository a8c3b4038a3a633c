#include "ring/await.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

using namespace iscsi;
using namespace std::chrono_literals;

namespace {

std::unique_ptr<ring::Loop> make_loop() {
    auto loop = ring::Loop::create(64);
    REQUIRE(loop);
    return std::move(*loop);
}

/// Turns the loop until `done`; a test that hangs is ended by ctest's time limit.
void run_until(ring::Loop& loop, const bool& done) {
    while (!done) {
        loop.turn(ring::monotonic_now() + 100ms);
    }
}

/// Counts live copies: what GCC 12 gets wrong with temporaries in coroutines would show here.
struct Counted {
    static inline int alive = 0;
    explicit Counted(std::string given) : text(std::move(given)) { ++alive; }
    Counted(const Counted& other) : text(other.text) { ++alive; }
    Counted(Counted&& other) noexcept : text(std::move(other.text)) { ++alive; }
    Counted& operator=(const Counted&) = default;
    Counted& operator=(Counted&&) = default;
    ~Counted() { --alive; }
    std::string text;
};

ring::Task<Counted> make_counted(std::string text) {
    Counted counted(std::move(text));
    co_return counted;
}

ring::Task<void> add_two(std::string& out, bool& done) {
    Counted a = co_await make_counted("one and a half times the small string buffer");
    Counted b = co_await make_counted("two");
    out = a.text + b.text;
    done = true;
}

ring::Task<void> sleep_then(ring::Loop& loop, base::Duration pause, bool& done) {
    ring::Sleep sleeping(loop, loop.now() + pause);
    co_await sleeping;
    done = true;
}

ring::Task<void> read_byte(ring::Loop& loop, int fd, base::Deadline deadline, int& result) {
    char byte = 0;
    ring::OpWait reading(loop);
    io_uring_prep_recv(reading.sqe(), fd, &byte, 1, 0);
    reading.expire_at(deadline);
    int rc = co_await reading;
    result = reading.expired() ? -ETIMEDOUT : rc == 1 ? byte : rc;
}

} // namespace

TEST_CASE("a task gives its value to the one who awaits it and leaves nothing behind") {
    std::string out;
    bool done = false;
    {
        ring::TaskGroup group;
        group.spawn(add_two(out, done));
        CHECK(group.empty());
    }
    CHECK(done);
    CHECK(out == "one and a half times the small string buffertwo");
    CHECK(Counted::alive == 0);
}

TEST_CASE("a sleeper wakes at its time, not before") {
    auto loop = make_loop();
    ring::TaskGroup group;
    bool done = false;
    base::TimePoint begin = ring::monotonic_now();
    group.spawn(sleep_then(*loop, 20ms, done));
    run_until(*loop, done);
    CHECK(ring::monotonic_now() - begin >= 20ms);
}

TEST_CASE("an operation ends with its result, or at its deadline") {
    auto loop = make_loop();
    int pair[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    int first = 0;
    int second = 0;
    {
        ring::TaskGroup group;
        group.spawn(read_byte(*loop, pair[0], {}, first));
        REQUIRE(::write(pair[1], "x", 1) == 1);
        while (!group.empty()) {
            loop->turn(ring::monotonic_now() + 100ms);
        }
        group.spawn(read_byte(*loop, pair[0], ring::monotonic_now() + 10ms, second));
        while (!group.empty()) {
            loop->turn(ring::monotonic_now() + 100ms);
        }
    }
    CHECK(first == 'x');
    CHECK(second == -ETIMEDOUT);
    ::close(pair[0]);
    ::close(pair[1]);
}

namespace {

ring::Task<std::string> on_the_other_side(ring::Loop& there, std::thread::id& ran_on) {
    ring::Sleep pause(there, there.now() + 1ms);
    co_await pause;
    ran_on = std::this_thread::get_id();
    co_return std::string("a value that does not fit the small string buffer");
}

ring::Task<void> ask_other_thread(ring::Loop& here, ring::Loop& there, std::thread::id& ran_on,
                                  std::string& out) {
    auto plain = [&] { return std::string("plain "); };
    ring::Call first(here, there, plain);
    std::string begin = co_await first;
    auto nothing = [] {};
    ring::Call second(here, there, nothing);
    co_await second;
    auto work = [&] { return on_the_other_side(there, ran_on); };
    ring::Call third(here, there, work);
    std::string end = co_await third;
    out = begin + end;
}

} // namespace

TEST_CASE("a call runs on the other thread and its value comes back to this one") {
    auto here = make_loop();
    std::atomic<ring::Loop*> other = nullptr;
    std::unique_ptr<ring::Loop> there; // outlives the thread: stop() uses it to its end
    std::thread thread([&] {
        there = make_loop();
        other = there.get();
        there->run();
    });
    while (other == nullptr) {
        std::this_thread::yield();
    }
    std::thread::id ran_on;
    std::string out;
    {
        ring::TaskGroup group;
        for (int i = 0; i < 100; ++i) {
            group.spawn(ask_other_thread(*here, *other, ran_on, out));
            while (!group.empty()) {
                here->turn(ring::monotonic_now() + 100ms);
            }
        }
    }
    CHECK(out == "plain a value that does not fit the small string buffer");
    CHECK(ran_on == thread.get_id());
    other.load()->stop();
    thread.join();
}

TEST_CASE("a pump that destroys another one before its turn does not disturb the loop") {
    struct Killer : ring::Pump {
        explicit Killer(ring::Loop& its_loop) : loop(its_loop) {}
        ~Killer() override { loop.unmark(*this); }
        void pump() override {
            ++count;
            victim.reset();
        }
        ring::Loop& loop;
        int count = 0;
        std::unique_ptr<Killer> victim;
    };
    auto loop = make_loop();
    Killer killer(*loop);
    killer.victim = std::make_unique<Killer>(*loop);
    loop->mark(*killer.victim);
    loop->mark(killer);
    loop->turn(ring::monotonic_now());
    CHECK(killer.count == 1);
    CHECK(killer.victim == nullptr);
}

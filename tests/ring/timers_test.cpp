#include "ring/timers.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <random>
#include <set>
#include <vector>

using namespace iscsi;
using namespace std::chrono_literals;

namespace {

base::TimePoint at(std::chrono::milliseconds ms) {
    return base::TimePoint(ms);
}

struct Recorder {
    Recorder(ring::Timers& timers, std::vector<int>& fired_ids, int own_id)
        : fired(fired_ids), id(own_id), timer(ring::Timer::to<&Recorder::on_time>(timers, this)) {}
    void on_time() { fired.push_back(id); }

    std::vector<int>& fired;
    int id;
    ring::Timer timer;
};

} // namespace

TEST_CASE("timers fire in the order of their deadlines, each once") {
    ring::Timers timers;
    std::vector<int> fired;
    Recorder a(timers, fired, 1);
    Recorder b(timers, fired, 2);
    Recorder c(timers, fired, 3);
    a.timer.arm(at(30ms));
    b.timer.arm(at(10ms));
    c.timer.arm(at(20ms));
    CHECK(timers.next() == base::Deadline(at(10ms)));
    timers.run(at(25ms));
    CHECK(fired == std::vector{2, 3});
    timers.run(at(25ms));
    CHECK(fired == std::vector{2, 3});
    timers.run(at(30ms));
    CHECK(fired == std::vector{2, 3, 1});
    CHECK_FALSE(timers.next());
}

TEST_CASE("arming again replaces the deadline, disarming removes it") {
    ring::Timers timers;
    std::vector<int> fired;
    Recorder a(timers, fired, 1);
    Recorder b(timers, fired, 2);
    a.timer.arm(at(10ms));
    b.timer.arm(at(15ms));
    a.timer.arm(at(50ms));
    b.timer.disarm();
    timers.run(at(20ms));
    CHECK(fired.empty());
    CHECK(timers.next() == base::Deadline(at(50ms)));
    CHECK_FALSE(b.timer.armed());
}

TEST_CASE("a timer that arms itself for the past does not keep the loop") {
    struct Again {
        explicit Again(ring::Timers& timers) : timer(ring::Timer::to<&Again::on_time>(timers, this)) {}
        void on_time() {
            ++count;
            timer.arm(at(0ms));
        }
        int count = 0;
        ring::Timer timer;
    };
    ring::Timers timers;
    Again again(timers);
    again.timer.arm(at(1ms));
    timers.run(at(5ms));
    CHECK(again.count == 1);
    timers.run(at(5ms));
    CHECK(again.count == 2);
}

TEST_CASE("a timer that dies leaves the heap in order") {
    std::mt19937 random(7);
    ring::Timers timers;
    std::vector<int> fired;
    std::vector<std::unique_ptr<Recorder>> all;
    for (int i = 0; i < 200; ++i) {
        all.push_back(std::make_unique<Recorder>(timers, fired, i));
        all.back()->timer.arm(at(std::chrono::milliseconds(random() % 1000)));
    }
    std::shuffle(all.begin(), all.end(), random);
    all.resize(100);
    base::TimePoint last = at(0ms);
    std::size_t count = 0;
    while (base::Deadline next = timers.next()) {
        CHECK(*next >= last);
        last = *next;
        timers.run(*next);
        ++count;
    }
    CHECK(fired.size() == 100);
    CHECK(count <= 100);
}

TEST_CASE(
    "a wake-up is at its deadline or a sixteenth of what is left later, never before and never over 0.27 s") {
    std::mt19937_64 dice(16);
    for (int round = 0; round < 10000; ++round) {
        const base::TimePoint now(base::Duration(static_cast<std::int64_t>(dice() >> 8)));
        const base::Duration left(static_cast<std::int64_t>(dice() >> (2 + round % 60)) %
                                  (std::int64_t{60} * 3600 * 1000000000));
        const base::TimePoint wake = ring::wake_for(now + left, now);
        CHECK(wake >= now + left);
        CHECK(wake - now - left <= std::min<base::Duration>(left / 16, base::Duration(1 << 28)));
    }
    CHECK(ring::wake_for(at(5ms), at(7ms)) == at(5ms)); // it has passed
}

TEST_CASE("a thousand that ping every five seconds wake their loop some twenty times in that time") {
    std::mt19937_64 dice(17);
    std::set<base::TimePoint> wakes;
    for (int connection = 0; connection < 1000; ++connection) {
        const base::TimePoint heard =
            at(1000ms) + base::Duration(static_cast<std::int64_t>(dice() % 5'000'000'000));
        wakes.insert(ring::wake_for(heard + 5s, heard));
    }
    CHECK(wakes.size() <= 20);
}

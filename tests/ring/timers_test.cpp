#include "ring/timers.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <random>
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

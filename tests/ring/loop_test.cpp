#include "ring/loop.hpp"

#include <catch2/catch.hpp>
#include <chrono>

using namespace iscsi;
using namespace std::chrono_literals;

namespace {

struct Bell {
    explicit Bell(ring::Loop& loop) : timer(ring::Timer::to<&Bell::on_time>(loop.timers(), this)) {}
    void on_time() { ++rung; }
    ring::Timer timer;
    int rung = 0;
};

struct Letter final : ring::Message {
    void deliver() override { ++delivered; }
    int delivered = 0;
};

std::unique_ptr<ring::Loop> make_loop() {
    auto loop = ring::Loop::create(8);
    REQUIRE(loop);
    return std::move(*loop);
}

/// One turn that enters the kernel with the deadlines there are, and ends because of something else.
void turn_for_mail(ring::Loop& loop) {
    Letter letter;
    loop.post(letter);
    while (letter.delivered == 0) {
        loop.turn();
    }
}

} // namespace

TEST_CASE("a deadline nearer than the one that lies at the kernel wakes the loop") {
    auto loop = make_loop();
    Bell far(*loop);
    Bell near(*loop);
    far.timer.arm(ring::monotonic_now() + 60s);
    turn_for_mail(*loop);
    const base::TimePoint due = ring::monotonic_now() + 20ms;
    near.timer.arm(due);
    while (near.rung == 0) {
        loop->turn();
        REQUIRE(far.rung == 0);
    }
    CHECK(loop->now() >= due);
}

TEST_CASE("a deadline that was put off, and one that lies behind a nearer one, are kept") {
    auto loop = make_loop();
    Bell put_off(*loop);
    Bell behind(*loop);
    put_off.timer.arm(ring::monotonic_now() + 10ms);
    turn_for_mail(*loop);
    const base::TimePoint due = ring::monotonic_now() + 30ms;
    put_off.timer.arm(due);
    behind.timer.arm(due + 10ms);
    while (behind.rung == 0) {
        loop->turn();
        CHECK((put_off.rung == 0 || loop->now() >= due));
    }
    CHECK(put_off.rung == 1);
    CHECK(loop->now() >= due + 10ms);
}

TEST_CASE("deadlines that come nearer turn by turn, more than the ring has slots, all wake the loop") {
    auto loop = make_loop();
    Bell bell(*loop);
    const base::TimePoint begun = ring::monotonic_now();
    for (int i = 0; i < 100; ++i) {
        bell.timer.arm(begun + 60s - i * 100ms);
        turn_for_mail(*loop);
    }
    CHECK(bell.rung == 0);
    for (int i = 1; i <= 5; ++i) {
        bell.timer.arm(ring::monotonic_now() + 2ms);
        while (bell.rung < i) {
            loop->turn();
        }
    }
    CHECK(ring::monotonic_now() < begun + 60s);
}

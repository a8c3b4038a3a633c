// The count of events on their way to control, between two threads.
#include "shard/event_backlog.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

using iscsi::shard::EventBacklog;

TEST_CASE("what exceeds the bound is counted with the next that is delivered") {
    EventBacklog backlog;
    for (unsigned i = 0; i < EventBacklog::most; ++i) {
        CHECK(backlog.add(false, 0));
    }
    CHECK_FALSE(backlog.add(false, 0));
    CHECK_FALSE(backlog.add(false, 2));
    CHECK(backlog.add(true, 5)); // whose own count goes with it
    CHECK(backlog.take() == 4);
    CHECK(backlog.take() == 0);
    CHECK(backlog.add(false, 0));
    CHECK_FALSE(backlog.add(false, 0));
}

TEST_CASE("no event is forgotten between the thread that sends and the one that takes") {
    constexpr unsigned enough = 100'000;      // taken while the other thread sends
    constexpr unsigned too_many = 20'000'000; // where both have to share a processor
    EventBacklog backlog;
    unsigned events = 0;
    std::atomic<unsigned> sent = 0;
    std::atomic<bool> stop = false;
    std::atomic<bool> stopped = false;
    std::thread shard([&] {
        for (; !stop && events < too_many; ++events) {
            sent += backlog.add(false, 0) ? 1 : 0;
        }
        stopped = true;
    });
    std::uint64_t missed = 0;
    unsigned taken = 0;
    while (!stopped || taken < sent) {
        if (taken < sent) {
            missed += backlog.take();
            ++taken;
        }
        stop = taken >= enough;
    }
    shard.join();
    CHECK(taken + missed == events);
}

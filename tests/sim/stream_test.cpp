// When a stream wakes its engine, to the nanosecond of virtual time.
#include "ring/stream.hpp"
#include "sim/kernel.hpp"

#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <vector>

using namespace iscsi;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

/// Waits for a deadline and does nothing else.
struct Waiting final : base::Engine {
    base::RxSpans rx_spans() override { return {}; }
    base::Result<void> rx_done(std::size_t, base::TimePoint) override { return {}; }
    std::span<iovec> tx_spans(std::span<iovec> out) override { return out.first(0); }
    void tx_done(std::size_t) override {}
    base::Deadline deadline() const override { return due; }
    base::Result<void> at(base::TimePoint now) override {
        woken = now;
        due.reset();
        return {};
    }
    base::Deadline due;
    base::Deadline woken;
};

struct Owner final : ring::Stream::Owner {
    void on_progress(ring::Stream&) override {}
    void on_closed(ring::Stream&, const base::Error&) override {}
};

} // namespace

TEST_CASE("a deadline put off a little, seen from near, is not met with the patience of one far off") {
    sim::Stage stage(1, false);
    sim::Kernel kernel(stage);
    auto loop = std::move(*ring::Loop::create());
    Waiting engine;
    Owner owner;
    ring::Stream stream(*loop, owner);
    // Just behind a point of the coarsest grid, so that it is woken for at the next one.
    const base::TimePoint first{base::Duration((std::int64_t{40} << 28) + 1)};
    engine.due = first;
    stream.open(kernel.open_socket(AF_INET), engine);
    loop->turn();
    REQUIRE(ring::wake_for(first, loop->now()) > first + milliseconds(250));
    while (loop->now() < first - milliseconds(3)) {
        loop->turn(first - milliseconds(3));
    }
    CHECK(!engine.woken);
    engine.due = first + milliseconds(2);
    stream.mark();
    while (!engine.woken && loop->now() < first + seconds(1)) {
        loop->turn(first + seconds(1));
    }
    REQUIRE(engine.woken);
    CHECK(*engine.woken >= first + milliseconds(2));
    CHECK(*engine.woken <= first + milliseconds(3));
    stream.close({base::Errc::cancelled, "done"}, ring::Stream::Ending::orderly);
    while (!stream.is_closed()) {
        loop->turn(loop->now());
    }
}

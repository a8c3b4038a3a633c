// Work on a thread aside: that nobody waits for any more, and that asks its loop in between.
#include "ring/aside.hpp"

#include "ring/await.hpp"

#include <catch2/catch.hpp>
#include <future>
#include <memory>
#include <optional>

using namespace iscsi;

namespace {

/// Ends when it is told to.
struct Blocked {
    std::promise<void> go_on;
    std::promise<void> ended;
};

auto work_of(std::shared_ptr<Blocked> blocked) {
    return [blocked = std::move(blocked)] {
        blocked->go_on.get_future().wait();
        blocked->ended.set_value();
        return 7;
    };
}

template <class Aside>
ring::Task<void> wait_for(Aside& aside, std::optional<int>& out, bool& done) {
    out = co_await aside;
    done = true;
}

ring::Task<void> ask_back(ring::Loop& loop, int& asked, int& out) {
    auto question = [&] {
        CHECK(loop.is_on_its_thread());
        return ++asked;
    };
    auto work = [&] {
        const bool aside = !loop.is_on_its_thread();
        const int first = ring::ask_loop(loop, question);
        return aside ? first + ring::ask_loop(loop, question) : -1;
    };
    ring::Aside asking(loop, work);
    out = co_await asking;
}

} // namespace

TEST_CASE("work that is abandoned goes on alone, and who waited goes on without it") {
    auto loop = std::move(*ring::Loop::create(16));
    auto blocked = std::make_shared<Blocked>();
    auto ended = blocked->ended.get_future();
    ring::AbandonableAside aside(*loop, work_of(blocked));
    ring::TaskGroup group;
    std::optional<int> out = 1;
    bool done = false;
    group.spawn(wait_for(aside, out, done));
    SECTION("while it works") {
        CHECK_FALSE(done);
        aside.abandon();
        CHECK(done);
        CHECK_FALSE(out.has_value());
        blocked->go_on.set_value();
        ended.wait();
        loop->turn(ring::monotonic_now());
    }
    SECTION("when it is done") {
        blocked->go_on.set_value();
        while (!group.empty()) {
            loop->turn();
        }
        CHECK(done);
        CHECK(out == 7);
        aside.abandon();
    }
    SECTION("when it is done and its answer is on the way") {
        blocked->go_on.set_value();
        ended.wait();
        aside.abandon();
        CHECK(done);
        loop->turn(ring::monotonic_now());
        CHECK_FALSE(out.has_value());
    }
    CHECK(group.empty());
}

TEST_CASE("work aside can ask its loop") {
    auto loop = std::move(*ring::Loop::create(16));
    ring::TaskGroup group;
    int asked = 0;
    int out = 0;
    group.spawn(ask_back(*loop, asked, out));
    while (!group.empty()) {
        loop->turn();
    }
    CHECK(asked == 2);
    CHECK(out == 3);
    auto question = [] { return 5; };
    CHECK(ring::ask_loop(*loop, question) == 5);
}

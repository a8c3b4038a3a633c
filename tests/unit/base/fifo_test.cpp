// The queue of what is linked through itself.
#include "base/fifo.hpp"

#include <catch2/catch.hpp>
#include <vector>

using iscsi::base::Fifo;

namespace {

struct Item {
    int number = 0;
    Item* next = nullptr;
    Item* other_next = nullptr;
};

using Items = Fifo<&Item::next>;

std::vector<int> emptied(Items& items) {
    std::vector<int> numbers;
    while (Item* item = items.pop()) {
        numbers.push_back(item->number);
    }
    return numbers;
}

struct Fixture {
    Item one{1};
    Item two{2};
    Item three{3};
    Items items;
};

} // namespace

TEST_CASE_METHOD(Fixture, "what comes first goes first") {
    CHECK(items.empty());
    CHECK(items.front() == nullptr);
    CHECK(items.pop() == nullptr);
    items.push(one);
    items.push(two);
    CHECK_FALSE(items.empty());
    CHECK(items.front() == &one);
    CHECK(items.pop() == &one);
    items.push(three);
    items.push(one); // what was popped may come again
    CHECK(emptied(items) == std::vector{2, 3, 1});
    CHECK(items.empty());
}

TEST_CASE_METHOD(Fixture, "what has run empty begins anew") {
    items.push(one);
    items.push(two);
    CHECK(emptied(items) == std::vector{1, 2});
    items.push(three);
    CHECK(items.front() == &three);
    items.push(two);
    CHECK(emptied(items) == std::vector{3, 2});
}

TEST_CASE_METHOD(Fixture, "what was popped points at nothing any more") {
    items.push(one);
    items.push(two);
    items.pop();
    CHECK(one.next == nullptr);
    one.next = &three; // of no concern: it is set anew
    items.push(one);
    CHECK(emptied(items) == std::vector{2, 1});
}

TEST_CASE_METHOD(Fixture, "a whole queue goes before another one") {
    Items before;
    SECTION("both have something") {
        before.push(one);
        before.push(two);
        items.push(three);
        items.prepend(before);
        CHECK(before.empty());
        Item four{4};
        items.push(four);
        CHECK(emptied(items) == std::vector{1, 2, 3, 4});
    }
    SECTION("before nothing") {
        before.push(one);
        items.prepend(before);
        items.push(two);
        CHECK(emptied(items) == std::vector{1, 2});
    }
    SECTION("before what has run empty") {
        items.push(three);
        items.pop();
        before.push(one);
        items.prepend(before);
        items.push(two);
        CHECK(emptied(items) == std::vector{1, 2});
    }
    SECTION("nothing goes before") {
        items.push(three);
        items.prepend(before);
        items.push(one);
        CHECK(emptied(items) == std::vector{3, 1});
    }
    SECTION("and what it was taken from is used again") {
        before.push(one);
        items.prepend(before);
        before.push(two);
        CHECK(emptied(items) == std::vector{1});
        CHECK(emptied(before) == std::vector{2});
    }
}

TEST_CASE_METHOD(Fixture, "something may wait in two queues through two members") {
    Fifo<&Item::other_next> others;
    items.push(one);
    items.push(two);
    others.push(two);
    others.push(one);
    CHECK(others.pop() == &two);
    CHECK(emptied(items) == std::vector{1, 2});
    CHECK(others.pop() == &one);
}

TEST_CASE("what is derived can wait too") {
    struct Derived : Item {
        int more = 0;
    };
    Derived derived;
    derived.more = 5;
    Items items;
    items.push(derived);
    CHECK(static_cast<Derived*>(items.pop())->more == 5);
}

// Task slots and their tags, and the lists that hold commands and sequences.
#include "harness.hpp"

#include <set>

namespace iscsi::testing {
namespace {

using session::Task;
using session::TaskTable;

TEST_CASE("a tag names its task only while the task is active", "[rfc7143-11.2.1.8][SEQ-07]") {
    TaskTable tasks(4);
    Task& task = tasks.claim();
    std::uint32_t tag = task.itt;
    CHECK(tasks.find(tag) == nullptr);
    task.state = Task::State::active;
    CHECK(tasks.find(tag) == &task);
    CHECK(tasks.find(tag + 1) == nullptr);
    CHECK(tasks.find(session::next_generation(tag)) == nullptr);
    CHECK(tasks.find(base::reserved_tag) == nullptr);
    CHECK(tasks.find(session::ping_slot) == nullptr);
    task.state = Task::State::answered;
    CHECK(tasks.find(tag) == nullptr);
    tasks.release(task);
    Task& again = tasks.claim();
    CHECK(&again == &task);
    CHECK(again.itt != tag);
    CHECK(tasks.slot_of(again) == (tag & session::tag_slot_mask));
}

TEST_CASE("tags stay apart and valid when generations wrap", "[rfc7143-11.2.1.8][SEQ-07]") {
    TaskTable tasks(2048);
    std::set<std::uint32_t> tags;
    for (Task& task : tasks.all()) {
        task.itt |= 0xfffff000U; // The last generation.
    }
    while (tasks.has_free()) {
        Task& task = tasks.claim();
        CHECK(task.itt <= 2047);
        tags.insert(task.itt);
    }
    CHECK(tags.size() == 2048);
    CHECK(tasks.used() == 2048);
}

TEST_CASE("draining gives the tasks in the order of their CmdSN, across its wrap", "[abandon]") {
    TaskTable tasks(8);
    std::array<Task*, 8> claimed{};
    for (std::uint32_t i = 0; i < 8; ++i) {
        claimed[i] = &tasks.claim();
        claimed[i]->state = Task::State::active;
        claimed[i]->cmd_sn = base::CmdSn(0xfffffffcU + ((i * 5) % 8));
    }
    tasks.release(*claimed[2]);
    tasks.release(*claimed[5]);
    std::vector<std::uint32_t> order;
    tasks.drain([&order](Task& task) { order.push_back(task.cmd_sn.value() + 4); });
    CHECK(order == std::vector<std::uint32_t>{0, 3, 4, 5, 6, 7});
    CHECK(tasks.used() == 0);
    std::set<Task*> all;
    while (tasks.has_free()) {
        all.insert(&tasks.claim());
    }
    CHECK(all.size() == 8);
}

TEST_CASE("a sequence queue holds what it was made for", "[rfc7143-13.17]") {
    session::SequenceQueue queue(5);
    std::uint32_t in = 0;
    std::uint32_t out = 0;
    for (int round = 0; round < 10; ++round) {
        while (!queue.full()) {
            queue.push({in++, 0, 0, 0, 0});
        }
        CHECK(in - out >= 5);
        for (int i = 0; i < 3; ++i) {
            CHECK(queue.front().itt == out++);
            queue.pop();
        }
    }
    queue.clear();
    CHECK(queue.empty());
}

} // namespace
} // namespace iscsi::testing

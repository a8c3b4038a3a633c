// Whose command is sent next, where more wait than may be sent.
#include "harness.hpp"

#include <algorithm>

namespace iscsi::testing {
namespace {

base::Lun lun_of(std::uint64_t number) {
    return base::Lun(number << 48U);
}

session::Command command_for(std::uint64_t lun) {
    session::Command command;
    command.lun = lun_of(lun);
    return command;
}

} // namespace

TEST_CASE("units take turns, and within a unit it is first come, first served", "[fairness]") {
    std::deque<session::Command> commands;
    session::CommandQueue queue;
    for (std::uint64_t lun : {1U, 1U, 1U, 2U, 3U, 3U}) {
        queue.push(commands.emplace_back(command_for(lun)));
    }
    std::vector<session::Command*> order;
    const auto take = [&] {
        CHECK(queue.front() != nullptr);
        const session::Command* front = queue.front();
        order.push_back(queue.pop());
        CHECK(order.back() == front);
    };
    take();
    take();
    queue.push(commands.emplace_back(command_for(2))); // it had its turn: behind 3 and 1
    while (!queue.empty()) {
        take();
    }
    CHECK(queue.pop() == nullptr);
    std::vector<std::size_t> places;
    for (const session::Command* command : order) {
        places.push_back(static_cast<std::size_t>(
            std::ranges::find_if(commands, [command](auto& one) { return &one == command; }) -
            commands.begin()));
    }
    CHECK(places == std::vector<std::size_t>{0, 3, 4, 1, 6, 5, 2});
}

TEST_CASE("what was held back goes before all others, in its order", "[fairness]") {
    std::deque<session::Command> commands;
    session::CommandQueue queue;
    session::CommandList held;
    queue.push(commands.emplace_back(command_for(1)));
    held.push(commands.emplace_back(command_for(2)));
    held.push(commands.emplace_back(command_for(2)));
    queue.prepend(held);
    CHECK(held.empty());
    CHECK(queue.pop() == &commands[1]);
    CHECK(queue.pop() == &commands[2]);
    CHECK(queue.pop() == &commands[0]);
    CHECK(queue.empty());
}

TEST_CASE("units whose numbers are far from each other take turns, too", "[fairness]") {
    // Flat space, and more numbers than there are turns: none is lost.
    std::deque<session::Command> commands;
    session::CommandQueue queue;
    for (std::uint64_t number = 0; number < 300; ++number) {
        queue.push(commands.emplace_back(command_for(number < 256 ? number : 0x4000 + number)));
    }
    std::size_t count = 0;
    while (queue.pop() != nullptr) {
        ++count;
    }
    CHECK(count == commands.size());
}

TEST_CASE("a command does not wait for all the data that the target has asked for", "[fairness]") {
    PairConfig config = wrapping_config();
    config.session.session.initial_r2t = true;
    config.session.session.immediate_data = false;
    config.session.session.max_burst_bytes = 60000;
    config.session.connection.max_xmit_data_segment_bytes = 4096;
    Pair pair(config);
    std::deque<Io> writes(8);
    for (std::size_t i = 0; i < writes.size(); ++i) {
        writes[i].write(i * 60000, pattern(60000, static_cast<std::uint32_t>(i)));
        pair.submit(writes[i].command);
    }
    REQUIRE(pair.send());
    REQUIRE(pair.receive()); // R2Ts for all of them
    Io read;
    read.read(0, 512);
    read.command.lun = lun_of(5);
    pair.submit(read.command);
    pair.target.keep_log = true;
    while (pair.send()) {
    }
    const auto place = std::ranges::find_if(pair.target.log, [](const wire::Bhs& header) {
        return header.opcode() == wire::Opcode::scsi_command;
    });
    REQUIRE(place != pair.target.log.end());
    CHECK(place - pair.target.log.begin() <= 1);
    CHECK(pair.target.log.size() == 8 * 15 + 1);
    pair.run();
    CHECK(completions(pair.session).size() == writes.size() + 1);
    CHECK(complaints(pair.target).empty());
}

TEST_CASE("writes that are refused behind a long one leave room for what the target asks for next",
          "[fairness][rfc7143-11.8]") {
    PairConfig config = wrapping_config();
    config.session.tasks = 4;
    config.session.session.immediate_data = false;
    config.session.session.max_burst_bytes = 262144;
    config.session.connection.max_xmit_data_segment_bytes = 4096;
    Pair pair(config);
    pair.wire.iovecs = 2; // a PDU at a time
    pair.target.keep_log = true;
    pair.target.intercept = [](const wire::Bhs&, base::Bytes) { return true; };
    std::deque<Io> writes(10);
    const auto ask_for = [&](Io& write, std::uint32_t bytes) {
        write.write(0, pattern(bytes, 1));
        pair.submit(write.command);
        pair.target.log.clear();
        const auto is_command = [](const wire::Bhs& header) {
            return header.opcode() == wire::Opcode::scsi_command;
        };
        while (std::ranges::none_of(pair.target.log, is_command)) {
            REQUIRE(pair.send());
        }
        wire::R2t r2t;
        r2t.lun = test_lun.value();
        r2t.itt = newest_itt(pair.target);
        r2t.ttt = 5;
        r2t.desired_data_transfer_length = bytes;
        pair.target.send(pair.target.stamped(r2t, FakeTarget::Status::shows));
        return r2t.itt;
    };
    ask_for(writes[0], 262144);
    for (std::size_t i = 1; i < writes.size(); ++i) {
        const auto itt = ask_for(writes[i], 4096);
        pair.target.send(pair.target.response_to(itt, 2));
        while (pair.receive()) {
        }
        REQUIRE(pair.result);
        REQUIRE(completions(pair.session).size() == 1);
    }
    CHECK(pair.send()); // of the long one there is still some
}

} // namespace iscsi::testing

// The end of a connection with commands in every state.
#include "harness.hpp"

namespace iscsi::testing {
namespace {

using session::Outcome;

TEST_CASE("abandon gives every command back once, in the order of submission", "[abandon]") {
    for (std::uint32_t seed = 0; seed < 60; ++seed) {
        PairConfig config = wrapping_config();
        config.session.tasks = 8;
        config.session.session.initial_r2t = false;
        config.session.connection.max_recv_data_segment_bytes = 20000;
        config.target.hold = true;
        Pair pair(config, seed);
        pair.wire.random = true;
        pair.wire.chunk_max = 9000;
        pair.wire.iovecs = 6;
        std::deque<Io> ios(20);
        std::uint32_t turn = 0;
        for (Io& io : ios) {
            if (++turn % 2 == 0) {
                io.read(0, 15000);
            } else {
                io.write(0, pattern(15000, turn));
            }
            pair.submit(io.command);
        }
        std::map<session::Command*, Outcome> ended;
        auto collect = [&pair, &ended] {
            std::vector<session::Command*> order = completions(pair.session);
            for (session::Command* command : order) {
                CHECK(ended.emplace(command, command->outcome).second);
            }
            return order;
        };
        for (std::uint32_t step = 0; step < seed; ++step) {
            pair.send();
            pair.receive();
            if (pair.target.held() > 0 && step % 3 == 0) {
                pair.target.execute(pair.rng() % pair.target.held());
            }
        }
        collect();
        pair.session.abandon();
        std::vector<session::Command*> rest = collect();
        std::size_t next = 0;
        for (const Io& io : ios) {
            if (next < rest.size() && rest[next] == &io.command) {
                ++next;
            }
        }
        CHECK(next == rest.size());
        CHECK(ended.size() == ios.size());
        CHECK(pair.session.idle());
        std::array<iovec, 4> out{};
        CHECK(pair.session.tx_spans(out).empty());
        CHECK(pair.session.rx_spans().staging.empty());
        CHECK_FALSE(pair.session.deadline());
        Io late;
        late.read(0, 16);
        pair.submit(late.command);
        CHECK(completions(pair.session).size() == 1);
        CHECK(late.command.outcome == Outcome::lost);
        pair.session.abandon();
    }
}

TEST_CASE("a command whose status had come keeps it when the connection ends", "[abandon]") {
    Pair pair(wrapping_config());
    pair.target.intercept = [&pair](const wire::Bhs& header, base::Bytes) {
        if (header.opcode() == wire::Opcode::scsi_command) {
            pair.target.send(pair.target.response_to(header.itt));
        }
        return true;
    };
    Io io;
    io.write(0, pattern(4096, 1));
    pair.submit(io.command);
    REQUIRE(pair.put() > 0); // All of it is at the target, and the send is not reported yet.
    pair.receive();
    CHECK(completions(pair.session).empty());
    pair.session.abandon();
    REQUIRE(completions(pair.session).size() == 1);
    CHECK(io.command.outcome == Outcome::responded);
}

} // namespace
} // namespace iscsi::testing

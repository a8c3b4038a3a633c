// Which command a session names as the cause of its end.
#include "management_bench.hpp"
#include "scene.hpp"

namespace iscsi::testing {
namespace {

using Bench = ManagementBench;
using session::Outcome;

/// Ends the session, and says which of the commands that come back as lost bears the blame.
std::vector<const session::Command*> blamed(Pair& pair) {
    REQUIRE_FALSE(pair.result);
    pair.session.abandon();
    std::vector<const session::Command*> all;
    for (session::Command* command : completions(pair.session)) {
        CHECK((command->outcome == Outcome::lost || !command->blamed));
        if (command->blamed) {
            all.push_back(command);
        }
    }
    return all;
}

using Blamed = std::vector<const session::Command*>;

TEST_CASE("a command whose answer breaks a rule is to blame, and none beside it", "[TMF-02][SEQ-08]") {
    PairConfig config = wrapping_config();
    config.session.session.immediate_data = false;
    Scene scene(config);
    Io other;
    other.read(0, 64);
    scene.pair.submit(other.command);
    bool reads = GENERATE(false, true);
    if (reads) {
        scene.read(64);
    } else {
        scene.write(4096);
    }
    FakeTarget& target = scene.pair.target;
    wire::ScsiResponse response;
    response.itt = scene.itt;
    auto wrong = GENERATE(0, 1, 2, 3, 4, 5, 6);
    CAPTURE(reads, wrong);
    switch (wrong) {
    case 0: // Residuals that do not fit.
        response.flags |= wire::response_flag::underflow;
        response.residual_count = 5000;
        scene.send(target.stamped(response));
        break;
    case 1: // Nothing came, or went.
        scene.send(target.stamped(response));
        break;
    case 2:
        response.response = 0x55;
        scene.send(target.stamped(response));
        break;
    case 3: // Half a sense length.
        response.status = 2;
        scene.send(target.stamped(response), 1);
        break;
    case 4: // Beyond its length, or for a write.
        scene.send(target.stamped(scene.data_in(0, 4096), FakeTarget::Status::none), 4);
        break;
    case 5: // For a read, or beyond its length.
        scene.send(target.stamped(scene.r2t(4000, 512), FakeTarget::Status::shows));
        break;
    default: // More than we take in one PDU.
        scene.send(target.stamped(scene.data_in(0, 0), FakeTarget::Status::none), 9000);
    }
    CHECK(blamed(scene.pair) == Blamed{&scene.io.command});
}

TEST_CASE("a command that is rejected is to blame", "[TMF-02]") {
    Scene scene;
    scene.read(64);
    wire::Reject reject;
    reject.reason = static_cast<std::uint8_t>(wire::RejectReason::command_not_supported);
    wire::Bhs header = scene.pair.target.log.back();
    REQUIRE(header.opcode() == wire::Opcode::scsi_command);
    scene.pair.target.send(scene.pair.target.stamped(reject), base::bytes_of_object(header));
    scene.pair.run();
    CHECK(blamed(scene.pair) == Blamed{&scene.io.command});
}

TEST_CASE("the command that nothing ended is to blame, not those beside it", "[TMF-02]") {
    Bench bench;
    bench.answer = GENERATE(std::optional<std::uint8_t>(), std::optional<std::uint8_t>(1),
                            std::optional<std::uint8_t>(5));
    Io& stuck = bench.read();
    bench.pair.advance(1s);
    bench.read();
    bench.pair.advance(30s + 15s + 20s + 25s);
    CHECK(blamed(bench.pair) == Blamed{&stuck.command});
}

TEST_CASE("a command that has ended while its unit was reset is not to blame", "[TMF-02]") {
    PairConfig config = recovery_config();
    config.session.recovery.abort_task = 0s;
    Bench bench(config);
    bench.read();
    Io& next = bench.read(other_lun);
    bench.pair.advance(30s);
    bench.pair.target.execute(0);
    bench.pair.run();
    CHECK(bench.done().size() == 1);
    bench.pair.advance(20s + 25s);
    CHECK(blamed(bench.pair).empty());
    CHECK(next.command.outcome == Outcome::lost);
}

TEST_CASE("nobody is to blame when the connection or another PDU was the reason", "[TMF-02]") {
    PairConfig config = ping_config();
    config.session.connection.data_digest = true;
    Scene scene(config);
    scene.read(64);
    auto wrong = GENERATE(0, 1, 2, 3);
    CAPTURE(wrong);
    FakeTarget& target = scene.pair.target;
    switch (wrong) {
    case 0: // Silence.
        target.intercept = [](const wire::Bhs&, base::Bytes) { return true; };
        scene.pair.advance(12s);
        break;
    case 1: // Damage on the way.
        target.damage = [](std::vector<std::byte>& raw) { raw.back() ^= std::byte{1}; };
        scene.send(target.stamped(scene.data_in(0, 0), FakeTarget::Status::none), 64);
        break;
    case 2: // Of a task that is not there.
        scene.send(target.stamped(wire::ScsiResponse{}));
        break;
    default: // A status before it is lost.
        ++target.stat_sn;
        scene.send(target.response_to(scene.itt));
    }
    CHECK(blamed(scene.pair).empty());
}

TEST_CASE("who is to blame once is not for ever", "[TMF-02]") {
    Scene scene;
    scene.read(64);
    wire::ScsiResponse response;
    response.itt = scene.itt;
    scene.send(scene.pair.target.stamped(response));
    CHECK(blamed(scene.pair) == Blamed{&scene.io.command});
    Pair anew(wrapping_config());
    anew.submit(scene.io.command);
    anew.run();
    CHECK(completions(anew.session).size() == 1);
    CHECK_FALSE(scene.io.command.blamed);
}

} // namespace
} // namespace iscsi::testing

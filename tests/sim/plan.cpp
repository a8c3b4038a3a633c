#include "sim/plan.hpp"

#include <algorithm>
#include <chrono>

namespace iscsi::sim {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

void draw_negotiation(Plan& plan, Dice& dice) {
    login::Offers& offers = plan.offers;
    const bool digests = dice.one_in(4);
    offers.header_digest = digests ? "CRC32C" : "None";
    offers.data_digest = digests ? "CRC32C" : "None";
    offers.initial_r2t = dice.one_in(3);
    offers.immediate_data = !dice.one_in(4);
    constexpr std::uint32_t bursts[] = {512, 1024, 2048, 4096, 8192, 65536};
    offers.max_burst_bytes = dice.pick(bursts);
    offers.first_burst_bytes = std::min(dice.pick(bursts), offers.max_burst_bytes);
    constexpr std::uint32_t segments[] = {512, 1024, 1536, 4096, 8192, 65536};
    offers.max_recv_data_segment_bytes = dice.pick(segments);
    offers.max_outstanding_r2t = static_cast<std::uint16_t>(dice.between(1, 4));
    offers.time2wait_s = static_cast<std::uint16_t>(dice.below(3));
    plan.target_segment_bytes = dice.pick(segments);
    plan.target_max_burst = dice.pick(bursts);
    plan.target_first_burst = std::min(dice.pick(bursts), plan.target_max_burst);
    plan.target_initial_r2t = dice.one_in(3);
    plan.target_immediate_data = !dice.one_in(4);
    plan.target_r2ts = static_cast<std::uint16_t>(dice.between(1, 4));
    plan.cmd_sn = dice.one_in(4) ? 0xffffffff - dice.below(16) : dice.below(1000);
    plan.stat_sn = dice.one_in(4) ? 0xffffffff - dice.below(16) : dice.below(1000);
    constexpr std::uint32_t windows[] = {1, 2, 4, 16};
    plan.window = dice.pick(windows);
}

void draw_unit(Plan& plan, Dice& dice) {
    constexpr std::uint32_t sizes[] = {16, 32, 128};
    plan.blocks = dice.pick(sizes);
    constexpr std::uint32_t transfers[] = {0, 0, 1, 4, 8};
    plan.max_transfer_blocks = dice.pick(transfers);
    plan.write_cache = dice.one_in(2);
    plan.dpofua = !dice.one_in(3);
    plan.lbprz = dice.one_in(2);
}

void draw_users(Plan& plan, Dice& dice) {
    constexpr std::uint32_t tasks[] = {2, 4, 16};
    plan.tasks = dice.pick(tasks);
    constexpr std::uint32_t depths[] = {1, 2, 4, 8};
    plan.depth = dice.pick(depths);
    plan.holds = dice.one_in(2);
    plan.pings = !dice.one_in(4);
    constexpr std::uint32_t timeouts[] = {1, 5, 120, 120, 120};
    plan.replacement_timeout_s = dice.pick(timeouts);
    plan.command_timeout_s = dice.one_in(2) ? 30 : 2;
    plan.requests = dice.between(4, 14);
    constexpr std::uint32_t lengths[] = {1, 4, 8, 32};
    plan.blocks_at_a_time = std::min(dice.pick(lengths), plan.blocks);
    if (plan.blocks_at_a_time == 32 && plan.depth == 8) {
        // Payloads of which a stream waits for much before it is woken.
        plan.blocks_at_a_time = plan.blocks;
        plan.max_transfer_blocks = 0;
        plan.offers.max_recv_data_segment_bytes = 65536;
        plan.offers.max_burst_bytes = 65536;
        plan.target_max_burst = 65536;
    }
    constexpr microseconds pauses[] = {microseconds(0), microseconds(100), microseconds(10000),
                                       microseconds(1000000)};
    plan.pause_max = dice.pick(pauses);
    constexpr microseconds executions[] = {microseconds(0), microseconds(50), microseconds(5000),
                                           microseconds(500000)};
    plan.execution_max = dice.pick(executions);
}

void draw_network(Plan& plan, Dice& dice) {
    Network& network = plan.network;
    constexpr microseconds delays[] = {microseconds(0), microseconds(100), microseconds(5000),
                                       microseconds(300000)};
    network.delay_max = dice.pick(delays);
    constexpr std::uint32_t pieces[] = {0, 0, 8192, 2048, 300};
    network.piece_max = dice.pick(pieces);
    constexpr std::uint32_t buffers[] = {1U << 20, 16384, 3000, 700};
    network.send_buffer = dice.pick(buffers);
    plan.bad_connections = dice.one_in(2) ? 0 : dice.between(1, 3);
}

void draw_faults(Plan& plan, Dice& dice) {
    for (FateOf& fate : plan.fates) {
        if (dice.one_in(2)) {
            fate.command = dice.below(20);
            fate.fate = static_cast<Fate>(dice.below(static_cast<std::uint32_t>(Fate::count)));
        }
    }
    for (MishapAt& mishap : plan.mishaps) {
        constexpr microseconds when[] = {microseconds(1000), microseconds(50000), microseconds(2000000),
                                         microseconds(10000000)};
        const std::uint64_t at = 1 + dice.below(static_cast<std::uint64_t>(dice.pick(when).count()));
        if (dice.one_in(3)) {
            mishap.at = microseconds(at);
            mishap.mishap = static_cast<Mishap>(dice.below(static_cast<std::uint32_t>(Mishap::count)));
        }
    }
}

} // namespace

Plan make_plan(Dice& dice) {
    Plan plan;
    draw_negotiation(plan, dice);
    draw_unit(plan, dice);
    draw_users(plan, dice);
    draw_network(plan, dice);
    draw_faults(plan, dice);
    return plan;
}

} // namespace iscsi::sim

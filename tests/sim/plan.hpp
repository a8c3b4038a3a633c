// One schedule as its seed has drawn it: what is negotiated, how the network and the target behave, which
// faults happen when, how many requests there are. What happens between (sizes of pieces, delays, which
// request comes next) is drawn from the same dice as it goes. Values; one thread.
#pragma once

#include "base/time.hpp"
#include "login/negotiation.hpp"
#include "sim/dice.hpp"
#include "sim/socket.hpp"

#include <array>
#include <cstdint>

namespace iscsi::sim {

/// What a command meets at the target instead of a plain answer.
enum class Fate : std::uint8_t {
    plain,
    busy,            ///< BUSY
    task_set_full,   ///< TASK SET FULL
    attention,       ///< a unit attention; not executed
    aborted,         ///< ABORTED COMMAND; of a write any part may have been done
    recovered,       ///< done, with RECOVERED ERROR
    short_transfer,  ///< good status, and less data than asked for
    target_failure,  ///< iSCSI response 01h
    medium_error,    ///< MEDIUM ERROR, unrecovered
    hardware_error,  ///< HARDWARE ERROR
    unsupported,     ///< ILLEGAL REQUEST, of UNMAP and WRITE SAME
    silence,         ///< never answered, not executed; task management ends it
    done_in_silence, ///< executed, never answered
    repeated_status, ///< the same answer once more, in breach of the RFC
    wrong_data_sn,   ///< Data-In that skips a DataSN, in breach of the RFC
    wrong_offset,    ///< Data-In at a wrong offset, in breach of the RFC
    lost_status,     ///< a StatSN is left out, in breach of the RFC
    count,
};

/// What happens to the target at a moment of its own.
enum class Mishap : std::uint8_t {
    reset,          ///< the connection breaks
    silence,        ///< nothing arrives any more, and nobody is told
    restart,        ///< the target starts anew, with what its medium and its cache hold
    power_loss,     ///< the target starts anew, without what was in its cache
    stranger,       ///< another unit answers in its place for a while, after a start
    nop_in,         ///< a NOP-In that wants an answer
    window_note,    ///< a NOP-In that wants none
    logout_request, ///< asynchronous message: log out
    session_drop,   ///< asynchronous message: all connections end
    scsi_event,     ///< asynchronous message: a unit attention
    count,
};

struct FateOf {
    std::uint32_t command = 0; ///< the how many-th one
    Fate fate = Fate::plain;
};

struct MishapAt {
    base::Duration at{};
    Mishap mishap = Mishap::reset;
};

struct Plan {
    // Negotiation.
    login::Offers offers;
    std::uint32_t target_segment_bytes = 8192;
    std::uint32_t target_max_burst = 262144;
    std::uint32_t target_first_burst = 65536;
    bool target_initial_r2t = false;
    bool target_immediate_data = true;
    std::uint16_t target_r2ts = 1;
    std::uint32_t cmd_sn = 1;
    std::uint32_t stat_sn = 1;
    std::uint32_t window = 32;

    // The unit.
    std::uint32_t blocks = 64;
    std::uint32_t max_transfer_blocks = 0;
    bool write_cache = false;
    bool dpofua = true;
    bool lbprz = true;

    // The initiator.
    std::uint32_t tasks = 16;
    std::uint32_t depth = 4;
    bool holds = false; ///< the block queue keeps requests while the path is down
    bool pings = true;
    std::uint32_t replacement_timeout_s = 120;
    std::uint32_t command_timeout_s = 30;

    // The workload.
    std::uint32_t requests = 10;
    std::uint32_t blocks_at_a_time = 8;
    base::Duration pause_max{}; ///< between two requests

    // What goes wrong.
    Network network;
    std::uint32_t bad_connections = 0; ///< the first ones of the schedule are cut or damaged
    std::array<FateOf, 4> fates{};
    std::array<MishapAt, 3> mishaps{};
    base::Duration execution_max{}; ///< how long a command may take at the target
};

Plan make_plan(Dice& dice);

} // namespace iscsi::sim

// What belongs to one connection of a session and dies with it: StatSN, digests and segment limits, the two
// halves of the stream, and the small requests that go out ahead of commands. The session has one today.
// One thread (that of the session). RFC 7143 sections 4.2.2.2 and 11.18.
#pragma once

#include "base/result.hpp"
#include "base/serial.hpp"
#include "base/time.hpp"
#include "base/units.hpp"
#include "session/receiver.hpp"
#include "session/statistics.hpp"
#include "session/transmitter.hpp"
#include "wire/parameters.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace iscsi::session {

/// An answer to a NOP-In of the target, still to be sent.
struct Pong {
    std::uint64_t lun = 0;
    std::uint32_t ttt = base::reserved_tag;
};

struct Connection {
    Connection(const wire::ConnectionParameters& connection, base::Cid id, base::StatSn next_status)
        : parameters(connection), cid(id), exp_stat_sn(next_status), receiver(connection),
          transmitter(connection) {}

    /// The StatSN of a PDU that takes one; false when it is not the next.
    bool take_status(base::StatSn stat_sn) {
        if (stat_sn != exp_stat_sn) [[unlikely]] {
            return false;
        }
        ++exp_stat_sn;
        ++unacknowledged;
        return true;
    }
    /// Why take_status refused it.
    tl::unexpected<base::Error> status_gap(base::StatSn stat_sn) const;

    /// ExpStatSN for a PDU that is being made; counts as told.
    std::uint32_t acknowledge() {
        unacknowledged = 0;
        return exp_stat_sn.value();
    }

    const wire::ConnectionParameters parameters;
    const base::Cid cid;
    base::StatSn exp_stat_sn;
    std::uint32_t unacknowledged = 0; ///< statuses received since a PDU of ours carried ExpStatSN
    Receiver receiver;
    Transmitter transmitter;

    std::array<Pong, 16> pongs; ///< the first pong_count wait to be sent
    std::size_t pong_count = 0;

    base::TimePoint last_receive;
    std::optional<base::TimePoint> ping_since; ///< our NOP-Out was asked for and is not answered
    bool ping_queued = false;                  ///< and has not been made yet
    std::uint32_t ping_itt = 0;
};

} // namespace iscsi::session

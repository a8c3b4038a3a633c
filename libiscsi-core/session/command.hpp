// One SCSI command on its way through a session: any CDB with its data direction. The submitter owns it, and
// the memory its data spans name, from submit until next_completion has given it back; the session links it
// into its queues without allocating. One thread (that of the session).
#pragma once

#include "base/bytes.hpp"
#include "base/data_sink.hpp"
#include "base/limits.hpp"
#include "base/registered_span.hpp"
#include "base/time.hpp"
#include "base/units.hpp"

#include <array>
#include <cstdint>

namespace iscsi::session {

enum class Direction : std::uint8_t { none, in, out };

/// SAM-5 task attributes as RFC 7143 section 11.3.1 numbers them.
enum class TaskAttribute : std::uint8_t { untagged = 0, simple = 1, ordered = 2, head_of_queue = 3, aca = 4 };

/// How a command ended, before SCSI has a say.
enum class Outcome : std::uint8_t {
    pending,        ///< not ended
    responded,      ///< the target sent status (and perhaps sense)
    target_failure, ///< iSCSI response code other than "completed at target"; `response` has it, the status
                    ///< means nothing
    lost,           ///< the connection ended first; whether the target executed it is not known
    aborted,        ///< its time was over and task management ended it: it may have been executed, but will
                    ///< not be any more. `status` is TASK ABORTED, for who looks no further
};

/// Data of which this much comes in a segment are better received with no more than the next header behind
/// them: what staging takes of them has to be copied, which costs more than a receive for each segment.
inline constexpr std::uint32_t long_segment_bytes_min = 32U * 1024;

class Session;

struct Command {
    // What to do; set by the submitter.
    base::Lun lun;
    std::array<std::byte, 16> cdb{};
    std::uint8_t cdb_bytes = 0; ///< meaningful length of cdb; the rest is zero
    Direction direction = Direction::none;
    TaskAttribute attribute = TaskAttribute::simple;
    base::MutableBytes
        data_in; ///< Direction::in: where read data goes; its size is the expected data transfer length
    base::DataSink* sink = nullptr; ///< Direction::in: takes the read data; data_in is empty then
    std::uint64_t sink_offset = 0;  ///< where in it this command's data begin
    std::size_t sink_bytes = 0;     ///< with a sink: the expected data transfer length
    base::Bytes data_out; ///< Direction::out: what is written; its size is the expected data transfer length
    base::RegisteredSpan registered; ///< where the data are in place of data_out, or may go beside `sink`;
                                     ///< only for a session without data digests
    base::Duration timeout{}; ///< from being sent to its end; 0 = the session's (RecoveryTimeouts::command)

    /// The expected data transfer length.
    std::size_t read_bytes() const { return sink != nullptr ? sink_bytes : data_in.size(); }
    std::size_t write_bytes() const { return registered.empty() ? data_out.size() : registered.bytes; }

    // What came of it; set by the session.
    Outcome outcome = Outcome::pending;
    std::uint8_t response = 0;         ///< iSCSI service response (RFC 7143 section 11.4.3)
    std::uint8_t status = 0;           ///< SAM-5 status
    std::uint32_t underflow_bytes = 0; ///< residual count when U is set
    std::uint32_t overflow_bytes = 0;  ///< residual count when O is set
    std::uint32_t received_bytes = 0;  ///< Data-In bytes that were placed
    std::uint16_t sense_bytes = 0;     ///< of `sense`
    bool blamed = false; ///< with Outcome::lost: this command is why the session ended. The target broke a
                         ///< rule in its answer, or nothing ended it in time; sent anew it may well do that
                         ///< again. At most one command of a session is; none when the network or a PDU of no
                         ///< task was the reason
    std::array<std::byte, base::limits::sense_bytes_max> sense;

    // Linkage, private to the session.
    Command* next = nullptr;
};

/// Its data have a place other than a sink, and may come in long segments.
inline bool is_long_read(const Command& command) {
    return command.direction == Direction::in &&
           (!command.registered.empty() || command.data_in.size() >= long_segment_bytes_min);
}

} // namespace iscsi::session

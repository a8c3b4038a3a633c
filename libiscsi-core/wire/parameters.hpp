// What login negotiation leaves behind, in two halves that live as long as what they describe: the session's
// and the connection's (RFC 7143 section 13). login fills them in, session obeys them. Plain values; any
// thread.
#pragma once

#include "base/serial.hpp"
#include "base/units.hpp"

#include <cstdint>

namespace iscsi::wire {

/// Session-wide results; the defaults are the RFC's.
struct SessionParameters {
    bool initial_r2t = true;                 ///< InitialR2T: no unsolicited Data-Out
    bool immediate_data = true;              ///< ImmediateData
    std::uint32_t max_burst_bytes = 262144;  ///< MaxBurstLength
    std::uint32_t first_burst_bytes = 65536; ///< FirstBurstLength
    std::uint16_t max_outstanding_r2t = 1;   ///< MaxOutstandingR2T, of one task
    std::uint16_t max_connections = 1;       ///< MaxConnections
    std::uint16_t time2wait_s = 2;           ///< DefaultTime2Wait
    std::uint16_t time2retain_s = 20;        ///< DefaultTime2Retain
    std::uint8_t error_recovery_level = 0;   ///< ErrorRecoveryLevel
    bool data_pdu_in_order = true;           ///< DataPDUInOrder
    bool data_sequence_in_order = true;      ///< DataSequenceInOrder
};

/// Results that hold for one connection.
struct ConnectionParameters {
    bool header_digest = false; ///< CRC32C behind every header, from the first full-feature PDU
    bool data_digest = false;   ///< CRC32C behind every data segment
    std::uint32_t max_recv_data_segment_bytes = 8192; ///< what we declared: the longest data segment we take
    std::uint32_t max_xmit_data_segment_bytes = 8192; ///< what the target declared: the longest we may send
};

/// Where the numbering stands when full feature phase begins.
struct SequenceNumbers {
    base::CmdSn cmd_sn;       ///< CmdSN of the next non-immediate command
    base::CmdSn exp_cmd_sn;   ///< ExpCmdSN of the final Login Response
    base::CmdSn max_cmd_sn;   ///< MaxCmdSN of the final Login Response
    base::StatSn exp_stat_sn; ///< next StatSN expected from the target
};

} // namespace iscsi::wire

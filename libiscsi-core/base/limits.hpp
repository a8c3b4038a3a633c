// Every bound in the program that is not a row of the record table. A bound here is a promise to the
// machine's memory: what a peer or a file can make us hold. Sources are named; the others are our choice.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace iscsi::base::limits {

// Names (RFC 7143 section 4.2.7.1).
inline constexpr std::size_t name_bytes_max = 223;
inline constexpr std::size_t iface_name_bytes_max = 64;
inline constexpr std::size_t host_name_bytes_max = 255;

// Text negotiation (RFC 7143 sections 6.1 and 6.2).
inline constexpr std::size_t key_name_bytes_max = 63;
inline constexpr std::size_t login_text_bytes_max =
    std::size_t{64} * 1024; ///< of one negotiation, C-bit parts together
inline constexpr std::size_t login_exchanges_max = 64;
inline constexpr std::uint32_t login_data_segment_max =
    8192; ///< default MaxRecvDataSegmentLength, binding in login
inline constexpr std::size_t send_targets_bytes_max = std::size_t{16} * 1024 * 1024;
inline constexpr std::size_t discovered_targets_max = std::size_t{64} * 1024;
inline constexpr std::size_t redirects_max = 10;

// CHAP (RFC 7143 section 12.1.3).
inline constexpr std::size_t chap_binary_bytes_max = 1024;
inline constexpr std::size_t chap_name_bytes_max = 255;
inline constexpr std::size_t chap_secret_bytes_max = 255;
inline constexpr std::size_t chap_challenge_bytes = 32;

// Full feature phase.
inline constexpr std::uint32_t data_segment_max =
    (1U << 24) - 1;                            ///< largest DataSegmentLength (24-bit field)
inline constexpr std::size_t tasks_max = 2048; ///< node.session.cmds_max's upper bound
inline constexpr std::size_t staging_bytes = std::size_t{128} * 1024; ///< receive staging of one connection
inline constexpr std::size_t sense_bytes_max = 252;                   ///< SPC-4 4.5.1
inline constexpr std::size_t luns_max = std::size_t{16} * 1024;       ///< of one REPORT LUNS answer

// SCSI.
inline constexpr unsigned scsi_retries_max = 5;     ///< of one command (a request can be many), after errors
inline constexpr unsigned scsi_attentions_max = 10; ///< unit attentions that one command may run into
inline constexpr std::uint32_t scsi_transfer_bytes_max = 1U << 20; ///< of one READ or WRITE; requests are cut
inline constexpr std::chrono::seconds scsi_busy_deadline{60};    ///< a command is not delayed for longer; one
                                                                 ///< that a session took along starts anew
inline constexpr std::chrono::seconds scsi_scan_timeout{30};     ///< of one command of the scan
inline constexpr std::chrono::milliseconds scsi_busy_delay{100}; ///< after BUSY
inline constexpr std::chrono::milliseconds scsi_queue_full_delay{10}; ///< after TASK SET FULL
inline constexpr std::chrono::milliseconds scsi_ready_delay{1000};    ///< while a unit becomes ready

// Block side.
inline constexpr std::uint32_t block_request_bytes_max =
    32U << 20;                                             ///< the NBD protocol's default maximum payload
inline constexpr std::size_t nbd_clients_max = 64;         ///< of one export
inline constexpr std::size_t nbd_requests_max = 128;       ///< in progress for one client
inline constexpr std::size_t shard_pool_bytes = 64U << 20; ///< data pool shared by a shard's LUNs

// Records and requests.
inline constexpr std::size_t record_key_bytes_max = 127;
inline constexpr std::size_t record_value_bytes_max = 255;
inline constexpr std::size_t record_line_bytes_max = 2047;
inline constexpr std::size_t record_file_bytes_max = std::size_t{1024} * 1024;
inline constexpr std::size_t ipc_line_bytes_max = std::size_t{16} * 1024 * 1024;
inline constexpr std::size_t ipc_clients_max = 256;
inline constexpr std::size_t state_file_bytes_max =
    std::size_t{64} * 1024 * 1024; ///< of one session: luns_max units of some 1.5 KiB fit

static_assert(nbd_requests_max <= tasks_max);
static_assert(block_request_bytes_max <= shard_pool_bytes);

} // namespace iscsi::base::limits

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
inline constexpr std::size_t watched_portals_max = 4096; ///< of a discovery record that is watched
inline constexpr std::size_t watched_logins_max = 16;    ///< that such a record has under way
inline constexpr std::size_t redirects_max = 10;

// iSNS. Of one message that comes over TCP, all its PDUs together; a UDP datagram has no more than fits.
inline constexpr std::size_t isns_message_bytes_max = std::size_t{16} * 1024 * 1024;
inline constexpr std::size_t isns_datagram_bytes_max = std::size_t{64} * 1024;
inline constexpr std::size_t isns_unasked_max = 64; ///< messages of a server that come with one answer

// CHAP (RFC 7143 section 12.1.3).
inline constexpr std::size_t chap_binary_bytes_max = 1024;
inline constexpr std::size_t chap_name_bytes_max = 255;
inline constexpr std::size_t chap_secret_bytes_max = 255;
inline constexpr std::size_t chap_challenge_bytes = 32;

// Full feature phase.
inline constexpr std::uint32_t data_segment_max =
    (1U << 24) - 1;                            ///< largest DataSegmentLength (24-bit field)
inline constexpr std::size_t tasks_max = 2048; ///< node.session.cmds_max's upper bound
inline constexpr std::size_t staging_bytes = std::size_t{132} * 1024; ///< receive staging of one connection:
                                                                      ///< two reads of 64 KiB, with headers
inline constexpr std::size_t sense_bytes_max = 252;                   ///< SPC-4 4.5.1
inline constexpr std::size_t luns_max = std::size_t{16} * 1024;       ///< of one REPORT LUNS answer

// SCSI.
inline constexpr unsigned scsi_retries_max = 5;     ///< of one command (a request can be many), after errors
inline constexpr unsigned scsi_attentions_max = 10; ///< unit attentions that one command may run into
inline constexpr std::uint32_t scsi_transfer_bytes_max = 1U << 20; ///< of one READ or WRITE; requests are cut
inline constexpr std::chrono::seconds scsi_busy_deadline{60};    ///< a command is not delayed for longer; one
                                                                 ///< that a session took along starts anew
inline constexpr std::chrono::seconds scsi_scan_timeout{30};     ///< of one command of the scan
inline constexpr std::chrono::seconds scsi_command_timeout{30};  ///< of one command of a block request, as
                                                                 ///< Linux's sd: then it is aborted
inline constexpr std::chrono::seconds scsi_flush_timeout{60};    ///< of one SYNCHRONIZE CACHE, as Linux's sd
inline constexpr std::chrono::seconds scsi_zeroes_timeout{120};  ///< of what may touch a whole unit: WRITE
                                                                 ///< SAME (as Linux's sd) and UNMAP
inline constexpr std::chrono::milliseconds scsi_busy_delay{100}; ///< after BUSY
inline constexpr std::chrono::milliseconds scsi_queue_full_delay{10}; ///< after TASK SET FULL
inline constexpr std::chrono::milliseconds scsi_delay_max{1000};      ///< delays of one command grow up to it
inline constexpr std::chrono::seconds scsi_depth_raise_pause{10}; ///< without TASK SET FULL; Linux: 120, but
                                                                  ///< one command at a time
/// Until a command that was not answered in time has been aborted, its unit and its target reset and the
/// session given up: node.session.err_timeo of abort, LUN reset and target reset, unless a record has others.
inline constexpr std::chrono::seconds scsi_escalation_time = std::chrono::seconds(15 + 30 + 30);
/// Of one command of the scan, with all that.
inline constexpr std::chrono::seconds scsi_look_max = scsi_scan_timeout + scsi_escalation_time;
/// A unit that nobody could compare is not waited for. A look that was under way when the doubt came has
/// begun too early and does not settle it; the one behind it does.
inline constexpr std::chrono::seconds scsi_doubt_max = 2 * scsi_look_max;
inline constexpr std::chrono::milliseconds scsi_ready_delay{1000}; ///< while a unit becomes ready

// Recovery.
inline constexpr std::chrono::seconds reconnect_timeout{2}; ///< for a connection of a session that was lost;
                                                            ///< the record's login_timeout when it is shorter
inline constexpr std::chrono::milliseconds reconnect_pause_min{150}; ///< from one connection that is tried
                                                                     ///< to the next, of one session
inline constexpr std::chrono::milliseconds reconnect_pause_max{1000};
inline constexpr unsigned reconnects_per_second_max = 500; ///< of all sessions, but for reconnect_pause_max
inline constexpr std::size_t connects_max = 16;            ///< of one try that are in progress
inline constexpr std::size_t host_addresses_max = 16;      ///< of a name, that are tried
inline constexpr std::chrono::milliseconds connect_stagger{250};     ///< from an address that does not answer
                                                                     ///< to the next (RFC 8305 section 5)
inline constexpr std::chrono::milliseconds connect_head_start{1500}; ///< of addresses before those that take
                                                                     ///< connections and answer no login: one
                                                                     ///< SYN may be lost (TCP's first
                                                                     ///< timeout, RFC 6298 section 2, is 1 s)
inline constexpr std::chrono::seconds time2retain_min{20}; ///< that a target is given to drop what it may
                                                           ///< still have of a lost connection: RFC 7143's
                                                           ///< default; one that never noticed the loss
                                                           ///< keeps no shorter one that was negotiated
inline constexpr std::chrono::milliseconds reinstatement_wait{5000}; ///< for the end of a session whose
                                                                     ///< successor has logged in: istgt
                                                                     ///< takes 1 to 2 s
inline constexpr std::chrono::milliseconds reinstatement_slack{100}; ///< between that login and that end,
                                                                     ///< which has to come before it
inline constexpr std::chrono::seconds late_write_wait{2};   ///< from the loss of a session until writes
                                                            ///< are sent again, where no command waits
inline constexpr std::chrono::hours scsi_drain_timeout{24}; ///< of the command that waits for all before
                                                            ///< it: none that matters, because tgtd
                                                            ///< counts wrong when one is aborted that
                                                            ///< waits

// Block side.
inline constexpr std::uint32_t block_request_bytes_max =
    32U << 20;                                             ///< the NBD protocol's default maximum payload
inline constexpr unsigned queues_max = 16;                 ///< of a block device (iscsid.queues)
inline constexpr std::size_t nbd_clients_max = 64;         ///< of one queue of an export
inline constexpr std::size_t nbd_requests_max = 128;       ///< in progress for one client
inline constexpr std::size_t shard_pool_bytes = 64U << 20; ///< data pool shared by a shard's LUNs
inline constexpr std::size_t pools_share = 8; ///< of the machine's memory, the part that all pools may have
                                              ///< (each one holds the largest request all the same)

// Records and requests.
inline constexpr std::size_t record_key_bytes_max = 127;
inline constexpr std::size_t record_value_bytes_max = 255;
inline constexpr std::size_t record_line_bytes_max = 2047;
inline constexpr std::size_t record_file_bytes_max = std::size_t{1024} * 1024;
inline constexpr std::size_t ipc_line_bytes_max = std::size_t{16} * 1024 * 1024;
inline constexpr std::size_t ipc_clients_max = 256;
inline constexpr std::size_t ipc_guests_max = 16; ///< connections of all users but root, beside those
inline constexpr std::size_t ipc_guest_line_bytes_max = 4096;
inline constexpr std::size_t ipc_monitors_max = 16;
/// Events for one that does not read; what comes then is counted and left out.
inline constexpr std::size_t ipc_monitor_backlog_bytes = std::size_t{256} * 1024;
inline constexpr std::size_t state_file_bytes_max =
    std::size_t{64} * 1024 * 1024; ///< of one session: luns_max units of some 1.5 KiB fit

static_assert(nbd_requests_max <= tasks_max);
static_assert(reconnect_pause_min * connects_max >= reconnect_timeout);
static_assert(block_request_bytes_max <= shard_pool_bytes);

} // namespace iscsi::base::limits

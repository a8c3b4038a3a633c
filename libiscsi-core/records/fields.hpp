// The one table of record keys. It serves the database, iscsid.conf, printing and the man pages: a key's
// name, type, defaults, allowed values and range are written down here and nowhere else. The rows stand in
// dump order: a record prints the rows that apply to its kind, from first to last. Names and defaults are the
// interface of open-iscsi 2.1.8. Read-only data; any thread.
#pragma once

#include "base/result.hpp"
#include "base/wiped.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace iscsi::records {

/// What a record describes, and so which rows apply to it.
enum class RecordKind : std::uint8_t {
    node,         ///< a target behind one portal and one interface
    send_targets, ///< a discovery address asked with SendTargets
    isns,         ///< an iSNS server
    iface,        ///< an interface that nodes are bound to
    daemon,       ///< the iscsid.* lines of iscsid.conf; never a file of its own
};

/// One enumerator a row, in the order of the table. node.session. is session_, node.conn[0]. is conn_,
/// discovery.sendtargets. and discovery. are discovery_.
enum class Key : std::uint16_t {
    // clang-format off
    discovery_startup, discovery_type, discovery_address, discovery_port, discovery_authmethod,
    discovery_username, discovery_password, discovery_password_length, discovery_username_in,
    discovery_password_in, discovery_password_in_length,

    node_name, node_tpgt, node_startup, node_leading_login,

    iface_name, iface_net_ifacename, iface_ipaddress, iface_prefix_len, iface_hwaddress,
    iface_transport_name, iface_initiatorname, iface_state, iface_vlan_id, iface_vlan_priority,
    iface_vlan_state, iface_iface_num, iface_mtu, iface_port,
    iface_bootproto, iface_subnet_mask, iface_gateway, iface_dhcp_alt_client_id_state,
    iface_dhcp_alt_client_id, iface_dhcp_dns, iface_dhcp_learn_iqn, iface_dhcp_req_vendor_id_state,
    iface_dhcp_vendor_id_state, iface_dhcp_vendor_id, iface_dhcp_slp_da, iface_fragmentation,
    iface_gratuitous_arp, iface_incoming_forwarding, iface_tos_state, iface_tos, iface_ttl,
    iface_ipv6_autocfg, iface_linklocal_autocfg, iface_router_autocfg, iface_ipv6_linklocal,
    iface_ipv6_router, iface_dup_addr_detect_cnt, iface_flow_label, iface_gratuitous_neighbor_adv,
    iface_hop_limit, iface_mld, iface_nd_reachable_tmo, iface_nd_rexmit_time, iface_nd_stale_tmo,
    iface_router_adv_link_mtu, iface_traffic_class,
    iface_delayed_ack, iface_tcp_nagle, iface_tcp_wsf_state, iface_tcp_wsf, iface_tcp_timer_scale,
    iface_tcp_timestamp, iface_redirect, iface_def_task_mgmt_timeout, iface_header_digest,
    iface_data_digest, iface_immediate_data, iface_initial_r2t, iface_data_seq_inorder,
    iface_data_pdu_inorder, iface_erl, iface_max_receive_data_len, iface_first_burst_len,
    iface_max_outstanding_r2t, iface_max_burst_len, iface_chap_auth, iface_bidi_chap,
    iface_strict_login_compliance, iface_discovery_auth, iface_discovery_logout,

    node_discovery_address, node_discovery_port, node_discovery_type,
    session_initial_cmdsn, session_initial_login_retry_max, session_xmit_thread_priority,
    session_cmds_max, session_queue_depth, session_nr_sessions,
    session_authmethod, session_username, session_password, session_password_length,
    session_username_in, session_password_in, session_password_in_length, session_chap_algs,
    session_replacement_timeout, session_abort_timeout, session_lu_reset_timeout,
    session_tgt_reset_timeout, session_host_reset_timeout,
    session_fast_abort, session_initial_r2t, session_immediate_data, session_first_burst_length,
    session_max_burst_length, session_default_time2retain, session_default_time2wait,
    session_max_connections, session_max_outstanding_r2t, session_erl, session_scan,
    session_reopen_max, session_reopen_log_freq,
    conn_address, conn_port, conn_startup, conn_window_size, conn_type_of_service,
    conn_congestion_control, conn_logout_timeout, conn_login_timeout, conn_auth_timeout,
    conn_noop_out_interval, conn_noop_out_timeout, conn_max_xmit_data_segment_length,
    conn_max_recv_data_segment_length, conn_header_digest, conn_data_digest, conn_if_marker,
    conn_of_marker,

    discovery_login_timeout, discovery_use_discoveryd, discovery_poll_interval, discovery_reopen_max,
    discovery_auth_timeout, discovery_active_timeout, discovery_max_recv_data_segment_length,
    isns_use_discoveryd, isns_poll_interval,

    daemon_startup, daemon_safe_logout, daemon_ipc_auth_uid, daemon_shards, daemon_queues, daemon_block,
    daemon_ublk_zero_copy_min_kb,
    daemon_rediscovery, daemon_db_dir,
    // clang-format on
};

inline constexpr std::size_t key_count = static_cast<std::size_t>(Key::daemon_db_dir) + 1;

enum class Type : std::uint8_t {
    text,    ///< free text, at most `high` bytes
    number,  ///< decimal, `low`..`high`
    boolean, ///< Yes or No
    choice,  ///< one of `allowed`
    list,    ///< one or more of `allowed`, each once, with commas between
};

/// Bits of Field::flags.
enum Flag : std::uint16_t {
    secret = 1,        ///< shown as ******** unless asked for
    read_only = 2,     ///< identifies the record: no operator changes it
    hidden = 4,        ///< maintained by older tools: accepted, never kept or printed
    when_set = 8,      ///< newer than the compat version: printed only when it is not the default
    power_of_two = 16, ///< number that must be a power of two
    or_zero = 32,      ///< number that may also be 0, outside low..high
    v4_only = 64,      ///< printed when the interface's name does not contain "ipv6"
    v6_only = 128,     ///< printed when it does
};

struct Field {
    Key key;
    std::string_view name;
    Type type;
    std::uint8_t kinds;                ///< bits of kind_bit()
    std::string_view compiled_default; ///< the value when a record does not have the key
    std::string_view shipped;          ///< the value in the iscsid.conf we ship; empty = commented out there
    std::int64_t low = 0;
    std::int64_t high = 0;
    std::string_view allowed = {}; ///< words with '|' between; of a text see check_request()
    std::uint16_t flags = 0;

    bool has(Flag flag) const { return (flags & flag) != 0; }
    bool applies_to(RecordKind kind) const;
};

constexpr std::uint8_t kind_bit(RecordKind kind) {
    return static_cast<std::uint8_t>(1U << static_cast<unsigned>(kind));
}

/// All rows, index = Key.
std::span<const Field> fields();
const Field& field(Key key);

/// The row of a name as it stands in files (legacy aliases included) that applies to `kind`; nullptr when
/// there is none.
const Field* find_field(RecordKind kind, std::string_view name);

/// The compiled default as a string that lives as long as the program.
const std::string& default_text(Key key);

/// The value of `text` as a whole decimal number with an optional sign; empty when it is none.
std::optional<std::int64_t> parse_number(std::string_view text);

/// What a value of `row` may be, for people: "manual, automatic or onboot", "a number from 1 to 1024".
std::string allowed_text(const Field& row);

/// `value` as it is to be stored under `row`: checked for type, range, allowed values and length, and for
/// bytes that the file format cannot hold (control characters, blanks at the ends). Numbers are written
/// without leading zeros; "<empty>" means an empty text. Fails with Errc::invalid and a text fit for a
/// person: the key, the value and what is allowed, but never a secret.
base::Result<base::WipedText> checked_value(const Field& row, std::string_view value);

/// A text row with `allowed` takes every text that is in a file, and of what a person asks for only these
/// words. Errc::invalid as checked_value().
base::Result<void> check_request(const Field& row, std::string_view value);

/// What can be done of a value that checked_value() refuses: the nearest number, the items of a list that are
/// known. Empty when there is nothing near, and for what identifies a record.
std::optional<std::string> nearest_value(const Field& row, std::string_view value);

} // namespace iscsi::records

// The rows behind fields.hpp, one a line: key, name, type, kinds, compiled default, value in the shipped
// iscsid.conf, low, high, allowed values, flags. Only fields.cpp includes this. Read-only data; any thread.
#pragma once

#include "base/limits.hpp"
#include "records/fields.hpp"

namespace iscsi::records {

namespace table {

namespace limits = base::limits;

inline constexpr std::uint8_t node = kind_bit(RecordKind::node);
inline constexpr std::uint8_t send_targets = kind_bit(RecordKind::send_targets);
inline constexpr std::uint8_t isns = kind_bit(RecordKind::isns);
inline constexpr std::uint8_t daemon = kind_bit(RecordKind::daemon);
inline constexpr std::uint8_t node_and_iface = node | kind_bit(RecordKind::iface);
inline constexpr std::uint8_t node_and_send_targets = node | send_targets;
inline constexpr std::uint8_t discovery_kinds = send_targets | isns;

inline constexpr std::int64_t int_max = 2147483647;
inline constexpr std::int64_t int_min = -int_max - 1;
inline constexpr std::int64_t uint8_max = 255;
inline constexpr std::int64_t uint16_max = 65535;
inline constexpr std::int64_t uint32_max = 4294967295;
inline constexpr std::int64_t port_max = 65535;
inline constexpr std::int64_t length_max = limits::data_segment_max;

inline constexpr std::string_view auth_methods = "None|CHAP";
inline constexpr std::string_view startups = "manual|automatic|onboot";
inline constexpr std::string_view transports = "tcp|iser|bnx2i|cxgb3i|cxgb4i|be2iscsi|qla4xxx|qedi|ocs";
inline constexpr std::string_view digests = "None|CRC32C|CRC32C,None|None,CRC32C";

// clang-format off
inline constexpr Field rows[] = {
    // Discovery records, up to the algorithms that they share with nodes.
    {Key::discovery_startup, "discovery.startup", Type::choice, discovery_kinds, "manual", "", 0, 0, "manual|automatic"},
    {Key::discovery_type, "discovery.type", Type::choice, discovery_kinds, "sendtargets", "", 0, 0, "sendtargets|isns|offload_send_targets|static|fw", read_only},
    {Key::discovery_address, "discovery.sendtargets.address", Type::text, discovery_kinds, "", "", 0, 0, "", read_only},
    {Key::discovery_port, "discovery.sendtargets.port", Type::number, discovery_kinds, "3260", "", 1, port_max, "", read_only},
    {Key::discovery_authmethod, "discovery.sendtargets.auth.authmethod", Type::choice, send_targets, "None", "", 0, 0, auth_methods},
    {Key::discovery_username, "discovery.sendtargets.auth.username", Type::text, send_targets, "", ""},
    {Key::discovery_password, "discovery.sendtargets.auth.password", Type::text, send_targets, "", "", 0, 0, "", secret},
    {Key::discovery_password_length, "discovery.sendtargets.auth.password_length", Type::number, send_targets, "0", "", 0, int_max, "", hidden},
    {Key::discovery_username_in, "discovery.sendtargets.auth.username_in", Type::text, send_targets, "", ""},
    {Key::discovery_password_in, "discovery.sendtargets.auth.password_in", Type::text, send_targets, "", "", 0, 0, "", secret},
    {Key::discovery_password_in_length, "discovery.sendtargets.auth.password_in_length", Type::number, send_targets, "0", "", 0, int_max, "", hidden},

    // Nodes.
    {Key::node_name, "node.name", Type::text, node, "", "", 0, 0, "", read_only},
    {Key::node_tpgt, "node.tpgt", Type::number, node, "-1", "", -1, port_max, "", read_only},
    {Key::node_startup, "node.startup", Type::choice, node, "manual", "manual", 0, 0, startups},
    {Key::node_leading_login, "node.leading_login", Type::boolean, node, "No", "No"},

    // Interfaces, in a file of their own and copied into each node.
    {Key::iface_name, "iface.iscsi_ifacename", Type::text, node_and_iface, "default", "", 0, limits::iface_name_bytes_max, "", read_only},
    {Key::iface_net_ifacename, "iface.net_ifacename", Type::text, node_and_iface, "", ""},
    {Key::iface_ipaddress, "iface.ipaddress", Type::text, node_and_iface, "", ""},
    {Key::iface_prefix_len, "iface.prefix_len", Type::number, node_and_iface, "0", "", 0, uint8_max},
    {Key::iface_hwaddress, "iface.hwaddress", Type::text, node_and_iface, "", ""},
    {Key::iface_transport_name, "iface.transport_name", Type::text, node_and_iface, "tcp", "", 0, 0, transports},
    {Key::iface_initiatorname, "iface.initiatorname", Type::text, node_and_iface, "", "", 0, limits::name_bytes_max},
    {Key::iface_state, "iface.state", Type::text, node_and_iface, "", ""},
    {Key::iface_vlan_id, "iface.vlan_id", Type::number, node_and_iface, "0", "", 0, uint16_max},
    {Key::iface_vlan_priority, "iface.vlan_priority", Type::number, node_and_iface, "0", "", 0, uint8_max},
    {Key::iface_vlan_state, "iface.vlan_state", Type::text, node_and_iface, "", ""},
    {Key::iface_iface_num, "iface.iface_num", Type::number, node_and_iface, "0", "", 0, uint32_max},
    {Key::iface_mtu, "iface.mtu", Type::number, node_and_iface, "0", "", 0, uint16_max},
    {Key::iface_port, "iface.port", Type::number, node_and_iface, "0", "", 0, uint16_max},
    {Key::iface_bootproto, "iface.bootproto", Type::text, node_and_iface, "", "", 0, 0, "", v4_only},
    {Key::iface_subnet_mask, "iface.subnet_mask", Type::text, node_and_iface, "", "", 0, 0, "", v4_only},
    {Key::iface_gateway, "iface.gateway", Type::text, node_and_iface, "", "", 0, 0, "", v4_only},
    {Key::iface_dhcp_alt_client_id_state, "iface.dhcp_alt_client_id_state", Type::text, node_and_iface, "", "", 0, 0, "", v4_only},
    {Key::iface_dhcp_alt_client_id, "iface.dhcp_alt_client_id", Type::text, node_and_iface, "", "", 0, 0, "", v4_only},
    {Key::iface_dhcp_dns, "iface.dhcp_dns", Type::text, node_and_iface, "", "", 0, 0, "", v4_only},
    {Key::iface_dhcp_learn_iqn, "iface.dhcp_learn_iqn", Type::text, node_and_iface, "", "", 0, 0, "", v4_only},
    {Key::iface_dhcp_req_vendor_id_state, "iface.dhcp_req_vendor_id_state", Type::text, node_and_iface, "", "", 0, 0, "", v4_only},
    {Key::iface_dhcp_vendor_id_state, "iface.dhcp_vendor_id_state", Type::text, node_and_iface, "", "", 0, 0, "", v4_only},
    {Key::iface_dhcp_vendor_id, "iface.dhcp_vendor_id", Type::text, node_and_iface, "", "", 0, 0, "", v4_only},
    {Key::iface_dhcp_slp_da, "iface.dhcp_slp_da", Type::text, node_and_iface, "", "", 0, 0, "", v4_only},
    {Key::iface_fragmentation, "iface.fragmentation", Type::text, node_and_iface, "", "", 0, 0, "", v4_only},
    {Key::iface_gratuitous_arp, "iface.gratuitous_arp", Type::text, node_and_iface, "", "", 0, 0, "", v4_only},
    {Key::iface_incoming_forwarding, "iface.incoming_forwarding", Type::text, node_and_iface, "", "", 0, 0, "", v4_only},
    {Key::iface_tos_state, "iface.tos_state", Type::text, node_and_iface, "", "", 0, 0, "", v4_only},
    {Key::iface_tos, "iface.tos", Type::number, node_and_iface, "0", "", 0, uint8_max, "", v4_only},
    {Key::iface_ttl, "iface.ttl", Type::number, node_and_iface, "0", "", 0, uint8_max, "", v4_only},
    {Key::iface_ipv6_autocfg, "iface.ipv6_autocfg", Type::text, node_and_iface, "", "", 0, 0, "", v6_only},
    {Key::iface_linklocal_autocfg, "iface.linklocal_autocfg", Type::text, node_and_iface, "", "", 0, 0, "", v6_only},
    {Key::iface_router_autocfg, "iface.router_autocfg", Type::text, node_and_iface, "", "", 0, 0, "", v6_only},
    {Key::iface_ipv6_linklocal, "iface.ipv6_linklocal", Type::text, node_and_iface, "", "", 0, 0, "", v6_only},
    {Key::iface_ipv6_router, "iface.ipv6_router", Type::text, node_and_iface, "", "", 0, 0, "", v6_only},
    {Key::iface_dup_addr_detect_cnt, "iface.dup_addr_detect_cnt", Type::number, node_and_iface, "0", "", 0, uint8_max, "", v6_only},
    {Key::iface_flow_label, "iface.flow_label", Type::number, node_and_iface, "0", "", 0, uint32_max, "", v6_only},
    {Key::iface_gratuitous_neighbor_adv, "iface.gratuitous_neighbor_adv", Type::text, node_and_iface, "", "", 0, 0, "", v6_only},
    {Key::iface_hop_limit, "iface.hop_limit", Type::number, node_and_iface, "0", "", 0, uint8_max, "", v6_only},
    {Key::iface_mld, "iface.mld", Type::text, node_and_iface, "", "", 0, 0, "", v6_only},
    {Key::iface_nd_reachable_tmo, "iface.nd_reachable_tmo", Type::number, node_and_iface, "0", "", 0, uint32_max, "", v6_only},
    {Key::iface_nd_rexmit_time, "iface.nd_rexmit_time", Type::number, node_and_iface, "0", "", 0, uint32_max, "", v6_only},
    {Key::iface_nd_stale_tmo, "iface.nd_stale_tmo", Type::number, node_and_iface, "0", "", 0, uint32_max, "", v6_only},
    {Key::iface_router_adv_link_mtu, "iface.router_adv_link_mtu", Type::number, node_and_iface, "0", "", 0, uint32_max, "", v6_only},
    {Key::iface_traffic_class, "iface.traffic_class", Type::number, node_and_iface, "0", "", 0, uint8_max, "", v6_only},
    {Key::iface_delayed_ack, "iface.delayed_ack", Type::text, node_and_iface, "", ""},
    {Key::iface_tcp_nagle, "iface.tcp_nagle", Type::text, node_and_iface, "", ""},
    {Key::iface_tcp_wsf_state, "iface.tcp_wsf_state", Type::text, node_and_iface, "", ""},
    {Key::iface_tcp_wsf, "iface.tcp_wsf", Type::number, node_and_iface, "0", "", 0, uint8_max},
    {Key::iface_tcp_timer_scale, "iface.tcp_timer_scale", Type::number, node_and_iface, "0", "", 0, uint8_max},
    {Key::iface_tcp_timestamp, "iface.tcp_timestamp", Type::text, node_and_iface, "", ""},
    {Key::iface_redirect, "iface.redirect", Type::text, node_and_iface, "", ""},
    {Key::iface_def_task_mgmt_timeout, "iface.def_task_mgmt_timeout", Type::number, node_and_iface, "0", "", 0, uint16_max},
    {Key::iface_header_digest, "iface.header_digest", Type::text, node_and_iface, "", ""},
    {Key::iface_data_digest, "iface.data_digest", Type::text, node_and_iface, "", ""},
    {Key::iface_immediate_data, "iface.immediate_data", Type::text, node_and_iface, "", ""},
    {Key::iface_initial_r2t, "iface.initial_r2t", Type::text, node_and_iface, "", ""},
    {Key::iface_data_seq_inorder, "iface.data_seq_inorder", Type::text, node_and_iface, "", ""},
    {Key::iface_data_pdu_inorder, "iface.data_pdu_inorder", Type::text, node_and_iface, "", ""},
    {Key::iface_erl, "iface.erl", Type::number, node_and_iface, "0", "", 0, uint8_max},
    {Key::iface_max_receive_data_len, "iface.max_receive_data_len", Type::number, node_and_iface, "0", "", 0, uint32_max},
    {Key::iface_first_burst_len, "iface.first_burst_len", Type::number, node_and_iface, "0", "", 0, uint32_max},
    {Key::iface_max_outstanding_r2t, "iface.max_outstanding_r2t", Type::number, node_and_iface, "0", "", 0, uint16_max},
    {Key::iface_max_burst_len, "iface.max_burst_len", Type::number, node_and_iface, "0", "", 0, uint32_max},
    {Key::iface_chap_auth, "iface.chap_auth", Type::text, node_and_iface, "", ""},
    {Key::iface_bidi_chap, "iface.bidi_chap", Type::text, node_and_iface, "", ""},
    {Key::iface_strict_login_compliance, "iface.strict_login_compliance", Type::text, node_and_iface, "", ""},
    {Key::iface_discovery_auth, "iface.discovery_auth", Type::text, node_and_iface, "", ""},
    {Key::iface_discovery_logout, "iface.discovery_logout", Type::text, node_and_iface, "", ""},

    // Nodes: origin, session, connection.
    {Key::node_discovery_address, "node.discovery_address", Type::text, node, "", "", 0, 0, "", read_only},
    {Key::node_discovery_port, "node.discovery_port", Type::number, node, "0", "", 0, port_max, "", read_only},
    {Key::node_discovery_type, "node.discovery_type", Type::choice, node, "static", "", 0, 0, "send_targets|isns|offload_send_targets|static|fw", read_only},
    {Key::session_initial_cmdsn, "node.session.initial_cmdsn", Type::number, node, "0", "", 0, uint32_max},
    {Key::session_initial_login_retry_max, "node.session.initial_login_retry_max", Type::number, node, "4", "8", 0, int_max},
    {Key::session_xmit_thread_priority, "node.session.xmit_thread_priority", Type::number, node, "-20", "-20", -20, 20},
    {Key::session_cmds_max, "node.session.cmds_max", Type::number, node, "128", "128", 2, 2048, "", power_of_two},
    {Key::session_queue_depth, "node.session.queue_depth", Type::number, node, "32", "32", 1, 1024},
    {Key::session_nr_sessions, "node.session.nr_sessions", Type::number, node, "1", "1", 1, 256},
    {Key::session_authmethod, "node.session.auth.authmethod", Type::choice, node, "None", "", 0, 0, auth_methods},
    {Key::session_username, "node.session.auth.username", Type::text, node, "", ""},
    {Key::session_password, "node.session.auth.password", Type::text, node, "", "", 0, 0, "", secret},
    {Key::session_password_length, "node.session.auth.password_length", Type::number, node, "0", "", 0, int_max, "", hidden},
    {Key::session_username_in, "node.session.auth.username_in", Type::text, node, "", ""},
    {Key::session_password_in, "node.session.auth.password_in", Type::text, node, "", "", 0, 0, "", secret},
    {Key::session_password_in_length, "node.session.auth.password_in_length", Type::number, node, "0", "", 0, int_max, "", hidden},
    {Key::session_chap_algs, "node.session.auth.chap_algs", Type::list, node_and_send_targets, "MD5", "", 0, 0, "MD5|SHA1|SHA256|SHA3-256"},
    {Key::session_replacement_timeout, "node.session.timeo.replacement_timeout", Type::number, node, "120", "120", int_min, int_max},
    {Key::session_abort_timeout, "node.session.err_timeo.abort_timeout", Type::number, node, "15", "15", 0, int_max},
    {Key::session_lu_reset_timeout, "node.session.err_timeo.lu_reset_timeout", Type::number, node, "30", "30", 0, int_max},
    {Key::session_tgt_reset_timeout, "node.session.err_timeo.tgt_reset_timeout", Type::number, node, "30", "30", 0, int_max},
    {Key::session_host_reset_timeout, "node.session.err_timeo.host_reset_timeout", Type::number, node, "60", "60", 0, int_max},
    {Key::session_fast_abort, "node.session.iscsi.FastAbort", Type::boolean, node, "Yes", "Yes"},
    {Key::session_initial_r2t, "node.session.iscsi.InitialR2T", Type::boolean, node, "No", "No"},
    {Key::session_immediate_data, "node.session.iscsi.ImmediateData", Type::boolean, node, "Yes", "Yes"},
    {Key::session_first_burst_length, "node.session.iscsi.FirstBurstLength", Type::number, node, "262144", "262144", 512, length_max},
    {Key::session_max_burst_length, "node.session.iscsi.MaxBurstLength", Type::number, node, "16776192", "16776192", 512, length_max},
    {Key::session_default_time2retain, "node.session.iscsi.DefaultTime2Retain", Type::number, node, "0", "", 0, 3600},
    {Key::session_default_time2wait, "node.session.iscsi.DefaultTime2Wait", Type::number, node, "2", "", 0, 3600},
    {Key::session_max_connections, "node.session.iscsi.MaxConnections", Type::number, node, "1", "", 1, port_max},
    {Key::session_max_outstanding_r2t, "node.session.iscsi.MaxOutstandingR2T", Type::number, node, "1", "", 1, port_max},
    {Key::session_erl, "node.session.iscsi.ERL", Type::number, node, "0", "", 0, 2},
    {Key::session_scan, "node.session.scan", Type::choice, node, "auto", "auto", 0, 0, "manual|auto"},
    {Key::session_reopen_max, "node.session.reopen_max", Type::number, node, "0", "0", 0, int_max},
    {Key::session_reopen_log_freq, "node.session.sess_reopen_log_freq", Type::number, node, "1", "", 1, int_max, "", when_set},
    {Key::conn_address, "node.conn[0].address", Type::text, node, "", "", 0, 0, "", read_only},
    {Key::conn_port, "node.conn[0].port", Type::number, node, "3260", "", 1, port_max, "", read_only},
    {Key::conn_startup, "node.conn[0].startup", Type::choice, node, "manual", "", 0, 0, startups},
    {Key::conn_window_size, "node.conn[0].tcp.window_size", Type::number, node, "524288", "", 0, int_max},
    {Key::conn_type_of_service, "node.conn[0].tcp.type_of_service", Type::number, node, "0", "", 0, 255},
    {Key::conn_congestion_control, "node.conn[0].tcp.congestion_control", Type::text, node, "", "", 0, 15, "", when_set},
    {Key::conn_logout_timeout, "node.conn[0].timeo.logout_timeout", Type::number, node, "15", "15", 0, int_max},
    {Key::conn_login_timeout, "node.conn[0].timeo.login_timeout", Type::number, node, "30", "15", 0, int_max},
    {Key::conn_auth_timeout, "node.conn[0].timeo.auth_timeout", Type::number, node, "45", "", 0, int_max},
    {Key::conn_noop_out_interval, "node.conn[0].timeo.noop_out_interval", Type::number, node, "5", "5", 0, int_max},
    {Key::conn_noop_out_timeout, "node.conn[0].timeo.noop_out_timeout", Type::number, node, "5", "5", 0, int_max},
    {Key::conn_max_xmit_data_segment_length, "node.conn[0].iscsi.MaxXmitDataSegmentLength", Type::number, node, "0", "0", 512, length_max, "", or_zero},
    {Key::conn_max_recv_data_segment_length, "node.conn[0].iscsi.MaxRecvDataSegmentLength", Type::number, node, "262144", "262144", 512, length_max},
    {Key::conn_header_digest, "node.conn[0].iscsi.HeaderDigest", Type::choice, node, "None", "", 0, 0, digests},
    {Key::conn_data_digest, "node.conn[0].iscsi.DataDigest", Type::choice, node, "None", "", 0, 0, digests},
    {Key::conn_if_marker, "node.conn[0].iscsi.IFMarker", Type::boolean, node, "No", ""},
    {Key::conn_of_marker, "node.conn[0].iscsi.OFMarker", Type::boolean, node, "No", ""},

    // Discovery records, the rest.
    {Key::discovery_login_timeout, "discovery.sendtargets.timeo.login_timeout", Type::number, send_targets, "15", "", 0, int_max},
    {Key::discovery_use_discoveryd, "discovery.sendtargets.use_discoveryd", Type::boolean, send_targets, "No", ""},
    {Key::discovery_poll_interval, "discovery.sendtargets.discoveryd_poll_inval", Type::number, send_targets, "30", "", int_min, int_max},
    {Key::discovery_reopen_max, "discovery.sendtargets.reopen_max", Type::number, send_targets, "5", "", 0, int_max},
    {Key::discovery_auth_timeout, "discovery.sendtargets.timeo.auth_timeout", Type::number, send_targets, "45", "", 0, int_max},
    {Key::discovery_active_timeout, "discovery.sendtargets.timeo.active_timeout", Type::number, send_targets, "30", "", 0, int_max},
    {Key::discovery_max_recv_data_segment_length, "discovery.sendtargets.iscsi.MaxRecvDataSegmentLength", Type::number, send_targets, "32768", "32768", 512, length_max},
    {Key::isns_use_discoveryd, "discovery.isns.use_discoveryd", Type::boolean, isns, "No", ""},
    {Key::isns_poll_interval, "discovery.isns.discoveryd_poll_inval", Type::number, isns, "-1", "", int_min, int_max},

    // iscsid.conf only.
    {Key::daemon_startup, "iscsid.startup", Type::text, daemon, "", "/bin/systemctl start iscsid.socket"},
    {Key::daemon_safe_logout, "iscsid.safe_logout", Type::boolean, daemon, "Yes", ""},
    {Key::daemon_ipc_auth_uid, "iscsid.ipc_auth_uid", Type::boolean, daemon, "Yes", ""},
    {Key::daemon_shards, "iscsid.shards", Type::number, daemon, "0", "", 0, 256},
    {Key::daemon_queues, "iscsid.queues", Type::number, daemon, "1", "", 1, base::limits::queues_max},
    {Key::daemon_block, "iscsid.block", Type::choice, daemon, "auto", "", 0, 0, "auto|ublk|nbd|socket"},
    {Key::daemon_ublk_zero_copy_min_kb, "iscsid.ublk_zero_copy_min_kb", Type::number, daemon, "0", "", 0, 1024},
    {Key::daemon_rediscovery, "iscsid.rediscovery", Type::choice, daemon, "keep", "", 0, 0, "keep|overwrite"},
    {Key::daemon_db_dir, "iscsid.db_dir", Type::text, daemon, "", ""},
};
// clang-format on

} // namespace table

} // namespace iscsi::records

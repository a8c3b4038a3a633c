#include "control/settings.hpp"

#include "base/crc32c.hpp"
#include "records/fields.hpp"
#include "session/session.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>

namespace iscsi::control {
namespace {

using records::Key;
using records::Record;

base::Duration seconds(const Record& record, Key key) {
    return std::chrono::seconds(std::max<std::int64_t>(0, record.number(key)));
}

/// The keys of one CHAP configuration: node and discovery records have their own.
struct ChapKeys {
    Key authmethod, username, password, username_in, password_in;
};

/// As open-iscsi: a password is what turns CHAP on, whatever authmethod says.
base::Result<login::ChapConfig> chap_config(const Record& record, const ChapKeys& keys) {
    login::ChapConfig chap;
    const std::string& username = record.text(keys.username);
    const std::string& password = record.text(keys.password);
    const std::string& password_in = record.text(keys.password_in);
    bool wanted = record.text(keys.authmethod) == "CHAP" || !password.empty();
    if (!wanted) {
        return chap;
    }
    if (username.empty() || password.empty()) {
        return base::fail(base::Errc::invalid,
                          fmt::format("CHAP needs {} and {}", records::field(keys.username).name,
                                      records::field(keys.password).name));
    }
    chap.username = username;
    chap.secret = login::Secret(password);
    chap.username_in = record.text(keys.username_in);
    chap.secret_in = login::Secret(password_in);
    auto algorithms = login::parse_chap_algorithms(record.text(Key::session_chap_algs));
    if (!algorithms) {
        return base::fail(std::move(algorithms.error()));
    }
    chap.algorithms = std::move(*algorithms);
    if (auto checked = login::check_chap(chap); !checked) {
        return base::fail(std::move(checked.error()));
    }
    return chap;
}

constexpr ChapKeys session_chap{Key::session_authmethod, Key::session_username, Key::session_password,
                                Key::session_username_in, Key::session_password_in};
constexpr ChapKeys discovery_chap{Key::discovery_authmethod, Key::discovery_username, Key::discovery_password,
                                  Key::discovery_username_in, Key::discovery_password_in};

std::uint32_t length(const Record& record, Key key) {
    return static_cast<std::uint32_t>(record.number(key));
}

login::Offers offers_of(const Record& node) {
    login::Offers offers;
    offers.header_digest = node.text(Key::conn_header_digest);
    offers.data_digest = node.text(Key::conn_data_digest);
    offers.initial_r2t = node.boolean(Key::session_initial_r2t);
    offers.immediate_data = node.boolean(Key::session_immediate_data);
    offers.max_burst_bytes = length(node, Key::session_max_burst_length);
    offers.first_burst_bytes =
        std::min(length(node, Key::session_first_burst_length) & ~3U, offers.max_burst_bytes);
    offers.max_recv_data_segment_bytes = length(node, Key::conn_max_recv_data_segment_length);
    offers.max_xmit_data_segment_bytes = length(node, Key::conn_max_xmit_data_segment_length);
    auto r2t = std::clamp<std::int64_t>(node.number(Key::session_max_outstanding_r2t), 1,
                                        session::outstanding_r2t_max);
    offers.max_outstanding_r2t = static_cast<std::uint16_t>(r2t);
    offers.time2wait_s = static_cast<std::uint16_t>(node.number(Key::session_default_time2wait));
    offers.time2retain_s = static_cast<std::uint16_t>(node.number(Key::session_default_time2retain));
    return offers;
}

/// The interface's own name goes before the host's.
base::Result<void> name_initiator(login::LoginConfig& config, const Record& iface,
                                  const records::InitiatorName& initiator) {
    const std::string& own = iface.text(Key::iface_initiatorname);
    config.initiator_name = own.empty() ? initiator.name : own;
    config.initiator_alias = initiator.alias;
    if (config.initiator_name.empty()) {
        return base::fail(base::Errc::invalid,
                          "there is no InitiatorName: set one in initiatorname.iscsi and start iscsid again");
    }
    return {};
}

/// A NOP interval or timeout of 0 alone means 5 seconds, both 0 mean no NOPs at all (as open-iscsi).
void set_liveness(shard::OpenRequest& request, const Record& node) {
    constexpr base::Duration fallback = std::chrono::seconds(5);
    request.nop_out_interval = seconds(node, Key::conn_noop_out_interval);
    request.nop_out_timeout = seconds(node, Key::conn_noop_out_timeout);
    bool interval = request.nop_out_interval.count() != 0;
    bool timeout = request.nop_out_timeout.count() != 0;
    if (interval != timeout) {
        request.nop_out_interval = interval ? request.nop_out_interval : fallback;
        request.nop_out_timeout = timeout ? request.nop_out_timeout : fallback;
    }
}

base::Duration or_default(base::Duration value, base::Duration fallback) {
    return value.count() != 0 ? value : fallback;
}

} // namespace

base::Result<shard::OpenRequest> open_request(const Record& node, const records::InitiatorName& initiator,
                                              base::Isid isid) {
    shard::OpenRequest request;
    login::LoginConfig& login = request.login;
    if (auto named = name_initiator(login, node, initiator); !named) {
        return base::fail(std::move(named.error()));
    }
    auto chap = chap_config(node, session_chap);
    if (!chap) {
        return base::fail(std::move(chap.error()));
    }
    auto tcp = tcp_options(node);
    if (!tcp) {
        return base::fail(std::move(tcp.error()));
    }
    login.target_name = node.text(Key::node_name);
    login.isid = isid;
    login.cmd_sn = base::CmdSn(length(node, Key::session_initial_cmdsn));
    login.offers = offers_of(node);
    login.chap = std::move(*chap);
    login.expected_tpgt = static_cast<std::int32_t>(node.number(Key::node_tpgt));
    request.tcp = std::move(*tcp);
    request.connect_timeout = or_default(seconds(node, Key::conn_login_timeout), std::chrono::seconds(15));
    request.login_timeout = request.connect_timeout;
    request.logout_timeout = or_default(seconds(node, Key::conn_logout_timeout), std::chrono::seconds(15));
    request.tasks = length(node, Key::session_cmds_max);
    set_liveness(request, node);
    return request;
}

base::Result<login::LoginConfig> discovery_login(const Record& discovery, const Record& iface,
                                                 const records::InitiatorName& initiator) {
    login::LoginConfig login;
    if (auto named = name_initiator(login, iface, initiator); !named) {
        return base::fail(std::move(named.error()));
    }
    auto chap = chap_config(discovery, discovery_chap);
    if (!chap) {
        return base::fail(std::move(chap.error()));
    }
    login.discovery = true;
    login.chap = std::move(*chap);
    login.offers.max_recv_data_segment_bytes = length(discovery, Key::discovery_max_recv_data_segment_length);
    records::NodeId id;
    id.portal = records::discovery_portal(discovery);
    id.iface = iface.text(Key::iface_name);
    login.isid = make_isid(initiator, id, 0);
    return login;
}

base::Result<shard::TcpOptions> tcp_options(const Record& record) {
    shard::TcpOptions options;
    for (Key key : {Key::iface_hwaddress, Key::iface_ipaddress}) {
        const std::string& value = record.text(key);
        if (!value.empty() && value != "default") {
            // Better no session than one that leaves by another interface than was asked for.
            return base::fail(base::Errc::not_supported,
                              fmt::format("binding by {} is not supported; use {}", records::field(key).name,
                                          records::field(Key::iface_net_ifacename).name));
        }
    }
    const std::string& device = record.text(Key::iface_net_ifacename);
    options.net_device = device == "default" ? std::string() : device;
    if (record.kind() == records::RecordKind::node) {
        options.window_bytes = static_cast<int>(record.number(Key::conn_window_size));
        options.congestion_control = record.text(Key::conn_congestion_control);
    }
    return options;
}

base::Isid make_isid(const records::InitiatorName& initiator, const records::NodeId& id,
                     std::uint32_t index) {
    constexpr std::uint64_t random_format = 0x80; // T = 10b
    std::uint64_t host = base::crc32c(base::bytes_of(initiator.name)) & 0xffffff;
    std::string place =
        fmt::format("{}\n{}\n{}\n{}\n", id.target, id.portal.address, id.portal.port, id.iface);
    std::uint64_t qualifier = (base::crc32c(base::bytes_of(place)) + index) & 0xffff;
    return base::Isid(random_format << 40 | host << 16 | qualifier);
}

} // namespace iscsi::control

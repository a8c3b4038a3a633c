#include "control/settings.hpp"

#include "base/crc32c.hpp"
#include "base/limits.hpp"
#include "base/text.hpp"
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

/// The target was given a secret to prove itself with, and will not be asked for it: only after our own proof
/// may it be (RFC 7143 section 12.1.3).
bool proof_is_not_asked(const login::ChapConfig& chap, const Record& record, const ChapKeys& keys) {
    return !chap.enabled() && !record.text(keys.password_in).empty();
}

std::string why_not_asked(const ChapKeys& keys) {
    return fmt::format("{} is set and {} is not, so the target is not asked to prove itself",
                       records::field(keys.password_in).name, records::field(keys.password).name);
}

std::uint32_t length(const Record& record, Key key) {
    return static_cast<std::uint32_t>(record.number(key));
}

/// Every record of open-iscsi's holds the default, 2 s, without anybody having asked for it, and each lost
/// connection would cost that. Both sides' wishes count, the longer wins: so the target is left to name its
/// own, and only another value is taken for somebody's will. Nothing here needs the time: what a lost
/// connection left at the target is seen to be over (fence.cpp).
std::uint16_t time2wait(const Record& node) {
    const records::Field& row = records::field(Key::session_default_time2wait);
    const bool is_default = node.text(row.key) == row.compiled_default;
    return is_default ? 0 : static_cast<std::uint16_t>(node.number(row.key));
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
    offers.time2wait_s = time2wait(node);
    offers.time2retain_s = static_cast<std::uint16_t>(node.number(Key::session_default_time2retain));
    return offers;
}

/// The interface's own name goes before the host's.
base::Result<void> name_initiator(login::LoginConfig& config, const Record& iface,
                                  const records::InitiatorName& initiator) {
    auto own = initiator_of(iface, initiator);
    if (!own) {
        return base::fail(std::move(own.error()));
    }
    config.initiator_name = std::move(own->name);
    config.initiator_alias = std::move(own->alias);
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
    // Twice as long: it is for what pings cannot find, and must not be there before them.
    request.tcp.user_timeout = 2 * (request.nop_out_interval + request.nop_out_timeout);
}

/// A step of zero seconds is left out; at the last one the session ends.
void set_recovery(shard::OpenRequest& request, const Record& node) {
    request.recovery.command = base::limits::scsi_command_timeout;
    request.recovery.abort_task = seconds(node, Key::session_abort_timeout);
    request.recovery.lun_reset = seconds(node, Key::session_lu_reset_timeout);
    request.recovery.target_reset = seconds(node, Key::session_tgt_reset_timeout);
}

base::Duration or_default(base::Duration value, base::Duration fallback) {
    return value.count() != 0 ? value : fallback;
}

/// Empty: not by this key. Interface records say "default" for that.
std::string bound_to(const Record& record, Key key) {
    const std::string& value = record.text(key);
    return value == "default" ? std::string() : value;
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
    request.logout_timeout = logout_timeout(node);
    request.tasks = length(node, Key::session_cmds_max);
    set_liveness(request, node);
    set_recovery(request, node);
    return request;
}

base::Duration logout_timeout(const Record& node) {
    return or_default(seconds(node, Key::conn_logout_timeout), std::chrono::seconds(15));
}

std::vector<std::string> chap_warnings(const Record& node_with_secrets) {
    std::vector<std::string> warnings;
    auto chap = chap_config(node_with_secrets, session_chap);
    if (!chap) {
        return warnings;
    }
    if (!chap->enabled()) {
        if (proof_is_not_asked(*chap, node_with_secrets, session_chap)) {
            warnings.push_back(why_not_asked(session_chap) + "; it is logged in to without CHAP");
        }
        return warnings;
    }
    for (Key key : {Key::session_password, Key::session_password_in}) {
        std::size_t bytes = node_with_secrets.text(key).size();
        if (bytes != 0 && bytes < login::chap_secret_bytes_recommended) {
            // Not how many: who reads the log would have less to guess.
            warnings.push_back(fmt::format("{} is shorter than {} bytes and can be guessed from one recorded "
                                           "login; 12 to 16 random ones cannot",
                                           records::field(key).name, login::chap_secret_bytes_recommended));
        }
    }
    if (std::ranges::find(chap->algorithms, login::ChapAlgorithm::md5) == chap->algorithms.end()) {
        warnings.push_back(fmt::format("{} does not offer MD5, the one algorithm that every target has",
                                       records::field(Key::session_chap_algs).name));
    }
    return warnings;
}

bool share_target_secret(const Record& one, const Record& other) {
    const std::string& secret = one.text(Key::session_password_in);
    return !secret.empty() &&
           login::same_secret(base::bytes_of(secret), base::bytes_of(other.text(Key::session_password_in)));
}

base::Result<records::InitiatorName> initiator_of(const Record& iface,
                                                  const records::InitiatorName& initiator) {
    records::InitiatorName name = initiator;
    if (const std::string& own = iface.text(Key::iface_initiatorname); !own.empty()) {
        name.name = own;
    }
    if (name.name.empty()) {
        return base::fail(base::Errc::invalid,
                          "there is no InitiatorName: set one in initiatorname.iscsi and start iscsid again");
    }
    return name;
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
    // As open-iscsi, which makes a session then, and no discovery.
    if (proof_is_not_asked(*chap, discovery, discovery_chap)) {
        return base::fail(base::Errc::invalid, why_not_asked(discovery_chap));
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
    // Who asked for another one must not be told that it was used.
    if (const std::string& transport = record.text(Key::iface_transport_name); transport != "tcp") {
        return base::fail(
            base::Errc::transport_not_found,
            fmt::format("transport {} is not available here: only tcp", base::printable(transport, 64)));
    }
    options.net_device = bound_to(record, Key::iface_net_ifacename);
    options.hardware_address = bound_to(record, Key::iface_hwaddress);
    options.local_address = bound_to(record, Key::iface_ipaddress);
    if (record.kind() == records::RecordKind::node) {
        // The default is in every record, whether anybody wanted it or not; most systems would cap it to
        // less, and what the kernel chooses grows as far as the way to the target needs.
        if (record.text(Key::conn_window_size) != records::default_text(Key::conn_window_size)) {
            options.window_bytes = static_cast<int>(record.number(Key::conn_window_size));
        }
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

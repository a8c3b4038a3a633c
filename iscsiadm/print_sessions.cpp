#include "print.hpp"

#include "base/text.hpp"
#include "records/text.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace iscsi::adm {
namespace {

using ipc::SessionSnapshot;

/// The version of the kernel's transport class, whose tree this is: readers of level 3 drop two lines unseen.
constexpr std::string_view transport_class_version = "2.0-870";

std::string portal_text(const ipc::PortalAddress& portal, std::int32_t tpgt) {
    return fmt::format("{},{}", records::address_port(records::Portal{portal.address, portal.port, tpgt}),
                       tpgt);
}

std::string bracketed(const std::string& address) {
    return records::needs_brackets(address) ? fmt::format("[{}]", address) : std::string(or_empty(address));
}

std::string_view or_default(std::string_view text) {
    return text.empty() ? "default" : text;
}

/// Builds a tree line by line behind an indent.
class Tree {
public:
    explicit Tree(std::string_view indent) : indent_(indent) {}

    template <class... Args>
    void line(fmt::format_string<Args...> format, Args&&... args) {
        text_ += indent_;
        fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
        text_ += '\n';
    }

    /// A heading between two rulers.
    void heading(std::string_view title, std::size_t stars) {
        line("\t\t{}", std::string(stars, '*'));
        line("\t\t{}", title);
        line("\t\t{}", std::string(stars, '*'));
    }

    std::string take() { return std::move(text_); }

private:
    std::string_view indent_;
    std::string text_;
};

void add_interface(Tree& tree, const SessionSnapshot& session) {
    tree.heading("Interface:", 10);
    tree.line("\t\tIface Name: {}", or_empty(session.iface.name));
    tree.line("\t\tIface Transport: {}", or_empty(session.iface.transport));
    tree.line("\t\tIface Initiatorname: {}", or_empty(session.iface.initiator_name));
    tree.line("\t\tIface IPaddress: {}", bracketed(session.iface.ip_address));
    tree.line("\t\tIface HWaddress: {}", or_default(session.iface.hw_address));
    tree.line("\t\tIface Netdev: {}", or_default(session.iface.net_device));
    tree.line("\t\tSID: {}", session.sid);
    tree.line("\t\tiSCSI Connection State: {}", text(session.connection_state));
    tree.line("\t\tiSCSI Session State: {}", text(session.session_state));
    tree.line("\t\tInternal iscsid Session State: {}", text(session.internal_state));
}

void add_timeouts_and_chap(Tree& tree, const SessionSnapshot& session, bool show_secrets) {
    constexpr std::string_view mask = "********";
    tree.heading("Timeouts:", 9);
    tree.line("\t\tRecovery Timeout: {}", session.timeouts.recovery_s);
    tree.line("\t\tTarget Reset Timeout: {}", session.timeouts.target_reset_s);
    tree.line("\t\tLUN Reset Timeout: {}", session.timeouts.lun_reset_s);
    tree.line("\t\tAbort Timeout: {}", session.timeouts.abort_s);
    tree.heading("CHAP:", 5);
    tree.line("\t\tusername: {}", or_empty(session.chap.username));
    tree.line("\t\tpassword: {}", show_secrets ? or_empty(session.chap.password) : mask);
    tree.line("\t\tusername_in: {}", or_empty(session.chap.username_in));
    // open-iscsi names the fourth line wrongly when it shows secrets; readers know it so.
    tree.line("\t\t{}: {}", show_secrets ? "password" : "password_in",
              show_secrets ? or_empty(session.chap.password_in) : mask);
}

void add_parameters(Tree& tree, const ipc::NegotiatedSnapshot& negotiated) {
    tree.heading("Negotiated iSCSI params:", 24);
    tree.line("\t\tHeaderDigest: {}", negotiated.header_digest);
    tree.line("\t\tDataDigest: {}", negotiated.data_digest);
    tree.line("\t\tMaxRecvDataSegmentLength: {}", negotiated.max_recv_data_segment_length);
    tree.line("\t\tMaxXmitDataSegmentLength: {}", negotiated.max_xmit_data_segment_length);
    tree.line("\t\tFirstBurstLength: {}", negotiated.first_burst_length);
    tree.line("\t\tMaxBurstLength: {}", negotiated.max_burst_length);
    tree.line("\t\tImmediateData: {}", negotiated.immediate_data ? "Yes" : "No");
    tree.line("\t\tInitialR2T: {}", negotiated.initial_r2t ? "Yes" : "No");
    tree.line("\t\tMaxOutstandingR2T: {}", negotiated.max_outstanding_r2t);
}

void add_disks(Tree& tree, const SessionSnapshot& session, bool with_host) {
    tree.heading("Attached SCSI devices:", 24);
    if (with_host) {
        tree.line("\t\tHost Number: {}\tState: running", session.host_number);
    }
    for (const ipc::AttachedLun& lun : session.luns) {
        tree.line("\t\tscsi{} Channel 00 Id 0 Lun: {}", session.host_number, lun.number);
        if (std::string name = disk_name(lun); !name.empty()) {
            tree.line("\t\t\tAttached scsi disk {}\t\tState: {}", name, base::printable(lun.state));
        }
    }
}

} // namespace

std::string disk_name(const ipc::AttachedLun& lun) {
    constexpr std::string_view node_prefix = "/dev/";
    if (lun.device.empty() || !lun.uri.empty()) {
        return lun.uri;
    }
    return lun.device.starts_with(node_prefix) ? lun.device.substr(node_prefix.size()) : lun.device;
}

std::string session_list(std::span<const SessionSnapshot> sessions) {
    std::string text;
    for (const SessionSnapshot& session : sessions) {
        text += fmt::format("{}: [{}] {} {} (non-flash)\n", or_empty(session.iface.transport), session.sid,
                            portal_text(session.persistent, session.tpgt), base::printable(session.target));
    }
    return text;
}

std::string session_tree(std::span<const SessionSnapshot> sessions, const TreeStyle& style) {
    Tree tree(style.indent);
    const SessionSnapshot* previous = nullptr;
    for (const SessionSnapshot& session : sessions) {
        bool same_target = previous != nullptr && previous->target == session.target;
        if (!same_target) {
            tree.line("Target: {} (non-flash)", base::printable(session.target));
        }
        if (same_target && previous->persistent == session.persistent && previous->tpgt == session.tpgt) {
            tree.line("");
        } else {
            tree.line("\tCurrent Portal: {}", portal_text(session.current, session.tpgt));
            tree.line("\tPersistent Portal: {}", portal_text(session.persistent, session.tpgt));
        }
        add_interface(tree, session);
        if (style.timeouts_and_chap) {
            add_timeouts_and_chap(tree, session, style.show_secrets);
        }
        if (style.parameters) {
            add_parameters(tree, session.negotiated);
        }
        if (style.disks) {
            add_disks(tree, session, style.host);
        }
        previous = &session;
    }
    return tree.take();
}

std::string version_lines() {
    return fmt::format("iSCSI Transport Class version {}\nversion {}\n", transport_class_version,
                       records::compat_version);
}

std::string session_title(const SessionSnapshot& session) {
    return fmt::format("[sid: {}, target: {}, portal: {},{}]", session.sid, base::printable(session.target),
                       session.persistent.address, session.persistent.port);
}

std::string statistics_text(const SessionSnapshot& session) {
    std::string text = fmt::format("Stats for session {}\niSCSI SNMP:\n", session_title(session));
    for (const base::CounterRow& row : base::session_counters) {
        text += fmt::format("\t{}: {}\n", row.name, session.statistics.*row.value);
    }
    return text;
}

std::string attached_lines(std::span<const ipc::AttachedLun> luns, std::string_view note) {
    std::string text;
    bool usable = false;
    for (const ipc::AttachedLun& lun : luns) {
        if (disk_name(lun).empty()) {
            text += fmt::format("\tNot attached [lun: {}]: {}\n", lun.number, base::printable(lun.state));
            continue;
        }
        usable = true;
        text += fmt::format("\tAttached [lun: {}, {}: {}", lun.number, lun.uri.empty() ? "device" : "export",
                            lun.uri.empty() ? lun.device : lun.uri);
        text += lun.link.empty() ? "]\n" : fmt::format(", link: {}]\n", lun.link);
    }
    if (!usable) {
        text += "\tNo usable logical unit is attached.\n";
    }
    if (!note.empty()) {
        text += fmt::format("\tNote: {}\n", base::printable(note));
    }
    return text;
}

} // namespace iscsi::adm

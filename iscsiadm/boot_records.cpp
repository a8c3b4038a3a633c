#include "boot_records.hpp"

#include "base/text.hpp"
#include "records/text.hpp"

#include <array>
#include <fmt/format.h>
#include <utility>

namespace iscsi::adm {
namespace {

using base::fail;
using base::Result;
using records::Key;

template <class Number>
std::string number_text(const std::optional<Number>& number) {
    return number ? std::to_string(*number) : std::string();
}

/// Keys and values in open-iscsi's order; a value may be empty. Secrets are among them.
auto rows_of(const BootTarget& target) {
    using Text = base::WipedText;
    const BootNic& nic = target.nic;
    return std::array<std::pair<std::string_view, Text>, 21>{{
        {"iface.initiatorname", Text(target.initiator_name)},
        {"iface.isid", Text(target.isid)},
        {"iface.transport_name", Text("tcp")},
        {"iface.hwaddress", Text(nic.mac)},
        {"iface.bootproto", Text(nic.dhcp ? "DHCP" : "STATIC")},
        {"iface.ipaddress", Text(nic.address)},
        {"iface.prefix_len", Text(number_text(nic.prefix_len))},
        {"iface.subnet_mask", Text(nic.subnet_mask)},
        {"iface.gateway", Text(nic.gateway)},
        {"iface.primary_dns", Text(nic.primary_dns)},
        {"iface.secondary_dns", Text(nic.secondary_dns)},
        {"iface.vlan_id", Text(number_text(nic.vlan))},
        {"iface.net_ifacename", Text(nic.net_device)},
        {"node.name", Text(target.name)},
        {"node.conn[0].address", Text(target.address)},
        {"node.conn[0].port", Text(std::to_string(target.port))},
        {"node.session.auth.username", target.username},
        {"node.session.auth.password", target.password},
        {"node.session.auth.username_in", target.username_in},
        {"node.session.auth.password_in", target.password_in},
        {"node.boot_lun", Text(target.lun)},
    }};
}

Result<void> set_all(records::Record& node, std::span<const std::pair<Key, std::string_view>> values) {
    for (const auto& [key, value] : values) {
        if (auto set = node.set(key, value); !set) {
            return set;
        }
    }
    return {};
}

} // namespace

base::WipedText boot_record_text(const BootTarget& target) {
    const auto rows = rows_of(target);
    const std::string begin = fmt::format("# BEGIN RECORD {}\n", records::compat_version);
    constexpr std::string_view is = " = ";
    constexpr std::string_view end = "# END RECORD\n";
    std::size_t bytes = begin.size() + end.size();
    for (const auto& [key, value] : rows) {
        bytes += key.size() + is.size() + value.text().size() + 1;
    }
    std::string text;
    text.reserve(bytes); // one that grows leaves what it had behind
    text += begin;
    for (const auto& [key, value] : rows) {
        if (!value.empty()) {
            text.append(key).append(is).append(value.text()).append(1, '\n');
        }
    }
    text += end;
    base::WipedText whole(text);
    base::wipe(text);
    return whole;
}

ipc::Json boot_record_json(const BootTarget& target) {
    ipc::Json values = ipc::Json::object();
    for (const auto& [key, value] : rows_of(target)) {
        if (!value.empty()) {
            values[std::string(key)] = value.text();
        }
    }
    return values;
}

records::NodeId boot_node_id(const BootTarget& target) {
    // Tables have no portal group tags; 1 is what open-iscsi takes.
    return {target.name, records::Portal{target.address, target.port, 1}, "default"};
}

Result<void> set_from_firmware(const BootTarget& target, records::Record& node) {
    if (!target.initiator_name.empty()) {
        if (auto set = node.set(Key::iface_initiatorname, target.initiator_name); !set) {
            return set;
        }
    }
    if (target.username.empty()) {
        return {};
    }
    const std::array<std::pair<Key, std::string_view>, 5> chap{{
        {Key::session_authmethod, "CHAP"},
        {Key::session_username, target.username.text()},
        {Key::session_password, target.password.text()},
        {Key::session_username_in, target.username_in.text()},
        {Key::session_password_in, target.password_in.text()},
    }};
    return set_all(node, chap);
}

Result<records::Record> make_boot_node(const BootTarget& target, const records::Record& node_template) {
    const records::NodeId id = boot_node_id(target);
    auto iface = records::make_iface(id.iface);
    if (!iface) {
        return iface;
    }
    auto node = records::make_node(node_template, id.target, id.portal, *iface, records::Origin{"fw", "", 0});
    if (!node) {
        return node;
    }
    constexpr std::array<std::pair<Key, std::string_view>, 2> startup{{
        {Key::node_startup, "onboot"},
        {Key::conn_startup, "onboot"},
    }};
    auto set = set_all(*node, startup);
    if (set) {
        set = set_from_firmware(target, *node);
    }
    return set ? std::move(node) : fail(std::move(set.error()));
}

Result<void> prepare_for_boot(records::Record& node) {
    constexpr std::array<std::pair<Key, std::string_view>, 3> values{{
        {Key::session_initial_login_retry_max, "30"},
        {Key::conn_noop_out_interval, "0"},
        {Key::conn_noop_out_timeout, "0"},
    }};
    return set_all(node, values);
}

Result<void> set_parameters(records::Record& node,
                            const std::vector<std::pair<std::string, std::string>>& parameters) {
    for (const auto& [name, value] : parameters) {
        const records::Field* row = records::find_field(records::RecordKind::node, name);
        if (row == nullptr || row->has(records::read_only)) {
            return fail(base::Errc::invalid,
                        fmt::format("Unknown parameter {}.", base::printable(name, 128)));
        }
        if (auto set = node.set(row->key, value); !set) {
            return set;
        }
    }
    return {};
}

} // namespace iscsi::adm

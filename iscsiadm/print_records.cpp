#include "print.hpp"

#include "base/limits.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace iscsi::adm {
namespace {

using records::Key;

/// A target's name for a terminal: most come from the network.
std::string shown(std::string_view name) {
    return base::printable(name, base::limits::name_bytes_max * 4);
}

/// As trees have it: a tag that is not known is -1 there, and 4294967295 in the list of nodes.
std::string tagged_address(const records::Portal& portal) {
    return fmt::format("{},{}", records::address_port(portal), portal.tpgt);
}

bool is_same_portal(const records::Portal& a, const records::Portal& b) {
    return a.address == b.address && a.port == b.port;
}

template <class T, class Same>
bool holds(const std::vector<T>& values, const T& value, Same same) {
    return std::ranges::any_of(values, [&](const T& other) { return same(value, other); });
}

/// The interfaces under one portal of one target.
std::string found_ifaces(std::span<const records::NodeId> found, const records::NodeId& at) {
    std::string text;
    for (const records::NodeId& id : found) {
        if (id.target == at.target && is_same_portal(id.portal, at.portal)) {
            text += fmt::format("\t\tIface Name: {}\n", id.iface);
        }
    }
    return text;
}

} // namespace

std::string_view or_empty(std::string_view text) {
    return text.empty() ? "<empty>" : text;
}

std::string node_title(const records::NodeId& node) {
    return fmt::format("[iface: {}, target: {}, portal: {},{}]", node.iface, shown(node.target),
                       node.portal.address, node.portal.port);
}

std::string node_list(std::span<const records::Record> nodes) {
    std::string text;
    for (const records::Record& node : nodes) {
        records::NodeId id = node_id(node);
        text += fmt::format("{} {}\n", records::portal_text(id.portal), shown(id.target));
    }
    return text;
}

std::string node_tree(std::span<const records::Record> nodes) {
    std::string text;
    std::string target;
    for (const records::Record& node : nodes) {
        records::NodeId id = node_id(node);
        if (id.target != target) {
            text += fmt::format("Target: {}\n", shown(id.target));
            target = id.target;
        }
        text += fmt::format("\tPortal: {}\n\t\tIface Name: {}\n", tagged_address(id.portal), id.iface);
    }
    return text;
}

std::string found_list(std::span<const records::NodeId> found) {
    std::string text;
    for (const records::NodeId& id : found) {
        text += fmt::format("{} {}\n", tagged_address(id.portal), shown(id.target));
    }
    return text;
}

std::string found_tree(std::span<const records::NodeId> found) {
    std::string text;
    std::vector<std::string> targets;
    for (const records::NodeId& first : found) {
        if (holds(targets, first.target, std::equal_to<>())) {
            continue;
        }
        targets.push_back(first.target);
        text += fmt::format("Target: {}\n", shown(first.target));
        std::vector<records::Portal> portals;
        for (const records::NodeId& id : found) {
            if (id.target == first.target && !holds(portals, id.portal, is_same_portal)) {
                portals.push_back(id.portal);
                text += fmt::format("\tPortal: {}\n{}", tagged_address(id.portal), found_ifaces(found, id));
            }
        }
    }
    return text;
}

std::string found_sequence(std::span<const records::NodeId> found) {
    std::string text;
    const records::NodeId* previous = nullptr;
    for (const records::NodeId& id : found) {
        bool same_target = previous != nullptr && previous->target == id.target;
        if (!same_target) {
            text += fmt::format("Target: {}\n", shown(id.target));
        }
        if (!same_target || !is_same_portal(previous->portal, id.portal)) {
            text += fmt::format("\tPortal: {}\n", tagged_address(id.portal));
        }
        text += fmt::format("\t\tIface Name: {}\n", id.iface);
        previous = &id;
    }
    return text;
}

std::string iface_line(const records::Record& iface) {
    return fmt::format(
        "{} {},{},{},{},{}\n", iface.text(Key::iface_name), or_empty(iface.text(Key::iface_transport_name)),
        or_empty(iface.text(Key::iface_hwaddress)), or_empty(iface.text(Key::iface_ipaddress)),
        or_empty(iface.text(Key::iface_net_ifacename)), or_empty(iface.text(Key::iface_initiatorname)));
}

std::string iface_tree(const records::Record& iface, std::span<const records::Record> nodes) {
    std::string text = fmt::format("Iface: {}\n", iface.text(Key::iface_name));
    std::string target;
    for (const records::Record& node : nodes) {
        records::NodeId id = node_id(node);
        if (id.iface != iface.text(Key::iface_name)) {
            continue;
        }
        if (id.target != target) {
            text += fmt::format("\tTarget: {}\n", shown(id.target));
            target = id.target;
        }
        text += fmt::format("\t\tPortal: {}\n", tagged_address(id.portal));
    }
    return text;
}

} // namespace iscsi::adm

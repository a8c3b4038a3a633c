// Text for people and scripts: lists and trees of records and sessions, in open-iscsi's bytes. Pure functions
// that give the text; any thread.
#pragma once

#include "ipc/snapshot.hpp"
#include "records/record.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::adm {

/// `text`, or "<empty>".
std::string_view or_empty(std::string_view text);

// ---- node records ----

/// "address:port,tag target" a line.
std::string node_list(std::span<const records::Record> nodes);
/// Target > Portal > Iface Name, a Portal line for each record.
std::string node_tree(std::span<const records::Record> nodes);

// ---- what a discovery found ----

/// "address:port,tag target" a line; a tag that is not known is -1 here.
std::string found_list(std::span<const records::NodeId> found);
/// Target > Portal > Iface Name, each portal once.
std::string found_tree(std::span<const records::NodeId> found);
/// The same in the order of `found`: what comes again after something else is printed again.
std::string found_sequence(std::span<const records::NodeId> found);

// ---- interfaces ----

/// "name transport,hwaddress,ipaddress,net_ifacename,initiatorname"
std::string iface_line(const records::Record& iface);
/// Iface > Target > Portal. `nodes` are sorted by target.
std::string iface_tree(const records::Record& iface, std::span<const records::Record> nodes);

// ---- sessions ----

/// What stands in a tree besides the session and its interface.
struct TreeStyle {
    bool timeouts_and_chap = false;
    bool parameters = false;
    bool disks = false;
    bool host = false; ///< the line of the host above the disks
    bool show_secrets = false;
    std::string_view indent = {}; ///< before every line
};

std::string session_list(std::span<const ipc::SessionSnapshot> sessions);
std::string session_tree(std::span<const ipc::SessionSnapshot> sessions, const TreeStyle& style);
/// The lines above the fullest trees, of -m session -P 3 and -m host -P 4.
std::string version_lines();

/// "[sid: 1, target: iqn..., portal: 10.0.0.1,3260]"
std::string session_title(const ipc::SessionSnapshot& session);
/// "[iface: default, target: iqn..., portal: 10.0.0.1,3260]"
std::string node_title(const records::NodeId& node);

std::string statistics_text(const ipc::SessionSnapshot& session);

/// What a disk is called where people look for it: "ublkb0", or the URI of a socket export; empty when the
/// logical unit has no disk.
std::string disk_name(const ipc::AttachedLun& lun);

/// What a login attached, a line a logical unit:
///   TAB "Attached [lun: 1, device: /dev/ublkb0, link: /dev/disk/by-path/...]"
///   TAB "Attached [lun: 1, export: nbd+unix:///?socket=/run/..., link: /run/...]"
///   TAB "Not attached [lun: 2]: why"
/// and the daemon's note as TAB "Note: ...". Says so when nothing usable is among them. This form is kept.
std::string attached_lines(std::span<const ipc::AttachedLun> luns, std::string_view note);

} // namespace iscsi::adm

// The document of -j: one JSON object on stdout in place of all text. It is made of the same results that the
// text is printed from, and its form is kept: members are added, never changed (see iscsiadm(8)).
//   {"version": 1, "exit_code": 21, "error": "no records found", "messages": [what stderr would have said],
//    "nodes": [], "sessions": [], "interfaces": [], "discoveries": [], "found": [],
//    "changes": [], "hosts": [], "actions": []}
// A list is there when the command has something of its kind, and the one that a command is about always.
// Bytes that are no UTF-8, which only names of files can have, become U+FFFD: such a thing cannot be named
// again from here. Module state; one thread.
#pragma once

#include "base/result.hpp"
#include "ipc/json.hpp"
#include "ipc/snapshot.hpp"
#include "records/record.hpp"

#include <string_view>

namespace iscsi::adm {

/// From now on there is no text but the document.
void begin_json();
bool is_json();
/// Back to text: -h and -V are for people.
void leave_json();
/// A line for "messages".
void add_message(std::string_view line);
/// Prints the document, unless text is wanted.
void finish_json(int exit_code);

/// The list of that name is there from now on, empty or not.
void begin_list(std::string_view list);
/// Adds `entry` to the list of that name; nothing when text is wanted.
void add_json(std::string_view list, ipc::Json entry);
/// Adds {"action", ...subject, "exit_code", "error", "detail"} to "actions".
void add_action(std::string_view action, ipc::Json subject, const base::Error* error = nullptr);

/// {"target", "address", "port", "tpgt", "iface"}; a tag that is not known is -1.
ipc::Json json_of(const records::NodeId& node);
/// {"name"}, for what is done to an interface.
ipc::Json json_of_name(std::string_view name);
/// {key: value} of what a dump shows; secrets as in the dump.
ipc::Json values_of(const records::Record& record, bool show_secrets);
/// The snapshot; secrets are null unless shown.
ipc::Json json_of(const ipc::SessionSnapshot& session, bool show_secrets);
/// {"sid", "target", "address", "port"}, for what is done to a session.
ipc::Json json_of_title(const ipc::SessionSnapshot& session);
ipc::Json json_of(const ipc::AttachedLun& lun);
/// {"type", "address", "port"}
ipc::Json json_of_discovery(const records::Record& discovery);

} // namespace iscsi::adm

// Which records and sessions the options -T, -p and -I mean, and which session runs on which record. One
// thread; may ask the resolver.
#pragma once

#include "context.hpp"
#include "ipc/snapshot.hpp"

#include <vector>

namespace iscsi::adm {

/// -T, -p and -I as a filter; host names are compared by what they resolve to.
records::NodeFilter filter_of(const Context& context);

/// The record that a session was logged in with.
records::NodeId node_id_of(const ipc::SessionSnapshot& session);

bool runs_on(const ipc::SessionSnapshot& session, const records::NodeId& node);

std::vector<ipc::SessionSnapshot> matching_sessions(const std::vector<ipc::SessionSnapshot>& sessions,
                                                    const records::NodeFilter& filter);

/// Tells the store which records must not vanish. The sessions are copied.
records::InUse in_use_of(std::vector<ipc::SessionSnapshot> sessions);

/// The matching node records; what was wrong with files is said on stderr.
base::Result<std::vector<records::Record>> read_nodes(const Context& context,
                                                      const records::NodeFilter& filter);

/// Warnings of files as complaints.
void complain_of(const records::Warnings& warnings);

} // namespace iscsi::adm

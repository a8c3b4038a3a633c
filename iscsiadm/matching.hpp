// Which records and sessions the options -T, -p and -I mean, and which session runs on which record. One
// thread; may ask the resolver.
#pragma once

#include "context.hpp"
#include "ipc/snapshot.hpp"

#include <cstddef>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace iscsi::adm {

/// -T, -p and -I as a filter; host names are compared by what they resolve to.
records::NodeFilter filter_of(const Context& context);

/// The record that a session was logged in with.
records::NodeId node_id_of(const ipc::SessionSnapshot& session);

bool runs_on(const ipc::SessionSnapshot& session, const records::NodeId& node);

/// Says of many records which sessions run on them, without a look at all sessions for each. Lends the
/// sessions.
class SessionsOfRecords {
public:
    explicit SessionsOfRecords(const std::vector<ipc::SessionSnapshot>& sessions);
    std::ptrdiff_t count(const records::NodeId& node) const;

private:
    std::unordered_multimap<std::string_view, const ipc::SessionSnapshot*> by_target_;
};

std::vector<ipc::SessionSnapshot> matching_sessions(const std::vector<ipc::SessionSnapshot>& sessions,
                                                    const records::NodeFilter& filter);

/// Tells the store which records must not vanish. The sessions are copied.
records::InUse in_use_of(std::vector<ipc::SessionSnapshot> sessions);

/// The matching node records; files that cannot be used are complained about.
base::Result<std::vector<records::Record>> read_nodes(const Context& context,
                                                      const records::NodeFilter& filter);

/// Files that cannot be used as complaints.
void complain_of(const records::Warnings& warnings);
/// What iscsid.conf has that cannot be used, for those who want notes.
void note_all(const records::Warnings& warnings);
/// Values of a record that cannot be used, likewise.
void note_kept(const records::Record& record);

/// The interface record of that name; what cannot be used in it is noted.
base::Result<records::Record> read_iface(const Context& context, const std::string& name);
/// "Could not read iface info for if1.", and before it why, unless there is just no such interface.
void complain_of_iface(const std::string& name, const base::Error& error);
/// That a session keeps this record from being removed.
void complain_of_use(const records::NodeId& node);

} // namespace iscsi::adm

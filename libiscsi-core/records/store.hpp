// The record database on disk (with store_*.cpp the only file code of the library). Layout and file forms are
// open-iscsi's, so that both suites can share one database. A change is a temporary file, fsync, rename and a
// sync of the directory, under the database lock; readers take no lock and never see half a record. A change
// of several files is noted in the root first; when a crash cuts it off, the next writer settles it. Many
// records in one call go to the disk in batches, which keep the lock no longer than 128 records take. Every
// name is checked before it becomes part of a path. Blocks on the disk and on the lock; a Store has no state
// of its own, any thread.
#pragma once

#include "base/result.hpp"
#include "records/paths.hpp"
#include "records/record.hpp"
#include "records/text.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::records {

/// Which node records an operation is about; a field left empty matches anything.
struct NodeFilter {
    std::optional<std::string> target;
    std::optional<Portal> portal; ///< address and port; the group tag is not compared
    std::optional<std::string> iface;
    /// Whether two different address texts mean the same host (the caller may resolve names); may be empty.
    std::function<bool(std::string_view, std::string_view)> same_host;

    bool matches(const NodeId& id) const;
};

/// Changes a record in memory; an error leaves the file as it is.
using Change = std::function<base::Result<void>(Record&)>;
/// Tells whether a session runs on a node record. It is asked with the database's lock held, right before the
/// record is removed, and once more behind that: when the answer has changed the record is put back. (Where a
/// discovery removes, also before the lock is taken.) So it may look at what changes meanwhile, from the
/// thread that called; it must be quick and not write to the database. Who first makes a session known to it
/// and then finds that the record is there keeps it.
using InUse = std::function<bool(const NodeId&)>;
/// Is told what became of each of many records, in the order in which they were named.
using Told = std::function<void(const NodeId&, const base::Result<void>&)>;

/// What an answer to a discovery says.
struct FoundPortal {
    std::string target;
    Portal portal;
    std::string iface = "default"; ///< the one through which it was found

    friend bool operator==(const FoundPortal&, const FoundPortal&) = default;
};

/// A discovery's outcome, to be brought into the node records.
struct DiscoveryUpdate {
    RecordKind kind = RecordKind::send_targets;
    Portal source;                  ///< address and port of the discovery record
    std::vector<FoundPortal> found; ///< checked again here: one bad name refuses the whole update
    std::vector<Record> ifaces;     ///< those that were asked, among them each that found something
    bool add = true;                ///< -o new: create missing records
    bool refresh = true;            ///< -o update: bring interface keys and origin up to date; the rest stays
    bool remove = true;             ///< -o delete: remove records of this source that were not found
    bool overwrite = false;         ///< refresh makes records anew from the configuration, as open-iscsi does
    InUse in_use;                   ///< such records are not removed; may be empty
    /// Each interface was asked and answered: one that found nothing says that all of its portals are gone.
    bool all_answered = false;
};

struct DiscoveryChanges {
    std::vector<NodeId> added;
    std::vector<NodeId> kept;
    std::vector<NodeId> removed;
    std::vector<NodeId> spared; ///< not found any more, but in use
};

/// initiatorname.iscsi.
struct InitiatorName {
    std::string name;
    std::string alias; ///< may be empty
};

class Store {
public:
    /// `lock_wait` bounds every wait for the database lock.
    explicit Store(Paths paths, std::chrono::milliseconds lock_wait = std::chrono::seconds(30));

    const Paths& paths() const { return paths_; }

    // Errors of all functions below: Errc::database with path and reason when the file system refuses or the
    // lock cannot be had, Errc::invalid when a name or value is refused, Errc::not_found as said.

    // Node records.

    /// The matching records, sorted by target, portal and interface. Unusable files become warnings.
    base::Result<std::vector<Record>> nodes(const NodeFilter& filter, Warnings& warnings) const;
    /// Errc::not_found when there is none. A tag that is not known finds the record of any tag.
    base::Result<Record> node(const NodeId& id, Warnings& warnings) const;
    /// Adds or replaces. A record without group tag takes the tag of an existing record of the same portal;
    /// one with a tag takes the place of one without. Gives the identity it was stored under.
    base::Result<NodeId> write_node(const Record& node) const;
    /// Reads, changes and writes back under one lock. Errc::not_found.
    base::Result<void> update_node(const NodeId& id, const Change& change) const;
    /// Removes the file, its links and the directories that became empty. Errc::not_found.
    base::Result<void> remove_node(const NodeId& id) const;
    /// update_node() of many, in batches: the disk is waited for a few times a batch, not a record. Each
    /// record is as before or changed whatever happens, and durable when it is told of. Others have the lock
    /// between batches.
    void update_nodes(std::span<const NodeId> ids, const Change& change, const Told& told) const;
    /// remove_node() of many, as update_nodes(). Errc::session_exists for those `in_use` (may be empty),
    /// which stay.
    void remove_nodes(std::span<const NodeId> ids, const InUse& in_use, const Told& told) const;

    // Discovery records (RecordKind::send_targets and isns).

    base::Result<std::vector<Record>> discoveries(RecordKind kind, Warnings& warnings) const;
    base::Result<Record> discovery(RecordKind kind, const Portal& portal, Warnings& warnings) const;
    base::Result<void> write_discovery(const Record& discovery) const;
    base::Result<void> update_discovery(RecordKind kind, const Portal& portal, const Change& change) const;
    /// Removes the record and the node records that came from it; those `in_use` stay (may be empty).
    base::Result<DiscoveryChanges> remove_discovery(RecordKind kind, const Portal& portal,
                                                    const InUse& in_use) const;
    /// The node records that came from this discovery record.
    base::Result<std::vector<NodeId>> discovered(RecordKind kind, const Portal& portal) const;
    /// The node records that came from no discovery record: `type` is "static" or "fw".
    base::Result<std::vector<NodeId>> undiscovered(std::string_view type) const;
    /// Brings a discovery's outcome into the node records: what exists keeps the values that people set. An
    /// empty outcome changes nothing, unless all_answered.
    base::Result<DiscoveryChanges> apply_discovery(const DiscoveryUpdate& update, const Config& config) const;

    // Interfaces.

    /// Those of the database by name, then the built-in ones (default, iser).
    base::Result<std::vector<Record>> ifaces(Warnings& warnings) const;
    /// Those that a discovery goes through when none was named: the TCP ones of the database, the default one
    /// when there are none.
    base::Result<std::vector<Record>> discovery_ifaces(Warnings& warnings) const;
    /// Errc::database when there is no such file, as open-iscsi has it.
    base::Result<Record> iface(std::string_view name, Warnings& warnings) const;
    /// Adds or replaces; built-in ones are refused.
    base::Result<void> write_iface(const Record& iface) const;
    /// Also copies the result into every node record bound to the interface.
    base::Result<void> update_iface(std::string_view name, const Change& change) const;
    /// Removes the interface and the node records bound to it. Errc::session_exists, and nothing is removed,
    /// when one of them is `in_use`.
    base::Result<void> remove_iface(std::string_view name, const InUse& in_use) const;

    // Files that people write.

    /// Errc::not_found when the file or the line is missing, Errc::invalid when the name is no iSCSI name.
    base::Result<InitiatorName> initiator_name() const;
    /// iscsid.conf over the compiled defaults; a missing file is a warning.
    base::Result<Config> config(Warnings& warnings) const;

private:
    Paths paths_;
    std::chrono::milliseconds lock_wait_;
};

/// What Store::initiator_name and Store::config read, from another file.
base::Result<InitiatorName> read_initiator_name(const std::string& path);
base::Result<Config> read_config(const std::string& path, Warnings& warnings);
/// The same of a file that somebody asked for by its name: Errc::database, too, when it is not there.
base::Result<Config> read_named_config(const std::string& path, Warnings& warnings);

/// Paths::from_environment() with the database where iscsid.db_dir of iscsid.conf says, unless ISCSI_DB_DIR
/// is set. Errc::database when either is not an absolute path.
base::Result<Paths> find_paths();

/// True for the interfaces that exist without a file.
bool is_builtin_iface(std::string_view name);

} // namespace iscsi::records

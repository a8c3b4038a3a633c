// One access to the record database: the opened root and, for writing, the lock. The operations on node
// records that several of the Store's functions are made of are here; each assumes that the lock is held when
// it writes. Lives for one call of a Store function; one thread.
#pragma once

#include "base/result.hpp"
#include "records/paths.hpp"
#include "records/record.hpp"
#include "records/store.hpp"
#include "records/store_files.hpp"
#include "records/store_lock.hpp"

#include <chrono>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::records {

/// The file of one node record.
struct NodePlace {
    std::string target; ///< directory below nodes/
    std::string portal; ///< directory below that; without group tag the record file itself
    std::string iface;  ///< file in it; empty when `portal` is the file
    NodeId id;          ///< as the path (and, for what it does not say, the content) has it

    friend bool operator==(const NodePlace&, const NodePlace&) = default;
};

class Database {
public:
    /// Errc::not_found when there is no database yet.
    static base::Result<Database> open_to_read(const Paths& paths);
    /// Takes the lock, creates the root when missing, clears away what a crash left.
    static base::Result<Database> open_to_write(const Paths& paths, std::chrono::milliseconds lock_wait);

    /// The directory below the root; Errc::not_found. The first name may be a link of the administrator's.
    base::Result<Directory> existing(std::initializer_list<std::string_view> names) const;
    base::Result<Directory> made(std::initializer_list<std::string_view> names) const;
    base::Result<void> replace(const Directory& directory, std::string_view name, const Record& record) const;

    /// Places of the node records that match, sorted. Entries that cannot be records become warnings.
    base::Result<std::vector<NodePlace>> places(const NodeFilter& filter, Warnings& warnings) const;
    /// The record at a place; its identity is the place's whatever the content says.
    base::Result<Record> read(const NodePlace& place, Warnings& warnings) const;
    /// The place of an existing record. `any_tag`: a differing group tag will do. An id without tag matches
    /// any.
    base::Result<std::optional<NodePlace>> find(const NodeId& id, bool any_tag) const;
    /// Writes the record and its link at its own place and removes it from `old`, where it was before.
    base::Result<NodePlace> write(const Record& node, const std::optional<NodePlace>& old) const;
    base::Result<void> remove(const NodePlace& place) const;

private:
    Database(const Paths& paths, Directory root, std::optional<Lock> lock);
    void places_in_target(const std::string& target, const NodeFilter& filter, std::vector<NodePlace>& out,
                          Warnings& warnings) const;
    void clear_leftovers() const;
    base::Result<void> link(const Record& node, const NodePlace& place) const;
    void unlink(const Record& node, const NodePlace& place) const;
    void remove_flat_twin(const NodePlace& place) const;
    void remove_empty_directories(const NodePlace& place) const;

    std::string db_dir_;
    Directory root_;
    std::optional<Lock> lock_;
};

/// Names of what a discovery record's directory holds.
struct DiscoveryLayout {
    std::string_view directory; ///< below the root
    std::string_view file;      ///< in <address>,<port> below that
    std::string_view origin;    ///< node.discovery_type of what it found
};
const DiscoveryLayout& discovery_layout(RecordKind kind);

/// True when the node record says that it came from this discovery record.
bool comes_from(const Record& node, RecordKind kind, const Portal& portal);

} // namespace iscsi::records

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
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::records {

/// The file of one node record.
struct NodePlace {
    std::string target; ///< directory below nodes/
    std::string portal; ///< directory below that; of a flat place the record file itself
    std::string iface;  ///< file in it; empty when the place is flat
    NodeId id;          ///< as the path (and, for what it does not say, the content) has it
    bool flat = false;  ///< the old form, of a record whose group tag was not known

    friend bool operator==(const NodePlace&, const NodePlace&) = default;
};

/// A node record and where it lies.
struct StoredNode {
    NodePlace place;
    Record record;
};

/// A node record to be written, and the one that is there, as Database::write has them.
struct NodeWrite {
    Record node;
    std::optional<StoredNode> old;
};

/// How many records are changed under one lock, with one note.
inline constexpr std::size_t batch_records_max = 128;

class Database {
public:
    /// Errc::not_found when there is no database yet.
    static base::Result<Database> open_to_read(const Paths& paths);
    /// Takes the lock, creates the root when missing, finishes or clears away what a crash left.
    static base::Result<Database> open_to_write(const Paths& paths, std::chrono::milliseconds lock_wait);

    /// The directory below the root; Errc::not_found. The first name may be a link of the administrator's.
    base::Result<Directory> existing(std::initializer_list<std::string_view> names) const;
    base::Result<Directory> made(std::initializer_list<std::string_view> names) const;
    /// Writes a record's file. `top` is the directory's first name below the root.
    base::Result<void> replace(std::string_view top, const Directory& directory, std::string_view name,
                               const Record& record) const;

    /// Sees each place that matches with the directory that holds its file.
    using OnPlace = std::function<base::Result<void>(const NodePlace&, const Directory&)>;
    /// Walks over the node records in the order of their names. What cannot be a record becomes a warning;
    /// what cannot be read for another reason, or fails in `on_place`, is the error at the end of the walk.
    base::Result<void> walk(const NodeFilter& filter, Warnings& warnings, const OnPlace& on_place) const;
    /// What the walk finds.
    base::Result<std::vector<NodePlace>> places(const NodeFilter& filter, Warnings& warnings) const;
    /// The record at a place; its identity is the place's whatever the content says.
    base::Result<Record> read(const NodePlace& place, Warnings& warnings) const;
    /// The same, from the directory that a walk has opened already.
    base::Result<Record> read_in(const Directory& directory, const NodePlace& place,
                                 Warnings& warnings) const;
    /// The place of an existing record. `any_tag`: a differing group tag will do. An id without tag matches
    /// any.
    base::Result<std::optional<NodePlace>> find(const NodeId& id, bool any_tag) const;
    /// What find() finds, read.
    base::Result<std::optional<StoredNode>> find_record(const NodeId& id, bool any_tag) const;
    /// Writes the record and its link at its own place and removes it from that of `old`, where it was
    /// before.
    base::Result<NodePlace> write(const Record& node, const std::optional<StoredNode>& old) const;
    base::Result<void> remove(const NodePlace& place) const;

    /// write() and remove() of many, at most batch_records_max: what each step changes goes to the disk
    /// together. A crash between leaves each record old or new. Where that fails they are gone through one by
    /// one; gives the outcome of each. Records of which two are the same are written one by one.
    std::vector<base::Result<void>> write_many(const std::vector<NodeWrite>& writes) const;
    /// Errc::session_exists for those `in_use` (may be empty), which stay. It is asked right before the
    /// removal and once more behind it; what has come into use between is put back before the lock is given
    /// back.
    std::vector<base::Result<void>> remove_many(const std::vector<NodePlace>& places,
                                                const InUse& in_use) const;

    /// A change of several steps: noted in the root before the first of them and forgotten after the last.
    /// When a crash or an error comes between, what the change was about is settled, at once or by the next
    /// writer. `subject` is a path below the root: nodes/..., ifaces/<name> or a discovery record's
    /// directory; `replaced` a node's old path. A change may have others within.
    base::Result<void> noted(const std::string& subject, const std::string& replaced,
                             const std::function<base::Result<void>()>& steps) const;
    /// noted() of what only removes. It goes on when it cannot be noted, or when earlier changes cannot be
    /// settled: a full disk has no space for the note of the removal that would make some. A crash then
    /// leaves at worst a record without its link, links of a discovery record that is gone, or an empty
    /// directory.
    base::Result<void> noted_removal(const std::string& subject,
                                     const std::function<base::Result<void>()>& steps) const;
    /// One step of many changes: the directories that change in it are synced at its end.
    base::Result<void> together(const std::function<base::Result<void>()>& changes) const;
    /// An interface's own file. Errc::not_found.
    base::Result<Record> read_iface(std::string_view name, Warnings& warnings) const;
    /// Copies an interface into the node records bound to it.
    base::Result<void> spread_iface(const Record& iface) const;
    /// Removes what a discovery record's directory holds when the record itself is not in it (any more).
    base::Result<void> clear_discovery_leftovers(RecordKind kind, std::string_view portal) const;

private:
    struct Walk;

    Database(const Paths& paths, Directory root, std::optional<Lock> lock);
    base::Result<std::string> content_of(const Directory& directory, const std::string& name) const;
    void walk_target(const Directory& target, std::string_view name, Walk& walk) const;
    void look_at_target(const Directory& target, std::string_view name, Walk& walk) const;
    void walk_portal(const Directory& portal, NodePlace place, Walk& walk) const;
    void walk_flat(const Directory& target, const NodePlace& place, Walk& walk) const;
    void see(const NodePlace& place, const Directory& directory, Walk& walk) const;
    bool exists(const NodePlace& place) const;

    base::Result<void> stage(std::string_view top,
                             const std::function<base::Result<void>(const Directory&)>& put) const;
    base::Result<void> change(const Record& node, const NodePlace& place,
                              const std::optional<StoredNode>& old) const;
    void undo(const Record& node, const NodePlace& place, const std::optional<StoredNode>& old) const;
    base::Result<void> put(const Record& node, const NodePlace& place) const;
    base::Result<void> put_back(const Record& node) const;
    base::Result<void> take_away(const NodePlace& place) const;
    base::Result<void> take_link_away(const NodePlace& place) const;
    base::Result<void> take_file_away(const NodePlace& place) const;
    base::Result<void> write_all(const std::vector<NodeWrite>& writes) const;
    base::Result<void> write_staged(const std::vector<NodeWrite>& writes, const Directory& staging) const;
    base::Result<void> write_steps(const std::vector<NodeWrite>& writes, std::vector<StagedFile> files) const;
    base::Result<void> put_steps(const std::vector<NodeWrite>& writes, std::vector<StagedFile> files) const;
    void undo_all(const std::vector<NodeWrite>& writes) const;
    base::Result<void> write_again(const NodeWrite& write) const;
    base::Result<void> remove_all(const std::vector<NodePlace>& places) const;
    base::Result<void> remove_again(const NodePlace& place) const;
    base::Result<void> link(const Record& node, const NodePlace& place) const;
    base::Result<void> unlink(const Record& node, const NodePlace& place) const;
    base::Result<void> remove_flat_twin(const NodePlace& place) const;
    base::Result<void> remove_empty_directories(const NodePlace& place) const;

    base::Result<Directory> staging_of(std::string_view top) const;
    base::Result<void> note(const std::string& text) const;
    void forget_note(std::string_view name) const;
    /// noted() of many node records, each "<subject>" or "<subject>//<replaced>". Has no change within.
    base::Result<void> all_noted(const std::vector<std::string>& texts,
                                 const std::function<base::Result<void>()>& steps) const;
    /// The same for noted_removal().
    base::Result<void> all_removals_noted(const std::vector<std::string>& texts,
                                          const std::function<base::Result<void>()>& steps) const;
    base::Result<void> note_many(const std::vector<std::string>& texts) const;
    base::Result<void> after_note(const std::function<base::Result<void>()>& steps) const;
    base::Result<void> forget_or_settle(base::Result<void> done) const;
    base::Result<void> settle_many() const;
    void recover() const;
    base::Result<void> settle_notes() const;
    base::Result<void> settle(std::string_view text) const;
    base::Result<void> settle_node(const NodePlace& place, const std::optional<NodePlace>& replaced) const;
    base::Result<void> settle_iface(std::string_view name) const;

    std::string db_dir_;
    std::string lock_dir_;
    Directory root_;
    std::optional<Lock> lock_;
    mutable int rereads_left_ = 16;      ///< of records that another suite is just writing
    mutable unsigned changes_ = 0;       ///< noted ones that are going on, one in another
    mutable Syncs* syncs_ = nullptr;     ///< of the step that is going on
    mutable base::Result<void> settled_; ///< why the notes that are there could not be settled
};

/// How a Store gets at its database.
struct Access {
    const Paths& paths;
    std::chrono::milliseconds lock_wait;
};

/// Walks over `count` things in batches of batch_records_max, each under a lock of its own, until a batch
/// fails or the lock cannot be had. Others who wait for the lock get it at times. `unlocked` (may be empty)
/// is called behind each batch, when its lock has been given back: what may block belongs there.
base::Result<void> in_batches(
    const Access& access, std::size_t count,
    const std::function<base::Result<void>(const Database&, std::size_t begin, std::size_t end)>& batch,
    const std::function<void()>& unlocked = {});

/// Passes over what is gone; what is no file of ours becomes a warning. Other errors come back.
base::Result<void> pass_over(const base::Error& error, Warnings& warnings);

/// Where a record of this identity belongs.
NodePlace own_place(const NodeId& id);
/// The place's directory below the target's, if it has one, and its file in that.
std::string_view directory_of(const NodePlace& place);
const std::string& file_of(const NodePlace& place);
/// Below the database's root.
std::string path_of(const NodePlace& place);
/// What the note of a change says.
std::string note_text(const std::string& subject, const std::string& replaced);
/// True when a record that becomes another one at its own place has the same link then.
bool keeps_link(const StoredNode& old, const Record& node);

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

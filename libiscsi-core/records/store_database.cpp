#include "records/store_database.hpp"

#include "base/check.hpp"
#include "base/names.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <set>

namespace iscsi::records {
namespace {

using base::Errc;
using base::fail;
using base::Result;

constexpr DiscoveryLayout send_targets_layout{"send_targets", "st_config", "send_targets"};
constexpr DiscoveryLayout isns_layout{"isns", "isns_config", "isns"};

constexpr std::chrono::milliseconds reread_wait{1000};

bool is_same_but_for_tag(const NodeId& a, const NodeId& b) {
    return a.target == b.target && base::is_same_host(a.portal.address, b.portal.address) &&
           a.portal.port == b.portal.port && a.iface == b.iface;
}

/// Of those behind the first `kept` each stays once.
void drop_repeated(Warnings& warnings, std::size_t kept) {
    std::set<std::string> said;
    auto is_repeated = [&](const std::string& warning) { return !said.insert(warning).second; };
    warnings.erase(
        std::remove_if(warnings.begin() + static_cast<std::ptrdiff_t>(kept), warnings.end(), is_repeated),
        warnings.end());
}

/// False for what may be half of a record. The oldest files have neither of the two lines around the keys.
bool is_complete(std::string_view content) {
    return content.rfind("# END RECORD") != std::string_view::npos ||
           (content.ends_with('\n') && content.find("# BEGIN RECORD") == std::string_view::npos);
}

} // namespace

/// One walk over the node records.
struct Database::Walk {
    const NodeFilter& filter;
    Warnings& warnings;
    const OnPlace& on_place;
    Result<void> done = {};
    bool missed = false;              ///< something was listed and then not there
    std::vector<NodePlace> seen = {}; ///< of the target that is looked at
    std::size_t seen_before = 0;      ///< of them, those of earlier looks

    /// The walk goes on; its first real error stays.
    void see(const base::Error& error) {
        missed = missed || error.code == Errc::not_found;
        Result<void> passed = pass_over(error, warnings);
        if (!passed && done) {
            done = passed;
        }
    }
    void see(const NodePlace& place, const Directory& directory) {
        Result<void> told = on_place(place, directory);
        if (told) {
            seen.push_back(place);
        } else {
            see(told.error());
        }
    }
};

Result<void> pass_over(const base::Error& error, Warnings& warnings) {
    if (error.code == Errc::invalid) {
        add_warning(warnings, error.detail);
        return {};
    }
    return error.code == Errc::not_found ? Result<void>() : fail(error);
}

const DiscoveryLayout& discovery_layout(RecordKind kind) {
    base::check(kind == RecordKind::send_targets || kind == RecordKind::isns, "a kind of discovery record");
    return kind == RecordKind::isns ? isns_layout : send_targets_layout;
}

bool comes_from(const Record& node, RecordKind kind, const Portal& portal) {
    return node.text(Key::node_discovery_type) == discovery_layout(kind).origin &&
           base::is_same_host(node.text(Key::node_discovery_address), portal.address) &&
           node.number(Key::node_discovery_port) == portal.port;
}

Database::Database(const Paths& paths, Directory root, std::optional<Lock> lock)
    : db_dir_(paths.db_dir()), lock_dir_(paths.lock_dir()), root_(std::move(root)), lock_(std::move(lock)) {}

Result<Database> Database::open_to_read(const Paths& paths) {
    Result<Directory> root = Directory::open(paths.db_dir());
    if (!root) {
        return fail(root.error());
    }
    return Database(paths, std::move(*root), std::nullopt);
}

Result<Database> Database::open_to_write(const Paths& paths, std::chrono::milliseconds lock_wait) {
    Result<Lock> lock = Lock::take(paths.lock_dir(), lock_wait);
    if (!lock) {
        return fail(lock.error());
    }
    Result<Directory> root = Directory::make(paths.db_dir());
    if (!root) {
        return fail(Errc::database, root.error().detail);
    }
    Result<void> held = lock->hold_also(*root, lock_wait);
    if (!held) {
        return fail(held.error());
    }
    Database database(paths, std::move(*root), std::move(*lock));
    database.recover();
    return database;
}

Result<Directory> Database::existing(std::initializer_list<std::string_view> names) const {
    base::check(names.size() != 0, "a directory below the root");
    Result<Directory> directory = Directory::open(fmt::format("{}/{}", db_dir_, *names.begin()));
    if (directory) {
        directory->sync_later(syncs_);
    }
    for (const auto* name = names.begin() + 1; directory && name != names.end(); ++name) {
        if (!name->empty()) {
            directory = directory->child(*name);
        }
    }
    return directory;
}

Result<Directory> Database::made(std::initializer_list<std::string_view> names) const {
    base::check(names.size() != 0, "a directory below the root");
    Result<Directory> directory = Directory::open(fmt::format("{}/{}", db_dir_, *names.begin()));
    if (!directory) {
        directory = root_.make_child(*names.begin());
    }
    if (directory) {
        directory->sync_later(syncs_);
    }
    for (const auto* name = names.begin() + 1; directory && name != names.end(); ++name) {
        if (!name->empty()) {
            directory = directory->make_child(*name);
        }
    }
    return directory;
}

Result<void> Database::replace(std::string_view top, const Directory& directory, std::string_view name,
                               const Record& record) const {
    return stage(
        top, [&](const Directory& staging) { return directory.replace(name, file_text(record), staging); });
}

Result<void> Database::walk(const NodeFilter& filter, Warnings& warnings, const OnPlace& on_place) const {
    Result<Directory> nodes = existing({"nodes"});
    if (!nodes) {
        return nodes.error().code == Errc::not_found ? Result<void>() : fail(nodes.error());
    }
    std::vector<Entry> targets;
    if (filter.target) {
        if (check_file_name(*filter.target)) {
            targets.push_back({*filter.target, Entry::Kind::directory});
        }
    } else {
        Result<std::vector<Entry>> entries = nodes->entries();
        if (!entries) {
            return fail(entries.error());
        }
        targets = std::move(*entries);
    }
    Walk walk{filter, warnings, on_place};
    for (const Entry& target : targets) {
        if (target.kind != Entry::Kind::directory) {
            continue;
        }
        Result<Directory> directory = nodes->child(target.name);
        if (directory) {
            walk_target(*directory, target.name, walk);
        } else {
            walk.see(directory.error());
        }
    }
    return walk.done;
}

// A record that moves under a tag is in its new place before it leaves the old one. So a reader, who has no
// lock, does not find what was listed when it has moved meanwhile, and then finds it when he looks again.
void Database::walk_target(const Directory& target, std::string_view name, Walk& walk) const {
    constexpr int looks_max = 8; // it would have to move each time
    const std::size_t warned_before = walk.warnings.size();
    walk.seen.clear();
    for (int look = 0; look < looks_max; ++look) {
        walk.missed = false;
        walk.seen_before = walk.seen.size();
        look_at_target(target, name, walk);
        if (!walk.missed || lock_) {
            break;
        }
    }
    drop_repeated(walk.warnings, warned_before); // each look says what it finds
}

void Database::see(const NodePlace& place, const Directory& directory, Walk& walk) const {
    for (std::size_t i = 0; i < walk.seen_before; ++i) {
        const NodePlace& before = walk.seen[i];
        if (is_same_but_for_tag(before.id, place.id) && (before == place || !exists(before))) {
            return; // an earlier look has seen it, here or where it was then
        }
    }
    walk.see(place, directory);
}

bool Database::exists(const NodePlace& place) const {
    Warnings ignored;
    return read(place, ignored).has_value();
}

void Database::look_at_target(const Directory& target, std::string_view name, Walk& walk) const {
    Result<std::vector<Entry>> portals = target.entries();
    if (!portals) {
        walk.see(portals.error());
        return;
    }
    for (const Entry& entry : *portals) {
        Result<Portal> portal = parse_portal_file_name(entry.name);
        bool flat = entry.kind != Entry::Kind::directory;
        if (!portal || flat != (portal->tpgt == tpgt_unknown)) {
            add_warning(walk.warnings, fmt::format("{}/{}: not a portal, left out", target.path(),
                                                   base::printable(entry.name)));
            continue;
        }
        std::string target_name(name);
        NodeId id{target_name, *portal, walk.filter.iface.value_or("")};
        NodePlace place{target_name, entry.name, {}, std::move(id), flat};
        if (!walk.filter.matches(place.id)) {
            continue;
        }
        if (entry.kind == Entry::Kind::file) {
            walk_flat(target, place, walk);
        } else if (!flat) {
            Result<Directory> below = target.child(entry.name);
            below ? walk_portal(*below, std::move(place), walk) : walk.see(below.error());
        }
    }
}

void Database::walk_portal(const Directory& portal, NodePlace place, Walk& walk) const {
    Result<std::vector<Entry>> ifaces = portal.entries();
    if (!ifaces) {
        walk.see(ifaces.error());
        return;
    }
    for (const Entry& iface : *ifaces) {
        place.iface = iface.name;
        place.id.iface = iface.name;
        if (iface.kind == Entry::Kind::file && walk.filter.matches(place.id)) {
            see(place, portal, walk);
        }
    }
}

/// A record without group tag: its file has to be read for the name of its interface.
void Database::walk_flat(const Directory& target, const NodePlace& place, Walk& walk) const {
    Result<Record> record = read_in(target, place, walk.warnings);
    if (!record) {
        walk.see(record.error());
        return;
    }
    NodePlace read = place;
    read.id = node_id(*record);
    if (walk.filter.matches(read.id)) {
        see(read, target, walk);
    }
}

Result<std::vector<NodePlace>> Database::places(const NodeFilter& filter, Warnings& warnings) const {
    std::vector<NodePlace> found;
    Result<void> done = walk(filter, warnings, [&](const NodePlace& place, const Directory&) {
        found.push_back(place);
        return Result<void>();
    });
    return done ? Result<std::vector<NodePlace>>(std::move(found)) : fail(done.error());
}

// open-iscsi truncates a file and then writes it, under its lock: what is half of a record now is whole when
// that lock is free. A file that stays a half is read as it is.
Result<std::string> Database::content_of(const Directory& directory, const std::string& name) const {
    Result<std::string> content = directory.read(name);
    if (!content || is_complete(*content) || lock_ || rereads_left_ == 0) {
        return content;
    }
    --rereads_left_;
    Result<Lock> theirs_to_end = Lock::take(lock_dir_, reread_wait);
    if (!theirs_to_end) {
        rereads_left_ = 0; // one such wait is enough
        return content;
    }
    return directory.read(name);
}

Result<Record> Database::read(const NodePlace& place, Warnings& warnings) const {
    Result<Directory> directory =
        existing({"nodes", place.target, place.flat ? std::string_view() : place.portal});
    return directory ? read_in(*directory, place, warnings) : fail(directory.error());
}

Result<Record> Database::read_in(const Directory& directory, const NodePlace& place,
                                 Warnings& warnings) const {
    bool flat = place.flat;
    const std::string& name = flat ? place.portal : place.iface;
    Result<std::string> content = content_of(directory, name);
    if (!content) {
        return fail(content.error());
    }
    std::string source = fmt::format("{}/{}", directory.path(), name);
    Record record = parse_record(RecordKind::node, *content, source, warnings);
    if (!is_complete(*content)) {
        add_warning(warnings, fmt::format("{}: the record is not complete", base::printable(source)));
    }
    if (flat && record.text(Key::iface_name).empty()) {
        Result<void> named = record.set(Key::iface_name, default_text(Key::iface_name));
        base::check(named.has_value(), "the default interface has a valid name");
    }
    NodeId said = node_id(record);
    bool differs = said.target != place.target || said.portal.address != place.id.portal.address ||
                   said.portal.port != place.id.portal.port || (!flat && said.iface != place.iface) ||
                   (!flat && said.portal.tpgt != place.id.portal.tpgt);
    if (!differs) {
        return record;
    }
    add_warning(warnings, fmt::format("{}: the content names another record; the path is taken",
                                      base::printable(source)));
    const Portal& portal = place.id.portal;
    std::vector<std::pair<Key, std::string>> identity{{Key::node_name, place.target},
                                                      {Key::conn_address, portal.address},
                                                      {Key::conn_port, std::to_string(portal.port)}};
    if (!flat) {
        identity.emplace_back(Key::iface_name, place.iface);
        identity.emplace_back(Key::node_tpgt, std::to_string(portal.tpgt));
    }
    for (const auto& [key, value] : identity) {
        Result<void> set = record.set(key, value);
        if (!set) {
            return fail(Errc::database,
                        fmt::format("{}: {}", base::printable(source), set.error().message()));
        }
    }
    return record;
}

} // namespace iscsi::records

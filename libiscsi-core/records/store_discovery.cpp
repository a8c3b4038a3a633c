#include "records/store_database.hpp"

#include "base/check.hpp"
#include "base/names.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace iscsi::records {
namespace {

using base::Errc;
using base::fail;
using base::Result;

tl::unexpected<base::Error> no_discovery(const Portal& portal) {
    return fail(Errc::not_found,
                fmt::format("Discovery record [{},{}] not found.", portal.address, portal.port));
}

bool same_address(const Portal& a, const Portal& b) {
    return a.address == b.address && a.port == b.port;
}

Result<Record> read_discovery(const Database& database, RecordKind kind, const Portal& portal,
                              Warnings& warnings) {
    const DiscoveryLayout& layout = discovery_layout(kind);
    Result<Directory> directory = database.existing({layout.directory, portal_file_name(portal)});
    Result<std::string> content =
        directory ? directory->read(layout.file) : Result<std::string>(fail(directory.error()));
    if (!content) {
        return content.error().code == Errc::not_found ? no_discovery(portal) : fail(content.error());
    }
    std::string source = fmt::format("{}/{}", directory->path(), layout.file);
    Record record = parse_record(kind, *content, source, warnings);
    if (!same_address(discovery_portal(record), portal)) {
        return make_discovery(record, portal);
    }
    return record;
}

Result<void> put_discovery(const Database& database, const Record& discovery) {
    const DiscoveryLayout& layout = discovery_layout(discovery.kind());
    std::string name = portal_file_name(discovery_portal(discovery));
    Result<Directory> directory = database.made({layout.directory, name});
    Result<void> done = directory ? database.replace(*directory, layout.file, discovery)
                                  : Result<void>(fail(Errc::database, directory.error().detail));
    if (!done) {
        Result<Directory> above = database.existing({layout.directory});
        if (above) {
            above->remove_if_empty(name);
        }
    }
    return done;
}

/// Removes a discovery record: the links first, so that what is left after a crash can be removed again.
Result<void> clear_discovery(const Database& database, RecordKind kind, const Portal& portal) {
    const DiscoveryLayout& layout = discovery_layout(kind);
    Result<Directory> directory = database.existing({layout.directory, portal_file_name(portal)});
    Result<std::vector<Entry>> entries =
        directory ? directory->entries() : Result<std::vector<Entry>>(fail(directory.error()));
    if (!entries) {
        return fail(entries.error());
    }
    for (const Entry& entry : *entries) {
        Result<void> done =
            entry.kind == Entry::Kind::symlink ? directory->remove(entry.name) : Result<void>();
        if (!done) {
            return done;
        }
    }
    Result<void> done = directory->remove(layout.file);
    Result<Directory> above = database.existing({layout.directory});
    if (done && above) {
        above->remove_if_empty(portal_file_name(portal));
    }
    return done;
}

/// The node records for which `wanted` says yes.
Result<std::vector<NodeId>> nodes_where(const Store& store,
                                        const std::function<bool(const Record&)>& wanted) {
    Warnings ignored;
    Result<std::vector<Record>> all = store.nodes({}, ignored);
    if (!all) {
        return fail(all.error());
    }
    std::vector<NodeId> ids;
    for (const Record& node : *all) {
        if (wanted(node)) {
            ids.push_back(node_id(node));
        }
    }
    return ids;
}

/// Removes `id`, or spares it when it is in use.
Result<void> remove_or_spare(const Store& store, const NodeId& id, const InUse& in_use,
                             DiscoveryChanges& changes) {
    if (in_use && in_use(id)) {
        changes.spared.push_back(id);
        return {};
    }
    Result<void> done = store.remove_node(id);
    if (!done && done.error().code != Errc::not_found) {
        return done;
    }
    changes.removed.push_back(id);
    return {};
}

Result<void> check_update(const DiscoveryUpdate& update) {
    for (const FoundPortal& found : update.found) {
        for (const Record& iface : update.ifaces) {
            Result<void> named = check_node_id({found.target, found.portal, iface.text(Key::iface_name)});
            if (!named) {
                return named;
            }
        }
    }
    return base::check_host(update.source.address);
}

/// An existing record after its portal was found again: interface keys, group tag and origin follow, the rest
/// is a person's. What was made by hand or comes from firmware keeps its origin.
Result<Record> refreshed(const Record& node, const FoundPortal& found, const Record& iface,
                         const DiscoveryUpdate& update) {
    Record fresh = node;
    copy_iface(iface, fresh);
    std::vector<std::pair<Key, std::string>> changes{{Key::node_tpgt, std::to_string(found.portal.tpgt)}};
    const std::string& type = node.text(Key::node_discovery_type);
    if (type != "static" && type != "fw") {
        changes.emplace_back(Key::node_discovery_type, discovery_layout(update.kind).origin);
        changes.emplace_back(Key::node_discovery_address, update.source.address);
        changes.emplace_back(Key::node_discovery_port, std::to_string(update.source.port));
    }
    for (const auto& [key, value] : changes) {
        Result<void> set = fresh.set(key, value);
        if (!set) {
            return fail(set.error());
        }
    }
    return fresh;
}

/// One found portal on one interface, under one lock.
Result<void> bring_in(const Database& database, const FoundPortal& found, const Record& iface,
                      const DiscoveryUpdate& update, const Config& config, DiscoveryChanges& changes) {
    NodeId id{found.target, found.portal, iface.text(Key::iface_name)};
    Result<std::optional<NodePlace>> place = database.find(id, true);
    if (!place) {
        return fail(place.error());
    }
    if (*place) {
        changes.kept.push_back(id);
        Warnings ignored;
        Result<Record> node = database.read(**place, ignored);
        if (!update.refresh || !node) {
            return node ? Result<void>() : fail(node.error());
        }
        Result<Record> fresh = refreshed(*node, found, iface, update);
        if (!fresh || *fresh == *node) {
            return fresh ? Result<void>() : fail(fresh.error());
        }
        Result<NodePlace> written = database.write(*fresh, *place);
        return written ? Result<void>() : fail(written.error());
    }
    if (!update.add) {
        return {};
    }
    Origin origin{discovery_layout(update.kind).origin, update.source.address, update.source.port};
    Result<Record> node = make_node(config.node, found.target, found.portal, iface, origin);
    if (!node) {
        return fail(node.error());
    }
    Result<NodePlace> written = database.write(*node, std::nullopt);
    if (!written) {
        return fail(written.error());
    }
    changes.added.push_back(id);
    return {};
}

} // namespace

Result<std::vector<Record>> Store::discoveries(RecordKind kind, Warnings& warnings) const {
    std::vector<Record> records;
    const DiscoveryLayout& layout = discovery_layout(kind);
    Result<Database> database = Database::open_to_read(paths_);
    Result<Directory> directory =
        database ? database->existing({layout.directory}) : Result<Directory>(fail(database.error()));
    Result<std::vector<Entry>> entries =
        directory ? directory->entries() : Result<std::vector<Entry>>(fail(directory.error()));
    if (!entries) {
        return entries.error().code == Errc::not_found ? Result<std::vector<Record>>(records)
                                                       : fail(entries.error());
    }
    for (const Entry& entry : *entries) {
        Result<Portal> portal = parse_portal_file_name(entry.name);
        if (!portal || entry.kind != Entry::Kind::directory) {
            continue;
        }
        Result<Record> record = read_discovery(*database, kind, *portal, warnings);
        if (record) {
            records.push_back(std::move(*record));
        } else if (record.error().code != Errc::not_found && warnings.size() < warnings_max) {
            warnings.push_back(record.error().detail);
        }
    }
    return records;
}

Result<Record> Store::discovery(RecordKind kind, const Portal& portal, Warnings& warnings) const {
    Result<Database> database = Database::open_to_read(paths_);
    if (!database) {
        return database.error().code == Errc::not_found ? no_discovery(portal) : fail(database.error());
    }
    return read_discovery(*database, kind, portal, warnings);
}

Result<void> Store::write_discovery(const Record& discovery) const {
    Result<void> named = base::check_host(discovery.text(Key::discovery_address));
    if (!named) {
        return named;
    }
    Result<Database> database = Database::open_to_write(paths_, lock_wait_);
    return database ? put_discovery(*database, discovery) : fail(database.error());
}

Result<void> Store::update_discovery(RecordKind kind, const Portal& portal, const Change& change) const {
    Result<Database> database = Database::open_to_write(paths_, lock_wait_);
    if (!database) {
        return fail(database.error());
    }
    Warnings ignored;
    Result<Record> record = read_discovery(*database, kind, portal, ignored);
    if (!record) {
        return fail(record.error());
    }
    Record changed = *record;
    Result<void> done = change(changed);
    if (!done) {
        return done;
    }
    base::check(same_address(discovery_portal(changed), portal), "an update keeps the identity of a record");
    return put_discovery(*database, changed);
}

Result<DiscoveryChanges> Store::remove_discovery(RecordKind kind, const Portal& portal,
                                                 const InUse& in_use) const {
    Warnings ignored;
    Result<Record> present = discovery(kind, portal, ignored);
    Result<std::vector<NodeId>> nodes = present ? discovered(kind, portal) : fail(present.error());
    if (!nodes) {
        return fail(nodes.error());
    }
    DiscoveryChanges changes;
    for (const NodeId& id : *nodes) {
        Result<void> done = remove_or_spare(*this, id, in_use, changes);
        if (!done) {
            return fail(done.error());
        }
    }
    Result<Database> database = Database::open_to_write(paths_, lock_wait_);
    if (!database) {
        return fail(database.error());
    }
    Result<void> cleared = clear_discovery(*database, kind, portal);
    if (!cleared) {
        return fail(cleared.error());
    }
    return changes;
}

Result<std::vector<NodeId>> Store::discovered(RecordKind kind, const Portal& portal) const {
    return nodes_where(*this, [&](const Record& node) { return comes_from(node, kind, portal); });
}

Result<std::vector<NodeId>> Store::undiscovered(std::string_view type) const {
    return nodes_where(*this,
                       [&](const Record& node) { return node.text(Key::node_discovery_type) == type; });
}

Result<DiscoveryChanges> Store::apply_discovery(const DiscoveryUpdate& update, const Config& config) const {
    DiscoveryChanges changes;
    Result<void> named = check_update(update);
    if (!named) {
        return fail(named.error());
    }
    for (const FoundPortal& found : update.found) {
        for (const Record& iface : update.ifaces) {
            // One lock a record: a long answer must not keep others waiting to the end.
            Result<Database> database = Database::open_to_write(paths_, lock_wait_);
            Result<void> done = database ? bring_in(*database, found, iface, update, config, changes)
                                         : Result<void>(fail(database.error()));
            if (!done) {
                return fail(done.error());
            }
        }
    }
    if (!update.remove || update.found.empty()) {
        return changes;
    }
    Result<std::vector<NodeId>> known = discovered(update.kind, update.source);
    if (!known) {
        return fail(known.error());
    }
    for (const NodeId& id : *known) {
        bool still_there = std::ranges::any_of(update.found, [&](const FoundPortal& found) {
            return found.target == id.target && same_address(found.portal, id.portal);
        });
        Result<void> done = still_there ? Result<void>() : remove_or_spare(*this, id, update.in_use, changes);
        if (!done) {
            return fail(done.error());
        }
    }
    return changes;
}

} // namespace iscsi::records

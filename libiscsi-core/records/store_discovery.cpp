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
    Result<Directory> above = database.made({layout.directory});
    if (!above) {
        return fail(Errc::database, above.error().detail);
    }
    return database.noted(fmt::format("{}/{}", layout.directory, name), {}, [&]() -> Result<void> {
        Result<Directory> directory = above->make_child(name);
        return directory ? database.replace(layout.directory, *directory, layout.file, discovery)
                         : fail(Errc::database, directory.error().detail);
    });
}

/// The node records for which `wanted` says yes.
Result<std::vector<NodeId>> nodes_where(const Store& store,
                                        const std::function<bool(const Record&)>& wanted) {
    std::vector<NodeId> ids;
    Result<Database> database = Database::open_to_read(store.paths());
    if (!database) {
        return database.error().code == Errc::not_found ? Result<std::vector<NodeId>>(ids)
                                                        : fail(database.error());
    }
    Warnings ignored;
    auto see = [&](const NodePlace& place, const Directory& directory) {
        Result<Record> node = database->read_in(directory, place, ignored);
        if (node && wanted(*node)) {
            ids.push_back(node_id(*node));
        }
        return node ? Result<void>() : fail(node.error());
    };
    Result<void> done = database->walk({}, ignored, see);
    return done ? Result<std::vector<NodeId>>(std::move(ids)) : fail(done.error());
}

} // namespace

Result<void> Database::clear_discovery_leftovers(RecordKind kind, std::string_view portal) const {
    const DiscoveryLayout& layout = discovery_layout(kind);
    Result<Directory> above = existing({layout.directory});
    Result<Directory> directory = above ? above->child(portal) : Result<Directory>(fail(above.error()));
    Result<std::vector<Entry>> entries =
        directory ? directory->entries() : Result<std::vector<Entry>>(fail(directory.error()));
    if (!entries) {
        return entries.error().code == Errc::not_found ? Result<void>() : fail(entries.error());
    }
    if (std::ranges::find(*entries, layout.file, &Entry::name) != entries->end()) {
        return {};
    }
    Syncs syncs;
    directory->sync_later(&syncs);
    Result<void> done;
    for (const Entry& entry : *entries) {
        if (done && entry.kind == Entry::Kind::symlink) {
            done = directory->remove(entry.name);
        }
    }
    Result<void> synced = syncs.flush();
    done = done ? synced : done;
    return done ? above->remove_if_empty(portal) : done;
}

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
        Result<void> passed = record ? Result<void>() : pass_over(record.error(), warnings);
        if (!passed) {
            return fail(passed.error());
        }
        if (record) {
            records.push_back(std::move(*record));
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
    if (!done || changed == *record) {
        return done;
    }
    base::check(same_address(discovery_portal(changed), portal), "an update keeps the identity of a record");
    return put_discovery(*database, changed);
}

Result<std::vector<NodeId>> Store::discovered(RecordKind kind, const Portal& portal) const {
    return nodes_where(*this, [&](const Record& node) { return comes_from(node, kind, portal); });
}

Result<std::vector<NodeId>> Store::undiscovered(std::string_view type) const {
    return nodes_where(*this,
                       [&](const Record& node) { return node.text(Key::node_discovery_type) == type; });
}

} // namespace iscsi::records

#include "base/check.hpp"
#include "base/names.hpp"
#include "records/store_database.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace iscsi::records {
namespace {

using base::Errc;
using base::fail;
using base::Result;

std::string describe(const NodeId& id) {
    return fmt::format("[iface: {}, target: {}, portal: {},{}]", id.iface, id.target, id.portal.address,
                       id.portal.port);
}

tl::unexpected<base::Error> no_record(const NodeId& id) {
    return fail(Errc::not_found, fmt::format("no record {}", describe(id)));
}

/// The tag under which other interfaces know the portal.
std::int32_t tag_of_portal(const std::vector<NodePlace>& places) {
    auto tagged = std::ranges::find_if(places, [](const NodePlace& p) { return !p.flat; });
    return tagged == places.end() ? tpgt_unknown : tagged->id.portal.tpgt;
}

} // namespace

bool NodeFilter::matches(const NodeId& id) const {
    if ((target && *target != id.target) || (iface && *iface != id.iface)) {
        return false;
    }
    if (!portal) {
        return true;
    }
    return portal->port == id.portal.port && (base::is_same_host(portal->address, id.portal.address) ||
                                              (same_host && same_host(id.portal.address, portal->address)));
}

Result<std::vector<Record>> Store::nodes(const NodeFilter& filter, Warnings& warnings) const {
    std::vector<Record> found;
    Result<Database> database = Database::open_to_read(paths_);
    if (!database) {
        return database.error().code == Errc::not_found ? Result<std::vector<Record>>(found)
                                                        : fail(database.error());
    }
    auto read = [&](const NodePlace& place, const Directory& directory) {
        Result<Record> record = database->read_in(directory, place, warnings);
        if (!record) {
            return Result<void>(fail(record.error()));
        }
        found.push_back(std::move(*record));
        return Result<void>();
    };
    Result<void> done = database->walk(filter, warnings, read);
    return done ? Result<std::vector<Record>>(std::move(found)) : fail(done.error());
}

Result<Record> Store::node(const NodeId& id, Warnings& warnings) const {
    Result<Database> database = Database::open_to_read(paths_);
    if (!database) {
        return database.error().code == Errc::not_found ? no_record(id) : fail(database.error());
    }
    constexpr int looks_max = 8;
    Result<Record> record = no_record(id);
    // What was found and is not there has moved under a tag, or is gone: the next look tells.
    for (int look = 0; look < looks_max && !record && record.error().code == Errc::not_found; ++look) {
        Result<std::optional<NodePlace>> place = database->find(id, false);
        if (!place || !*place) {
            return place ? no_record(id) : fail(place.error());
        }
        record = database->read(**place, warnings);
    }
    return record;
}

Result<NodeId> Store::write_node(const Record& node) const {
    NodeId id = node_id(node);
    Result<void> named = check_node_id(id);
    if (!named) {
        return fail(named.error());
    }
    Result<Database> database = Database::open_to_write(paths_, lock_wait_);
    if (!database) {
        return fail(database.error());
    }
    Record record = node;
    if (id.portal.tpgt == tpgt_unknown) {
        Warnings ignored;
        Result<std::vector<NodePlace>> known = database->places({id.target, id.portal, {}, {}}, ignored);
        if (!known) {
            return fail(known.error());
        }
        Result<void> tagged = record.set(Key::node_tpgt, std::to_string(tag_of_portal(*known)));
        if (!tagged) {
            return fail(tagged.error());
        }
        id = node_id(record);
    }
    Result<std::optional<StoredNode>> old = database->find_record(id, false);
    if (!old) {
        return fail(old.error());
    }
    Result<NodePlace> place = database->write(record, *old);
    return place ? Result<NodeId>(place->id) : fail(place.error());
}

Result<void> Store::update_node(const NodeId& id, const Change& change) const {
    Result<Database> database = Database::open_to_write(paths_, lock_wait_);
    if (!database) {
        return fail(database.error());
    }
    Result<std::optional<StoredNode>> old = database->find_record(id, false);
    if (!old) {
        return fail(old.error());
    }
    if (!*old) {
        return no_record(id);
    }
    Record changed = (*old)->record;
    Result<void> done = change(changed);
    if (!done || changed == (*old)->record) {
        return done;
    }
    base::check(node_id(changed) == node_id((*old)->record), "an update keeps the identity of a record");
    Result<NodePlace> written = database->write(changed, *old);
    return written ? Result<void>() : fail(written.error());
}

Result<void> Store::remove_node(const NodeId& id) const {
    Result<Database> database = Database::open_to_write(paths_, lock_wait_);
    if (!database) {
        return fail(database.error());
    }
    Result<std::optional<NodePlace>> place = database->find(id, false);
    if (!place) {
        return fail(place.error());
    }
    return *place ? database->remove(**place) : Result<void>(no_record(id));
}

} // namespace iscsi::records

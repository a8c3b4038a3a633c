#include "base/check.hpp"
#include "base/names.hpp"
#include "records/store_database.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

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

/// Some of many records, and what becomes of each.
struct Batch {
    explicit Batch(std::span<const NodeId> all) : ids(all), outcomes(all.size()) {}

    /// The outcomes of those at `places`.
    void take(const std::vector<std::size_t>& places, std::vector<Result<void>> done) {
        for (std::size_t i = 0; i < places.size(); ++i) {
            outcomes[places[i]] = std::move(done[i]);
        }
    }

    std::span<const NodeId> ids;
    std::vector<Result<void>> outcomes;
};

/// Changes the records `ids` batch by batch, and tells of each, also of those that no batch reached. Who is
/// told may write to a full pipe: not while others wait for the lock.
void change_all(const Access& access, std::span<const NodeId> ids, const Told& told,
                const std::function<void(const Database&, Batch&)>& change) {
    std::size_t told_of = 0;
    Batch batch({});
    auto one_batch = [&](const Database& database, std::size_t begin, std::size_t end) {
        batch = Batch(ids.subspan(begin, end - begin));
        change(database, batch);
        return Result<void>();
    };
    auto tell = [&] {
        for (const Result<void>& outcome : std::exchange(batch.outcomes, {})) {
            told(ids[told_of++], outcome);
        }
    };
    Result<void> done = in_batches(access, ids.size(), one_batch, tell);
    for (; told_of < ids.size(); ++told_of) {
        told(ids[told_of], done);
    }
}

Result<StoredNode> stored(const Database& database, const NodeId& id) {
    Result<std::optional<StoredNode>> found = database.find_record(id, false);
    if (!found) {
        return fail(found.error());
    }
    return *found ? Result<StoredNode>(std::move(**found)) : no_record(id);
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
    Result<void> outcome;
    update_nodes({&id, 1}, change, [&](const NodeId&, const Result<void>& done) { outcome = done; });
    return outcome;
}

Result<void> Store::remove_node(const NodeId& id) const {
    Result<void> outcome;
    remove_nodes({&id, 1}, {}, [&](const NodeId&, const Result<void>& done) { outcome = done; });
    return outcome;
}

void Store::update_nodes(std::span<const NodeId> ids, const Change& change, const Told& told) const {
    change_all({paths_, lock_wait_}, ids, told, [&](const Database& database, Batch& batch) {
        std::vector<NodeWrite> writes;
        std::vector<std::size_t> written; // whose outcome each write has
        for (std::size_t i = 0; i < batch.ids.size(); ++i) {
            Result<StoredNode> old = stored(database, batch.ids[i]);
            if (!old) {
                batch.outcomes[i] = fail(old.error());
                continue;
            }
            Record changed = old->record;
            batch.outcomes[i] = change(changed);
            if (batch.outcomes[i] && changed != old->record) {
                base::check(node_id(changed) == node_id(old->record),
                            "an update keeps the identity of a record");
                writes.push_back({std::move(changed), std::move(*old)});
                written.push_back(i);
            }
        }
        batch.take(written, database.write_many(writes));
    });
}

void Store::remove_nodes(std::span<const NodeId> ids, const InUse& in_use, const Told& told) const {
    change_all({paths_, lock_wait_}, ids, told, [&](const Database& database, Batch& batch) {
        std::vector<NodePlace> places;
        std::vector<std::size_t> removed; // whose outcome each removal has
        for (std::size_t i = 0; i < batch.ids.size(); ++i) {
            Result<std::optional<NodePlace>> place = database.find(batch.ids[i], false);
            if (place && *place) {
                places.push_back(std::move(**place));
                removed.push_back(i);
            } else {
                batch.outcomes[i] = place ? no_record(batch.ids[i]) : fail(place.error());
            }
        }
        batch.take(removed, database.remove_many(places, in_use));
    });
}

} // namespace iscsi::records

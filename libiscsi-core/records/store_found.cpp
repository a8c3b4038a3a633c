// What discoveries do to node records: the answer of one is brought in, and what came from one is removed.
#include "base/names.hpp"
#include "base/text.hpp"
#include "records/store_database.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <set>
#include <span>

namespace iscsi::records {
namespace {

using base::Errc;
using base::fail;
using base::Result;

/// Removes a discovery record and then its links: without the record they can be known as left over.
Result<void> clear_discovery(const Database& database, RecordKind kind, const Portal& portal) {
    const DiscoveryLayout& layout = discovery_layout(kind);
    std::string name = portal_file_name(portal);
    Result<Directory> directory = database.existing({layout.directory, name});
    if (!directory) {
        return fail(directory.error());
    }
    return database.noted_removal(fmt::format("{}/{}", layout.directory, name), [&] {
        Result<void> done = directory->remove(layout.file);
        return done ? database.clear_discovery_leftovers(kind, name) : done;
    });
}

/// Which node records of a discovery record are to go.
struct Removal {
    RecordKind kind;
    const Portal& source;
    std::function<bool(const NodeId&)> goes; ///< empty: all
    const InUse& in_use;
    std::chrono::milliseconds lock_wait;
};

/// Of the records `ids` those that came from the discovery record, as they are now.
Result<std::vector<NodePlace>> still_discovered(const Database& database, std::span<const NodeId> ids,
                                                const Removal& removal) {
    std::vector<NodePlace> places;
    for (const NodeId& id : ids) {
        Result<std::optional<StoredNode>> node = database.find_record(id, false);
        if (!node) {
            return fail(node.error());
        }
        if (*node && comes_from((*node)->record, removal.kind, removal.source)) {
            places.push_back(std::move((*node)->place));
        }
    }
    return places;
}

/// Removes the records that came from a discovery record and for which `goes` says yes, or spares those in
/// use. They are looked at once more under the lock: meanwhile one may have become another's.
Result<void> remove_discovered(const Store& store, const Removal& removal, DiscoveryChanges& changes) {
    Result<std::vector<NodeId>> known = store.discovered(removal.kind, removal.source);
    if (!known) {
        return fail(known.error());
    }
    std::vector<NodeId> going;
    for (NodeId& id : *known) {
        if (removal.goes && !removal.goes(id)) {
            continue;
        }
        bool stays = removal.in_use && removal.in_use(id);
        (stays ? changes.spared : going).push_back(std::move(id));
    }
    auto one_batch = [&](const Database& database, std::size_t begin, std::size_t end) -> Result<void> {
        Result<std::vector<NodePlace>> places =
            still_discovered(database, std::span(going).subspan(begin, end - begin), removal);
        if (!places) {
            return fail(places.error());
        }
        std::vector<Result<void>> outcomes = database.remove_many(*places, removal.in_use);
        for (std::size_t i = 0; i < outcomes.size(); ++i) {
            bool is_used = !outcomes[i] && outcomes[i].error().code == Errc::session_exists;
            if (!outcomes[i] && !is_used) {
                return outcomes[i];
            }
            (is_used ? changes.spared : changes.removed).push_back((*places)[i].id);
        }
        return {};
    };
    return in_batches({store.paths(), removal.lock_wait}, going.size(), one_batch);
}

const Record* iface_named(const DiscoveryUpdate& update, const std::string& name) {
    auto found = std::ranges::find_if(
        update.ifaces, [&](const Record& iface) { return iface.text(Key::iface_name) == name; });
    return found == update.ifaces.end() ? nullptr : &*found;
}

Result<void> check_update(const DiscoveryUpdate& update) {
    for (const FoundPortal& found : update.found) {
        Result<void> named = check_node_id({found.target, found.portal, found.iface});
        if (!named) {
            return named;
        }
        if (iface_named(update, found.iface) == nullptr) {
            return fail(Errc::invalid, fmt::format("an answer through interface {}, which was not asked",
                                                   base::printable(found.iface, 64)));
        }
    }
    return base::check_host(update.source.address);
}

/// A portal by what a record's place is known by, but for its group tag.
std::string key(const std::string& target, const Portal& portal, const std::string& iface) {
    return fmt::format("{} {},{} {}", target, base::comparable_host(portal.address), portal.port, iface);
}

/// Whether an answer says that a record's portal is gone. An interface that found nothing at all was not
/// able to ask, and says nothing; one that was not asked keeps its records while the portal is there.
class Answer {
public:
    explicit Answer(const DiscoveryUpdate& update) : update_(update) {
        for (const FoundPortal& found : update.found) {
            answered_.insert(found.iface);
            portals_.insert(key(found.target, found.portal, {}));
            portals_.insert(key(found.target, found.portal, found.iface));
        }
        for (const Record& iface : update.ifaces) {
            if (update.all_answered) {
                answered_.insert(iface.text(Key::iface_name));
            }
        }
    }

    bool is_stale(const NodeId& id) const {
        bool answered = answered_.contains(id.iface);
        if (!answered && iface_named(update_, id.iface) != nullptr) {
            return false;
        }
        return !portals_.contains(key(id.target, id.portal, answered ? id.iface : std::string()));
    }

private:
    const DiscoveryUpdate& update_;
    std::set<std::string> answered_;
    std::set<std::string> portals_; ///< with the interface, and without
};

Origin origin_of(const DiscoveryUpdate& update) {
    return {discovery_layout(update.kind).origin, update.source.address, update.source.port};
}

/// An existing record after its portal was found again: what the interface sets, group tag and origin follow,
/// the rest is a person's. What was made by hand or comes from firmware keeps its origin.
Result<Record> refreshed(const Record& node, const FoundPortal& found, const Record& iface,
                         const DiscoveryUpdate& update) {
    Record fresh = node;
    bind_iface(iface, fresh);
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

/// What becomes of the existing record `node` when its portal was found again.
Result<Record> found_again(const Record& node, const FoundPortal& found, const Record& iface,
                           const DiscoveryUpdate& update, const Config& config) {
    if (!update.overwrite) {
        return refreshed(node, found, iface, update);
    }
    return make_node(config.node, found.target, found.portal, iface, origin_of(update));
}

/// What is to be written of one found portal; empty when nothing is.
Result<std::optional<NodeWrite>> bring_in(const Database& database, const FoundPortal& found,
                                          const DiscoveryUpdate& update, const Config& config,
                                          DiscoveryChanges& changes) {
    using Write = std::optional<NodeWrite>;
    NodeId id{found.target, found.portal, found.iface};
    const Record& iface = *iface_named(update, found.iface);
    Result<std::optional<StoredNode>> old = database.find_record(id, true);
    if (!old) {
        return fail(old.error());
    }
    bool is_known = old->has_value();
    if (is_known ? !update.refresh : !update.add) {
        if (is_known) {
            changes.kept.push_back(id);
        }
        return Write();
    }
    Result<Record> fresh = is_known
                               ? found_again((*old)->record, found, iface, update, config)
                               : make_node(config.node, found.target, found.portal, iface, origin_of(update));
    if (!fresh) {
        return fail(fresh.error());
    }
    (is_known ? changes.kept : changes.added).push_back(id);
    return is_known && *fresh == (*old)->record ? Write()
                                                : Write(NodeWrite{std::move(*fresh), std::move(*old)});
}

/// Some of the found portals, under one lock.
Result<void> bring_in_all(const Database& database, std::span<const FoundPortal* const> found,
                          const DiscoveryUpdate& update, const Config& config, DiscoveryChanges& changes) {
    std::vector<NodeWrite> writes;
    for (const FoundPortal* portal : found) {
        Result<std::optional<NodeWrite>> write = bring_in(database, *portal, update, config, changes);
        if (!write) {
            return fail(write.error());
        }
        if (*write) {
            writes.push_back(std::move(**write));
        }
    }
    for (const Result<void>& written : database.write_many(writes)) {
        if (!written) {
            return written;
        }
    }
    return {};
}

} // namespace

Result<DiscoveryChanges> Store::remove_discovery(RecordKind kind, const Portal& portal,
                                                 const InUse& in_use) const {
    Warnings ignored;
    Result<Record> present = discovery(kind, portal, ignored);
    if (!present) {
        return fail(present.error());
    }
    DiscoveryChanges changes;
    Result<void> done = remove_discovered(*this, {kind, portal, {}, in_use, lock_wait_}, changes);
    if (!done) {
        return fail(done.error());
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

Result<DiscoveryChanges> Store::apply_discovery(const DiscoveryUpdate& update, const Config& config) const {
    DiscoveryChanges changes;
    Result<void> named = check_update(update);
    if (!named) {
        return fail(named.error());
    }
    std::set<std::string> seen;
    std::vector<const FoundPortal*> portals;
    for (const FoundPortal& found : update.found) {
        // A portal is in one group (RFC 7143 section 4.4.1): what names it a second time is left out.
        if (seen.insert(key(found.target, found.portal, found.iface)).second) {
            portals.push_back(&found);
        }
    }
    auto one_batch = [&](const Database& database, std::size_t begin, std::size_t end) {
        return bring_in_all(database, std::span(portals).subspan(begin, end - begin), update, config,
                            changes);
    };
    Result<void> brought_in = in_batches({paths_, lock_wait_}, portals.size(), one_batch);
    if (!brought_in) {
        return fail(brought_in.error());
    }
    if (!update.remove || (update.found.empty() && !update.all_answered)) {
        return changes;
    }
    Answer answer(update);
    auto is_stale = [&](const NodeId& id) { return answer.is_stale(id); };
    Result<void> done =
        remove_discovered(*this, {update.kind, update.source, is_stale, update.in_use, lock_wait_}, changes);
    return done ? Result<DiscoveryChanges>(std::move(changes)) : fail(done.error());
}

} // namespace iscsi::records

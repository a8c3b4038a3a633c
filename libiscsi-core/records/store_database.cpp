#include "records/store_database.hpp"

#include "base/check.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <unistd.h>

namespace iscsi::records {
namespace {

using base::Errc;
using base::fail;
using base::Result;

constexpr DiscoveryLayout send_targets_layout{"send_targets", "st_config", "send_targets"};
constexpr DiscoveryLayout isns_layout{"isns", "isns_config", "isns"};

void warn(Warnings& warnings, std::string what) {
    if (warnings.size() < warnings_max) {
        warnings.push_back(std::move(what));
    }
}

} // namespace

const DiscoveryLayout& discovery_layout(RecordKind kind) {
    base::check(kind == RecordKind::send_targets || kind == RecordKind::isns, "a kind of discovery record");
    return kind == RecordKind::isns ? isns_layout : send_targets_layout;
}

bool comes_from(const Record& node, RecordKind kind, const Portal& portal) {
    return node.text(Key::node_discovery_type) == discovery_layout(kind).origin &&
           node.text(Key::node_discovery_address) == portal.address &&
           node.number(Key::node_discovery_port) == portal.port;
}

Database::Database(const Paths& paths, Directory root, std::optional<Lock> lock)
    : db_dir_(paths.db_dir()), root_(std::move(root)), lock_(std::move(lock)) {}

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
    Database database(paths, std::move(*root), std::move(*lock));
    database.clear_leftovers();
    return database;
}

void Database::clear_leftovers() const {
    for (const std::string& name : root_.staged()) {
        ::unlinkat(root_.fd(), name.c_str(), 0);
    }
}

Result<Directory> Database::existing(std::initializer_list<std::string_view> names) const {
    base::check(names.size() != 0, "a directory below the root");
    Result<Directory> directory = Directory::open(fmt::format("{}/{}", db_dir_, *names.begin()));
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
    for (const auto* name = names.begin() + 1; directory && name != names.end(); ++name) {
        if (!name->empty()) {
            directory = directory->make_child(*name);
        }
    }
    return directory;
}

Result<void> Database::replace(const Directory& directory, std::string_view name,
                               const Record& record) const {
    return directory.replace(name, file_text(record), root_);
}

Result<std::vector<NodePlace>> Database::places(const NodeFilter& filter, Warnings& warnings) const {
    std::vector<NodePlace> found;
    if (filter.target) {
        if (check_file_name(*filter.target)) {
            places_in_target(*filter.target, filter, found, warnings);
        }
        return found;
    }
    Result<Directory> nodes = existing({"nodes"});
    if (!nodes) {
        if (nodes.error().code == Errc::not_found) {
            return found;
        }
        return fail(nodes.error());
    }
    Result<std::vector<Entry>> targets = nodes->entries();
    if (!targets) {
        return fail(targets.error());
    }
    for (const Entry& target : *targets) {
        if (target.kind == Entry::Kind::directory) {
            places_in_target(target.name, filter, found, warnings);
        }
    }
    return found;
}

void Database::places_in_target(const std::string& target, const NodeFilter& filter,
                                std::vector<NodePlace>& out, Warnings& warnings) const {
    Result<Directory> directory = existing({"nodes", target});
    Result<std::vector<Entry>> portals =
        directory ? directory->entries() : Result<std::vector<Entry>>(fail(directory.error()));
    if (!portals) {
        // Somebody may have removed the last record just now.
        if (portals.error().code != Errc::not_found) {
            warn(warnings, portals.error().detail);
        }
        return;
    }
    for (const Entry& entry : *portals) {
        Result<Portal> portal = parse_portal_file_name(entry.name);
        if (!portal || (entry.kind == Entry::Kind::directory) != (portal->tpgt != tpgt_unknown)) {
            warn(warnings, fmt::format("{}/{}: not a portal, left out", directory->path(),
                                       base::printable(entry.name)));
            continue;
        }
        NodePlace place{target, entry.name, {}, {target, *portal, filter.iface.value_or("")}};
        if (!filter.matches(place.id)) {
            continue;
        }
        if (entry.kind == Entry::Kind::file) {
            Result<Record> record = read(place, warnings);
            if (!record) {
                warn(warnings, record.error().detail);
                continue;
            }
            place.id = node_id(*record);
            if (filter.matches(place.id)) {
                out.push_back(std::move(place));
            }
            continue;
        }
        Result<Directory> below = directory->child(entry.name);
        Result<std::vector<Entry>> ifaces =
            below ? below->entries() : Result<std::vector<Entry>>(fail(below.error()));
        if (!ifaces) {
            continue;
        }
        for (const Entry& iface : *ifaces) {
            place.iface = iface.name;
            place.id.iface = iface.name;
            if (iface.kind == Entry::Kind::file && filter.matches(place.id)) {
                out.push_back(place);
            }
        }
    }
}

Result<Record> Database::read(const NodePlace& place, Warnings& warnings) const {
    bool flat = place.iface.empty();
    Result<Directory> directory = existing({"nodes", place.target, flat ? std::string_view() : place.portal});
    if (!directory) {
        return fail(directory.error());
    }
    const std::string& name = flat ? place.portal : place.iface;
    Result<std::string> content = directory->read(name);
    if (!content) {
        return fail(content.error());
    }
    std::string source = fmt::format("{}/{}", directory->path(), name);
    Record record = parse_record(RecordKind::node, *content, source, warnings);
    if (content->find("# END RECORD") == std::string::npos) {
        warn(warnings, fmt::format("{}: the record is not complete", base::printable(source)));
    }
    NodeId said = node_id(record);
    bool differs = said.target != place.target || said.portal.address != place.id.portal.address ||
                   said.portal.port != place.id.portal.port || (!flat && said.iface != place.iface) ||
                   (!flat && said.portal.tpgt != place.id.portal.tpgt);
    if (!differs) {
        return record;
    }
    warn(warnings,
         fmt::format("{}: the content names another record; the path is taken", base::printable(source)));
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

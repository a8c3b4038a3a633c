#include "records/store_database.hpp"

#include "base/check.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace iscsi::records {
namespace {

using base::Errc;
using base::fail;
using base::Result;

constexpr std::string_view ifaces_name = "ifaces";
constexpr std::string_view builtin_names[] = {"default", "iser"};
constexpr std::string_view example_name = "iface.example"; // what open-iscsi installs to be read by people

tl::unexpected<base::Error> special(std::string_view name, std::string_view what) {
    return fail(Errc::invalid, fmt::format("iface {} is a special interface and cannot be {}.",
                                           base::printable(name, 64), what));
}

Result<void> put_iface(const Database& database, const Record& iface) {
    Result<Directory> directory = database.made({ifaces_name});
    return directory ? database.replace(ifaces_name, *directory, iface.text(Key::iface_name), iface)
                     : fail(Errc::database, directory.error().detail);
}

/// An interface is bound by the name of the network device or by hardware address, and stays with its way.
Result<void> check_binding(const Record& before, const Record& after) {
    // "default" binds to nothing.
    auto bound = [&](Key key) { return !before.text(key).empty() && before.text(key) != "default"; };
    auto switched = [&](Key from, Key to) {
        bool set = !after.text(to).empty() && after.text(to) != before.text(to);
        return set && bound(from) && !bound(to);
    };
    bool to_address = switched(Key::iface_net_ifacename, Key::iface_hwaddress);
    if (to_address || switched(Key::iface_hwaddress, Key::iface_net_ifacename)) {
        return fail(Errc::invalid,
                    fmt::format("Can not update interface binding from {}. You must delete the "
                                "interface and create a new one",
                                to_address ? "net_ifacename to hwaddress" : "hwaddress to net_ifacename"));
    }
    return {};
}

NodeFilter bound_to(std::string_view name) {
    return {{}, {}, std::string(name), {}};
}

} // namespace

Result<Record> Database::read_iface(std::string_view name, Warnings& warnings) const {
    Result<Directory> directory = existing({ifaces_name});
    Result<std::string> content =
        directory ? directory->read(name) : Result<std::string>(fail(directory.error()));
    if (!content) {
        return fail(content.error());
    }
    Record iface =
        parse_record(RecordKind::iface, *content, fmt::format("{}/{}", directory->path(), name), warnings);
    Result<void> named = iface.set(Key::iface_name, name);
    return named ? Result<Record>(iface) : fail(named.error());
}

Result<void> Database::spread_iface(const Record& iface) const {
    Warnings ignored;
    Result<std::vector<NodePlace>> bound = places(bound_to(iface.text(Key::iface_name)), ignored);
    if (!bound) {
        return fail(bound.error());
    }
    std::vector<NodeWrite> writes;
    auto write_them = [&] {
        Result<void> done;
        for (const Result<void>& written : write_many(writes)) {
            done = done ? written : done;
        }
        writes.clear();
        return done;
    };
    for (const NodePlace& place : *bound) {
        Result<Record> node = read(place, ignored);
        Result<void> done = node ? Result<void>() : pass_over(node.error(), ignored);
        if (node) {
            Record fresh = *node;
            copy_iface(iface, fresh);
            if (fresh != *node) {
                writes.push_back({std::move(fresh), StoredNode{place, std::move(*node)}});
            }
        }
        if (done && writes.size() == batch_records_max) {
            done = write_them();
        }
        if (!done) {
            return done;
        }
    }
    return write_them();
}

bool is_builtin_iface(std::string_view name) {
    return std::ranges::count(builtin_names, name) != 0;
}

Result<std::vector<Record>> Store::ifaces(Warnings& warnings) const {
    std::vector<Record> records;
    Result<Database> database = Database::open_to_read(paths_);
    Result<Directory> directory =
        database ? database->existing({ifaces_name}) : Result<Directory>(fail(database.error()));
    Result<std::vector<Entry>> entries =
        directory ? directory->entries() : Result<std::vector<Entry>>(fail(directory.error()));
    if (!entries && entries.error().code != Errc::not_found) {
        return fail(entries.error());
    }
    for (const Entry& entry : entries ? *entries : std::vector<Entry>{}) {
        if (entry.kind != Entry::Kind::file || is_builtin_iface(entry.name) || entry.name == example_name) {
            continue;
        }
        Result<Record> iface = database->read_iface(entry.name, warnings);
        Result<void> passed = iface ? Result<void>() : pass_over(iface.error(), warnings);
        if (!passed) {
            return fail(passed.error());
        }
        if (iface) {
            records.push_back(std::move(*iface));
        }
    }
    for (std::string_view name : builtin_names) {
        records.push_back(*make_iface(name));
    }
    return records;
}

Result<std::vector<Record>> Store::discovery_ifaces(Warnings& warnings) const {
    Result<std::vector<Record>> all = ifaces(warnings);
    if (!all) {
        return all;
    }
    std::erase_if(*all, [](const Record& iface) {
        return is_builtin_iface(iface.text(Key::iface_name)) ||
               iface.text(Key::iface_transport_name) != "tcp";
    });
    if (all->empty()) {
        Result<Record> unbound = make_iface("default");
        if (!unbound) {
            return fail(unbound.error());
        }
        all->push_back(std::move(*unbound));
    }
    return all;
}

Result<Record> Store::iface(std::string_view name, Warnings& warnings) const {
    Result<void> named = check_iface_name(name);
    if (!named) {
        return fail(named.error());
    }
    if (is_builtin_iface(name)) {
        return make_iface(name);
    }
    Result<Database> database = Database::open_to_read(paths_);
    Result<Record> found = database ? database->read_iface(name, warnings) : fail(database.error());
    return found ? found : fail(Errc::database, found.error().detail);
}

Result<void> Store::write_iface(const Record& iface) const {
    base::check(iface.kind() == RecordKind::iface, "an interface record is written as one");
    const std::string& name = iface.text(Key::iface_name);
    Result<void> named = is_builtin_iface(name) ? special(name, "modified") : check_iface_name(name);
    if (!named) {
        return named;
    }
    Result<Database> database = Database::open_to_write(paths_, lock_wait_);
    return database ? put_iface(*database, iface) : fail(database.error());
}

Result<void> Store::update_iface(std::string_view name, const Change& change) const {
    Result<void> named = is_builtin_iface(name) ? special(name, "modified") : check_iface_name(name);
    if (!named) {
        return named;
    }
    Result<Database> database = Database::open_to_write(paths_, lock_wait_);
    if (!database) {
        return fail(database.error());
    }
    Warnings ignored;
    Result<Record> iface = database->read_iface(name, ignored);
    if (!iface) {
        return fail(Errc::database, iface.error().detail);
    }
    Record changed = *iface;
    Result<void> done = change(changed);
    if (done) {
        done = check_binding(*iface, changed);
    }
    if (done) {
        base::check(changed.text(Key::iface_name) == name, "an update keeps the identity of a record");
        done = database->noted(fmt::format("{}/{}", ifaces_name, name), {}, [&] {
            Result<void> put = put_iface(*database, changed);
            return put ? database->spread_iface(changed) : put;
        });
    }
    return done;
}

Result<void> Store::remove_iface(std::string_view name, const InUse& in_use) const {
    Result<void> named = is_builtin_iface(name) ? special(name, "deleted") : check_iface_name(name);
    if (!named) {
        return named;
    }
    Result<Database> database = Database::open_to_write(paths_, lock_wait_);
    if (!database) {
        return fail(database.error());
    }
    Result<Directory> directory = database->existing({ifaces_name});
    Warnings ignored;
    Result<Record> present = database->read_iface(name, ignored);
    Result<std::vector<NodePlace>> bound =
        present ? database->places(bound_to(name), ignored) : fail(Errc::database, present.error().detail);
    if (!bound || !directory) {
        return fail(bound ? directory.error() : bound.error());
    }
    for (const NodePlace& place : *bound) {
        if (in_use && in_use(place.id)) {
            return fail(Errc::session_exists,
                        fmt::format("iface {} is used by a session to {}", name, place.id.target));
        }
    }
    for (std::size_t begin = 0; begin < bound->size(); begin += batch_records_max) {
        auto first = bound->begin() + static_cast<std::ptrdiff_t>(begin);
        auto end =
            bound->begin() + static_cast<std::ptrdiff_t>(std::min(begin + batch_records_max, bound->size()));
        for (const Result<void>& done : database->remove_many({first, end}, {})) {
            if (!done) {
                return done;
            }
        }
    }
    return directory->remove(name);
}

} // namespace iscsi::records

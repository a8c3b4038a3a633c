#include "records/store_database.hpp"

#include "base/check.hpp"

#include <fmt/format.h>

namespace iscsi::records {
namespace {

using base::Errc;
using base::fail;
using base::Result;

/// Where the symbolic link of a node record lies: <directory>[/<below>]/<name>.
struct LinkPlace {
    std::string directory;
    std::string below;
    std::string name;

    friend bool operator==(const LinkPlace&, const LinkPlace&) = default;
};

/// Empty when the record has no link: one without group tag, or a name that the file system cannot hold (what
/// belongs to which discovery record is read from the node records; the links are for other tools).
std::optional<LinkPlace> link_place(const Record& node, const NodePlace& place) {
    if (place.flat) {
        return std::nullopt;
    }
    LinkPlace link{{}, {}, fmt::format("{},{},{}", place.target, place.portal, place.iface)};
    const std::string& type = node.text(Key::node_discovery_type);
    if (type == "static" || type == "fw") {
        link.directory = type;
    } else {
        link.directory = type == "isns" ? "isns" : "send_targets";
        link.below = fmt::format("{},{}", node.text(Key::node_discovery_address),
                                 node.number(Key::node_discovery_port));
    }
    if (!check_file_name(link.name) || (!link.below.empty() && !check_file_name(link.below))) {
        return std::nullopt;
    }
    return link;
}

} // namespace

NodePlace own_place(const NodeId& id) {
    if (id.portal.tpgt == tpgt_unknown) {
        return {id.target, portal_file_name(id.portal), {}, id, true};
    }
    return {id.target, tagged_portal_file_name(id.portal), id.iface, id, false};
}

std::string_view directory_of(const NodePlace& place) {
    return place.flat ? std::string_view() : place.portal;
}

const std::string& file_of(const NodePlace& place) {
    return place.flat ? place.portal : place.iface;
}

std::string path_of(const NodePlace& place) {
    return fmt::format("nodes/{}/{}{}{}", place.target, place.portal, place.flat ? "" : "/", place.iface);
}

bool keeps_link(const StoredNode& old, const Record& node) {
    return link_place(old.record, old.place) == link_place(node, old.place);
}

Result<std::optional<NodePlace>> Database::find(const NodeId& id, bool any_tag) const {
    Warnings ignored;
    Result<std::vector<NodePlace>> same = places({id.target, id.portal, id.iface, {}}, ignored);
    if (!same) {
        return fail(same.error());
    }
    std::optional<NodePlace> best;
    for (NodePlace& place : *same) {
        bool flat = place.flat;
        if (!flat && place.id.portal.tpgt == id.portal.tpgt) {
            return std::optional(std::move(place));
        }
        if (flat || any_tag || id.portal.tpgt == tpgt_unknown) {
            best = std::move(place);
        }
    }
    return best;
}

Result<std::optional<StoredNode>> Database::find_record(const NodeId& id, bool any_tag) const {
    using Found = std::optional<StoredNode>;
    Result<std::optional<NodePlace>> place = find(id, any_tag);
    if (!place || !*place) {
        return place ? Result<Found>(std::nullopt) : fail(place.error());
    }
    Warnings ignored;
    Result<Record> record = read(**place, ignored);
    return record ? Result<Found>(StoredNode{std::move(**place), std::move(*record)}) : fail(record.error());
}

Result<NodePlace> Database::write(const Record& node, const std::optional<StoredNode>& old) const {
    NodePlace place = own_place(node_id(node));
    bool moves = old && path_of(old->place) != path_of(place);
    // Where a record lies already its name is one, whatever we would have called it.
    Result<void> done = !old || moves ? check_node_id(place.id) : Result<void>();
    if (done && old && !moves && keeps_link(*old, node)) {
        done = put(node, place);
    } else if (done) {
        done = noted(path_of(place), moves ? path_of(old->place) : std::string(),
                     [&] { return change(node, place, old); });
    }
    return done ? Result<NodePlace>(std::move(place)) : fail(done.error());
}

Result<void> Database::change(const Record& node, const NodePlace& place,
                              const std::optional<StoredNode>& old) const {
    bool moves = old && path_of(old->place) != path_of(place);
    Result<void> done = old ? unlink(old->record, old->place) : Result<void>();
    if (done) {
        done = put(node, place);
    }
    if (done && moves) {
        done = take_away(old->place);
    }
    if (!done) {
        undo(node, place, old);
        return done;
    }
    return remove_flat_twin(place);
}

/// After an error: the record as it was, where that can be had. Links and directories are settled then.
void Database::undo(const Record& node, const NodePlace& place, const std::optional<StoredNode>& old) const {
    Result<Directory> directory = existing({"nodes", place.target, directory_of(place)});
    if (!directory) {
        return;
    }
    bool moves = old && path_of(old->place) != path_of(place);
    Warnings ignored;
    if (moves && !read(old->place, ignored)) {
        return; // it can only go on
    }
    Result<void> done = unlink(node, place);
    if (done) {
        done = old && !moves ? replace("nodes", *directory, file_of(place), old->record)
                             : directory->remove(file_of(place));
    }
    std::optional<LinkPlace> link = link_place(node, place);
    Result<Directory> above =
        done && link && !link->below.empty() ? existing({link->directory}) : fail(Errc::not_found);
    if (above) {
        static_cast<void>(above->remove_if_empty(link->below));
    }
}

/// The file, then its link.
Result<void> Database::put(const Record& node, const NodePlace& place) const {
    Result<Directory> directory = made({"nodes", place.target, directory_of(place)});
    if (!directory) {
        return fail(Errc::database, directory.error().detail);
    }
    Result<void> done = replace("nodes", *directory, file_of(place), node);
    return done ? link(node, place) : done;
}

Result<void> Database::remove(const NodePlace& place) const {
    return noted_removal(path_of(place), [&] { return take_away(place); });
}

/// The link first: what a crash leaves is a record that lacks it, and not a link to nothing.
Result<void> Database::take_away(const NodePlace& place) const {
    Result<void> done = take_link_away(place);
    return done ? take_file_away(place) : done;
}

Result<void> Database::take_link_away(const NodePlace& place) const {
    Warnings ignored;
    Result<Record> node = read(place, ignored);
    return node ? unlink(*node, place) : Result<void>();
}

Result<void> Database::take_file_away(const NodePlace& place) const {
    Result<Directory> directory = existing({"nodes", place.target, directory_of(place)});
    Result<void> done = directory ? directory->remove(file_of(place)) : fail(directory.error());
    return done ? remove_empty_directories(place) : done;
}

// Once the tag of a portal is known nothing stays without: the record of this interface has been replaced,
// that of another one moves under the tag. Cut off, it can be begun again.
Result<void> Database::remove_flat_twin(const NodePlace& place) const {
    if (place.flat) {
        return {};
    }
    NodePlace flat{place.target, portal_file_name(place.id.portal), {}, place.id, true};
    Warnings ignored;
    Result<Record> twin = read(flat, ignored);
    if (!twin) {
        return pass_over(twin.error(), ignored);
    }
    NodeId id{place.target, place.id.portal, twin->text(Key::iface_name)};
    NodePlace moved = own_place(id);
    if (moved.iface != place.iface) {
        Result<void> named = check_node_id(id);
        if (!named) {
            return {}; // it stays where it is
        }
        Result<Record> present = read(moved, ignored);
        base::check(twin->set(Key::node_tpgt, std::to_string(id.portal.tpgt)).has_value(), "a tag is valid");
        Result<void> done = present                                   ? link(*present, moved)
                            : present.error().code == Errc::not_found ? put(*twin, moved)
                                                                      : fail(present.error());
        if (!done) {
            return done;
        }
    }
    return take_away(flat);
}

Result<void> Database::remove_empty_directories(const NodePlace& place) const {
    Warnings ignored;
    Result<Directory> nodes = existing({"nodes"});
    Result<Directory> target = nodes ? nodes->child(place.target) : fail(nodes.error());
    if (!target) {
        return pass_over(target.error(), ignored);
    }
    Result<void> done = place.flat ? Result<void>() : target->remove_if_empty(place.portal);
    return done ? nodes->remove_if_empty(place.target) : done;
}

Result<void> Database::link(const Record& node, const NodePlace& place) const {
    std::optional<LinkPlace> link = link_place(node, place);
    if (!link) {
        return {};
    }
    Result<Directory> directory = made({link->directory, link->below});
    if (!directory) {
        return fail(Errc::database, directory.error().detail);
    }
    std::string record = fmt::format("{}/nodes/{}/{}", db_dir_, place.target, place.portal);
    return stage(link->directory,
                 [&](const Directory& staging) { return directory->link(link->name, record, staging); });
}

Result<void> Database::unlink(const Record& node, const NodePlace& place) const {
    std::optional<LinkPlace> link = link_place(node, place);
    Result<Directory> directory =
        link ? existing({link->directory, link->below}) : Result<Directory>(fail(Errc::not_found));
    Result<void> done = directory ? directory->remove(link->name) : fail(directory.error());
    Warnings ignored;
    return done ? done : pass_over(done.error(), ignored);
}

} // namespace iscsi::records

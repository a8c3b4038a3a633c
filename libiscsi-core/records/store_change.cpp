#include "records/store_database.hpp"

#include <fmt/format.h>

namespace iscsi::records {
namespace {

using base::Errc;
using base::fail;
using base::Result;

/// Where a record of this identity belongs.
NodePlace own_place(const NodeId& id) {
    if (id.portal.tpgt == tpgt_unknown) {
        return {id.target, portal_file_name(id.portal), {}, id};
    }
    return {id.target, tagged_portal_file_name(id.portal), id.iface, id};
}

std::string_view directory_of(const NodePlace& place) {
    return place.iface.empty() ? std::string_view() : place.portal;
}

const std::string& file_of(const NodePlace& place) {
    return place.iface.empty() ? place.portal : place.iface;
}

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
    if (place.iface.empty()) {
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

Result<std::optional<NodePlace>> Database::find(const NodeId& id, bool any_tag) const {
    Warnings ignored;
    Result<std::vector<NodePlace>> same = places({id.target, id.portal, id.iface, {}}, ignored);
    if (!same) {
        return fail(same.error());
    }
    std::optional<NodePlace> best;
    for (NodePlace& place : *same) {
        bool flat = place.iface.empty();
        if (!flat && place.id.portal.tpgt == id.portal.tpgt) {
            return std::optional(std::move(place));
        }
        if (flat || any_tag || id.portal.tpgt == tpgt_unknown) {
            best = std::move(place);
        }
    }
    return best;
}

Result<NodePlace> Database::write(const Record& node, const std::optional<NodePlace>& old) const {
    NodePlace place = own_place(node_id(node));
    Warnings ignored;
    Result<Record> before = old ? read(*old, ignored) : Result<Record>(fail(Errc::not_found));
    Result<Directory> directory = made({"nodes", place.target, directory_of(place)});
    Result<void> done = directory ? replace(*directory, file_of(place), node)
                                  : Result<void>(fail(Errc::database, directory.error().detail));
    if (done) {
        done = link(node, place);
        if (!done && !old) {
            static_cast<void>(directory->remove(file_of(place)));
        }
    }
    if (!done) {
        remove_empty_directories(place);
        return fail(done.error());
    }
    remove_flat_twin(place);
    if (!old || !before) {
        return place;
    }
    if (old->portal != place.portal || old->iface != place.iface) {
        done = remove(*old);
        if (!done && done.error().code != Errc::not_found) {
            return fail(done.error());
        }
    } else if (link_place(*before, *old) != link_place(node, place)) {
        unlink(*before, *old);
    }
    return place;
}

Result<void> Database::remove(const NodePlace& place) const {
    Warnings ignored;
    Result<Record> node = read(place, ignored);
    Result<Directory> directory = existing({"nodes", place.target, directory_of(place)});
    if (!directory) {
        return fail(directory.error());
    }
    Result<void> done = directory->remove(file_of(place));
    if (!done) {
        return done;
    }
    if (node) {
        unlink(*node, place);
    }
    remove_empty_directories(place);
    return {};
}

// A record that was written without group tag before the tag was known.
void Database::remove_flat_twin(const NodePlace& place) const {
    if (place.iface.empty()) {
        return;
    }
    NodePlace flat{place.target, portal_file_name(place.id.portal), {}, place.id};
    Warnings ignored;
    Result<Record> twin = read(flat, ignored);
    if (twin && twin->text(Key::iface_name) == place.iface) {
        static_cast<void>(remove(flat));
    }
}

void Database::remove_empty_directories(const NodePlace& place) const {
    Result<Directory> nodes = existing({"nodes"});
    Result<Directory> target = existing({"nodes", place.target});
    if (target && !place.iface.empty()) {
        target->remove_if_empty(place.portal);
    }
    if (nodes) {
        nodes->remove_if_empty(place.target);
    }
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
    return directory->link(link->name, fmt::format("{}/nodes/{}/{}", db_dir_, place.target, place.portal),
                           root_);
}

void Database::unlink(const Record& node, const NodePlace& place) const {
    std::optional<LinkPlace> link = link_place(node, place);
    Result<Directory> directory =
        link ? existing({link->directory, link->below}) : Result<Directory>(fail(Errc::not_found));
    if (directory) {
        // A link that stays behind points nowhere and is never followed by us.
        static_cast<void>(directory->remove(link->name));
    }
}

} // namespace iscsi::records

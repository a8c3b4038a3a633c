#include "operations.hpp"

#include <filesystem>
#include <stdexcept>

namespace iscsi::test {
namespace {

using namespace records;
using base::Result;

const std::string t1 = "iqn.2001-04.com.example:t1";
const std::string t2 = "iqn.2001-04.com.example:t2";
const Portal p1{"10.0.0.1", 3260, 1};
const Portal p1_other_tag{"10.0.0.1", 3260, 2};
const Portal p1_untagged{"10.0.0.1", 3260, tpgt_unknown};
const Portal p2{"fe80::1%eth0", 3261, 7};
const Portal p3{"storage.example.com", 3260, 3};
const Portal source{"10.0.0.9", 3260, tpgt_unknown};
const Portal other_source{"10.0.0.8", 860, tpgt_unknown};

/// What a preparation does works, or the test is wrong.
template <class T>
T must(Result<T> done) {
    if (!done) {
        throw std::runtime_error(done.error().message());
    }
    if constexpr (!std::is_void_v<T>) {
        return std::move(*done);
    }
}

template <class T>
Result<void> outcome(const Result<T>& done) {
    return done ? Result<void>() : base::fail(done.error());
}

Record node(const std::string& target, const Portal& portal, const std::string& iface = "default",
            std::string_view origin = "static") {
    return must(
        make_node(Record(RecordKind::node), target, portal, must(make_iface(iface)), {origin, {}, 0}));
}

Record discovery(const Portal& portal) {
    return must(make_discovery(Record(RecordKind::send_targets), portal));
}

Record iface(const std::string& name) {
    return must(make_iface(name));
}

Change setting(Key key, std::string value) {
    return [key, value](Record& record) { return record.set(key, value); };
}

DiscoveryUpdate answer(const Portal& from, std::vector<FoundPortal> found) {
    DiscoveryUpdate update;
    update.source = from;
    update.found = std::move(found);
    update.ifaces = {iface("default")};
    return update;
}

void nothing(const Store&) {}

void with_nodes(const Store& store) {
    must(store.write_node(node(t1, p1)));
    must(store.write_node(node(t1, p1, "if1")));
    must(store.write_node(node(t2, p2)));
}

void with_untagged(const Store& store) {
    must(store.write_node(node(t1, p1_untagged)));
}

/// Of another interface than the one that brings the tag.
void with_untagged_of_other(const Store& store) {
    must(store.write_node(node(t1, p1_untagged, "if1")));
}

/// The oldest form: without group tag by its name, with it by its content.
void with_oldest(const Store& store) {
    must(store.write_iface(iface("if1")));
    must(store.write_node(node(t1, p1, "if1")));
    namespace fs = std::filesystem;
    fs::path target = store.paths().db_dir() + "/nodes/" + t1;
    fs::rename(target / "10.0.0.1,3260,1/if1", target / "10.0.0.1,3260");
    fs::remove(target / "10.0.0.1,3260,1");
    fs::remove(store.paths().db_dir() + "/static/" + t1 + ",10.0.0.1,3260,1,if1");
}

void with_discovered(const Store& store) {
    must(store.write_discovery(discovery(source)));
    must(store.apply_discovery(answer(source, {{t1, p1}, {t1, p2}, {t2, p3}}), Config{}));
}

/// Two targets, one with two portals and one of those through two interfaces.
std::vector<NodeId> several() {
    return {{t1, p1, "default"}, {t1, p1, "if1"}, {t1, p2, "default"}, {t2, p3, "default"}};
}

void with_several(const Store& store) {
    for (const NodeId& id : several()) {
        must(store.write_node(node(id.target, id.portal, id.iface)));
    }
}

/// Tells of the first failure.
struct FirstError {
    Told told() {
        return [this](const NodeId&, const Result<void>& done) { outcome = outcome ? done : outcome; };
    }
    Result<void> outcome;
};

Result<void> update_several(const Store& store, const std::vector<NodeId>& ids) {
    FirstError first;
    store.update_nodes(ids, setting(Key::node_startup, "automatic"), first.told());
    return first.outcome;
}

Result<void> remove_several(const Store& store, const std::vector<NodeId>& ids) {
    FirstError first;
    store.remove_nodes(ids, {}, first.told());
    return first.outcome;
}

void with_iface(const Store& store) {
    must(store.write_iface(iface("if1")));
    with_nodes(store);
    must(store.write_node(node(t2, p2, "if1")));
}

std::vector<Operation> node_operations() {
    return {
        {"node new, the first of all", true, nothing,
         [](const Store& store) { return outcome(store.write_node(node(t1, p1))); }},
        {"node new, another interface of a portal", true, with_nodes,
         [](const Store& store) { return outcome(store.write_node(node(t2, p2, "if1"))); }},
        {"node new, from firmware", true, with_nodes,
         [](const Store& store) { return outcome(store.write_node(node(t2, p3, "default", "fw"))); }},
        {"node new, without group tag", true, nothing,
         [](const Store& store) { return outcome(store.write_node(node(t1, p1_untagged))); }},
        {"node new, the tag becomes known", true, with_untagged,
         [](const Store& store) { return outcome(store.write_node(node(t1, p1))); }},
        {"node new, the tag becomes known for another interface, too", true, with_untagged_of_other,
         [](const Store& store) { return outcome(store.write_node(node(t1, p1))); }},
        {"node update", true, with_nodes,
         [](const Store& store) {
             return store.update_node({t1, p1, "default"}, setting(Key::node_startup, "automatic"));
         }},
        {"node update, without group tag", true, with_untagged,
         [](const Store& store) {
             return store.update_node({t1, p1_untagged, "default"}, setting(Key::node_startup, "automatic"));
         }},
        {"node delete, one of a portal", true, with_nodes,
         [](const Store& store) {
             return store.remove_node({t1, p1, "default"});
         }},
        {"node delete, the last of a target", true, with_nodes,
         [](const Store& store) {
             return store.remove_node({t2, p2, "default"});
         }},
        {"node delete, without group tag", true, with_untagged,
         [](const Store& store) {
             return store.remove_node({t1, p1_untagged, "default"});
         }},
    };
}

std::vector<Operation> discovery_operations() {
    return {
        {"discovery record new", true, nothing,
         [](const Store& store) { return store.write_discovery(discovery(source)); }},
        {"discovery record update", true, with_discovered,
         [](const Store& store) {
             return store.update_discovery(RecordKind::send_targets, source,
                                           setting(Key::discovery_username, "bob"));
         }},
        {"discovery record delete, with what it found", false, with_discovered,
         [](const Store& store) {
             return outcome(store.remove_discovery(RecordKind::send_targets, source, {}));
         }},
        {"discovery record delete, its nodes in use", true, with_discovered,
         [](const Store& store) {
             auto all = [](const NodeId&) { return true; };
             return outcome(store.remove_discovery(RecordKind::send_targets, source, all));
         }},
        {"discovery, the first answer", false, nothing,
         [](const Store& store) {
             return outcome(store.apply_discovery(answer(source, {{t1, p1}, {t2, p2}}), Config{}));
         }},
        {"discovery, one more, one less and one with another tag", false, with_discovered,
         [](const Store& store) {
             return outcome(
                 store.apply_discovery(answer(source, {{t1, p1_other_tag}, {t1, p2}, {t2, p1}}), Config{}));
         }},
        {"discovery, another source names the same", true,
         [](const Store& store) {
             must(store.write_discovery(discovery(source)));
             must(store.apply_discovery(answer(source, {{t1, p1}}), Config{}));
         },
         [](const Store& store) {
             return outcome(store.apply_discovery(answer(other_source, {{t1, p1}}), Config{}));
         }},
    };
}

/// More than one record a call: they go to the disk together.
std::vector<Operation> batch_operations() {
    return {
        {"node update, several", false, with_several,
         [](const Store& store) { return update_several(store, several()); }},
        {"node update, several and one without group tag", false,
         [](const Store& store) {
             with_several(store);
             must(store.write_node(node(t2, p1_untagged)));
         },
         [](const Store& store) {
             return update_several(store,
                                   {{t1, p1, "default"}, {t2, p1_untagged, "default"}, {t2, p3, "default"}});
         }},
        {"node delete, all but one of them", false, with_several,
         [](const Store& store) {
             return remove_several(store, {{t1, p1, "if1"}, {t1, p2, "default"}, {t2, p3, "default"}});
         }},
        {"node delete, all of them", false, with_several,
         [](const Store& store) { return remove_several(store, several()); }},
        {"discovery, all of it gone", false, with_discovered,
         [](const Store& store) {
             DiscoveryUpdate nothing_more = answer(source, {});
             nothing_more.all_answered = true;
             return outcome(store.apply_discovery(nothing_more, Config{}));
         }},
        {"discovery, all of it under other tags", false, with_discovered,
         [](const Store& store) {
             auto tagged = [](Portal portal) {
                 portal.tpgt += 10;
                 return portal;
             };
             return outcome(store.apply_discovery(
                 answer(source, {{t1, tagged(p1)}, {t1, tagged(p2)}, {t2, tagged(p3)}}), Config{}));
         }},
        {"discovery, another source names several", false, with_discovered,
         [](const Store& store) {
             return outcome(store.apply_discovery(answer(other_source, {{t1, p1}, {t1, p2}}), Config{}));
         }},
        {"discovery, tags become known, for another interface, too", false,
         [](const Store& store) {
             with_untagged_of_other(store);
             must(store.write_node(node(t2, p1_untagged)));
         },
         [](const Store& store) {
             return outcome(store.apply_discovery(answer(source, {{t1, p1}, {t1, p2}, {t2, p1}}), Config{}));
         }},
    };
}

std::vector<Operation> iface_operations() {
    return {
        {"iface new", true, nothing, [](const Store& store) { return store.write_iface(iface("if1")); }},
        {"iface update, with the nodes bound to it", true, with_iface,
         [](const Store& store) { return store.update_iface("if1", setting(Key::iface_mtu, "9000")); }},
        {"iface update, with a node of the oldest form", true, with_oldest,
         [](const Store& store) { return store.update_iface("if1", setting(Key::iface_mtu, "9000")); }},
        {"iface delete, with the nodes bound to it", false, with_iface,
         [](const Store& store) { return store.remove_iface("if1", {}); }},
    };
}

} // namespace

NodeId bystander() {
    return {"iqn.2001-04.com.example:bystander", {"10.9.9.9", 3260, 1}, "default"};
}

std::vector<Operation> operations() {
    std::vector<Operation> all = node_operations();
    for (const auto& more : {discovery_operations(), batch_operations(), iface_operations()}) {
        all.insert(all.end(), more.begin(), more.end());
    }
    for (Operation& operation : all) {
        operation.prepare = [prepare = operation.prepare](const Store& store) {
            must(store.write_node(node(bystander().target, bystander().portal)));
            prepare(store);
        };
    }
    return all;
}

} // namespace iscsi::test

#include "records/store.hpp"

#include "unit/records/golden_ifaces.hpp"
#include "unit/records/golden_nodes.hpp"
#include "unit/records/temp_store.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

using namespace iscsi;
using namespace iscsi::records;
using namespace iscsi::records::test;

namespace {

const std::string t1 = "iqn.2001-04.com.example:t1";
const std::string t2 = "iqn.2001-04.com.example:t2";
const Portal source{"10.0.0.1", 3260, -1};
const Portal portal_a{"10.0.0.1", 3260, 1};

/// A store with the shipped iscsid.conf's templates and one discovery record.
struct Discovery : TempStore {
    Discovery() {
        Warnings warnings;
        for (const Field& row : fields()) {
            if (row.applies_to(RecordKind::node) && !row.shipped.empty()) {
                REQUIRE(config.node.set(row.key, row.shipped));
            }
        }
        REQUIRE(store.write_discovery(*make_discovery(config.send_targets, source)));
    }

    DiscoveryUpdate update(std::vector<FoundPortal> found,
                           std::vector<std::string> ifaces = {"default"}) const {
        DiscoveryUpdate result;
        result.source = source;
        result.found = std::move(found);
        for (const std::string& name : ifaces) {
            result.ifaces.push_back(*make_iface(name));
        }
        return result;
    }

    DiscoveryChanges apply(const DiscoveryUpdate& update) const {
        auto changes = store.apply_discovery(update, config);
        REQUIRE(changes);
        return *changes;
    }

    Record node(const std::string& target, const Portal& portal, const std::string& iface = "default") const {
        Warnings warnings;
        auto found = store.node({target, portal, iface}, warnings);
        REQUIRE(found);
        return *found;
    }

    Config config;
};

} // namespace

TEST_CASE("a discovery leaves open-iscsi's files, links and bytes", "[store]") {
    Discovery temp;
    DiscoveryChanges changes = temp.apply(temp.update({{t1, portal_a}, {t2, portal_a}}));
    CHECK(changes.added.size() == 2);
    std::string nodes = temp.db("nodes");
    std::string st = "send_targets/10.0.0.1,3260";
    CHECK(tree(temp.store.paths().db_dir()) ==
          "d 700 nodes\n"
          "d 700 nodes/" +
              t1 +
              "\n"
              "d 700 nodes/" +
              t1 +
              "/10.0.0.1,3260,1\n"
              "f 600 nodes/" +
              t1 +
              "/10.0.0.1,3260,1/default\n"
              "d 700 nodes/" +
              t2 +
              "\n"
              "d 700 nodes/" +
              t2 +
              "/10.0.0.1,3260,1\n"
              "f 600 nodes/" +
              t2 +
              "/10.0.0.1,3260,1/default\n"
              "d 700 send_targets\n"
              "d 700 " +
              st +
              "\n"
              "l " +
              st + "/" + t1 + ",10.0.0.1,3260,1,default " + nodes + "/" + t1 +
              "/10.0.0.1,3260,1\n"
              "l " +
              st + "/" + t2 + ",10.0.0.1,3260,1,default " + nodes + "/" + t2 +
              "/10.0.0.1,3260,1\n"
              "f 600 " +
              st + "/st_config\n");
    CHECK(read_back(temp.db("nodes/" + t1 + "/10.0.0.1,3260,1/default")) == golden::node_file);
}

TEST_CASE("a new discovery record has open-iscsi's bytes and is found again", "[store]") {
    TempStore temp;
    Portal portal{"1.2.3.4", 3260, -1};
    REQUIRE(temp.store.write_discovery(*make_discovery(Record(RecordKind::send_targets), portal)));
    CHECK(read_back(temp.db("send_targets/1.2.3.4,3260/st_config")) == golden::send_targets_file);
    REQUIRE(temp.store.write_discovery(*make_discovery(Record(RecordKind::isns), {"1.2.3.4", 3205, -1})));
    CHECK(read_back(temp.db("isns/1.2.3.4,3205/isns_config")) == golden::isns_file);
    Warnings warnings;
    CHECK(temp.store.discoveries(RecordKind::send_targets, warnings)->size() == 1);
    REQUIRE(temp.store.update_discovery(RecordKind::send_targets, portal, [](Record& record) {
        return record.modify("discovery.sendtargets.auth.username", "bob");
    }));
    CHECK(temp.store.discovery(RecordKind::send_targets, portal, warnings)->text(Key::discovery_username) ==
          "bob");
    CHECK(temp.store.discovery(RecordKind::send_targets, {"1.2.3.5", 3260, -1}, warnings).error().code ==
          base::Errc::not_found);
    REQUIRE(temp.store.remove_discovery(RecordKind::send_targets, portal, {}));
    CHECK_FALSE(fs::exists(temp.db("send_targets/1.2.3.4,3260")));
    CHECK(warnings.empty());
}

TEST_CASE("a discovery address that would leave the database is refused", "[store]") {
    TempStore temp;
    CHECK_FALSE(make_discovery(Record(RecordKind::send_targets), {"../x", 3260, -1}));
    Record record(RecordKind::send_targets);
    REQUIRE(record.set(Key::discovery_address, "../x"));
    CHECK(temp.store.write_discovery(record).error().code == base::Errc::invalid);
    CHECK_FALSE(fs::exists(temp.store.paths().db_dir()));
}

TEST_CASE("discovering again keeps what people set and writes nothing that did not change", "[store]") {
    Discovery temp;
    temp.apply(temp.update({{t1, portal_a}}));
    REQUIRE(temp.store.update_node({t1, portal_a, "default"}, [](Record& record) {
        return record.modify("node.session.auth.password", "s3cret");
    }));
    std::string path = temp.db("nodes/" + t1 + "/10.0.0.1,3260,1/default");
    auto written = fs::last_write_time(path);
    DiscoveryChanges changes = temp.apply(temp.update({{t1, portal_a}, {t2, portal_a}}));
    CHECK(changes.added == std::vector<NodeId>{{t2, portal_a, "default"}});
    CHECK(changes.kept == std::vector<NodeId>{{t1, portal_a, "default"}});
    CHECK(temp.node(t1, portal_a).text(Key::session_password) == "s3cret");
    CHECK(fs::last_write_time(path) == written);
}

TEST_CASE("discovering again can also begin every record anew, as open-iscsi does", "[store]") {
    Discovery temp;
    temp.apply(temp.update({{t1, portal_a}}));
    REQUIRE(temp.store.update_node({t1, portal_a, "default"},
                                   [](Record& node) { return node.modify("node.startup", "automatic"); }));
    DiscoveryUpdate again = temp.update({{t1, portal_a}});
    again.overwrite = true;
    CHECK(temp.apply(again).kept.size() == 1);
    CHECK(temp.node(t1, portal_a).text(Key::node_startup) == "manual");
}

TEST_CASE("what a source no longer names is removed, unless a session runs on it", "[store]") {
    Discovery temp;
    const std::string t3 = "iqn.2001-04.com.example:t3";
    temp.apply(temp.update({{t1, portal_a}, {t2, portal_a}, {t3, portal_a}}));
    REQUIRE(temp.store.write_node(new_node(t1, {"10.9.9.9", 3260, 1})));
    DiscoveryUpdate update = temp.update({{t1, portal_a}});
    update.in_use = [](const NodeId& id) { return id.target == t2; };
    DiscoveryChanges changes = temp.apply(update);
    CHECK(changes.removed == std::vector<NodeId>{{t3, portal_a, "default"}});
    CHECK(changes.spared == std::vector<NodeId>{{t2, portal_a, "default"}});
    CHECK_FALSE(fs::exists(temp.db("nodes/" + t3)));
    CHECK(fs::exists(temp.db("nodes/" + t2)));
    CHECK(temp.node(t1, {"10.9.9.9", 3260, 1}).text(Key::node_discovery_type) == "static");
}

TEST_CASE("an empty answer removes nothing, unless all who were asked answered", "[store][DISC-07]") {
    Discovery temp;
    temp.apply(temp.update({{t1, portal_a}}));
    DiscoveryChanges changes = temp.apply(temp.update({}));
    CHECK(changes.removed.empty());
    CHECK(temp.node(t1, portal_a).text(Key::node_name) == t1);
    DiscoveryUpdate update = temp.update({});
    update.all_answered = true;
    CHECK(temp.apply(update).removed == std::vector<NodeId>{{t1, portal_a, "default"}});
}

TEST_CASE("each operation of a discovery can be left out", "[store][DISC-07]") {
    Discovery temp;
    temp.apply(temp.update({{t1, portal_a}}));
    DiscoveryUpdate update = temp.update({{t2, portal_a}});
    update.add = false;
    update.remove = false;
    DiscoveryChanges changes = temp.apply(update);
    CHECK(changes.added.empty());
    CHECK(changes.removed.empty());
    update.add = true;
    CHECK(temp.apply(update).added.size() == 1);
    CHECK(temp.node(t1, portal_a).text(Key::node_name) == t1);
}

TEST_CASE("one bad name in an answer refuses all of it", "[store]") {
    Discovery temp;
    for (const FoundPortal& bad :
         {FoundPortal{"../../x", portal_a}, FoundPortal{t2, {"10.0.0.1\nx", 3260, 1}},
          FoundPortal{t2, {"10.0.0.1/..", 3260, 1}}, FoundPortal{t2, {"10.0.0.1", 0, 1}},
          FoundPortal{t2, {std::string(252, 'a'), 3260, 1}}, FoundPortal{t2, portal_a, "not asked"}}) {
        auto done = temp.store.apply_discovery(temp.update({{t1, portal_a}, bad}), temp.config);
        REQUIRE_FALSE(done);
        CHECK(done.error().code == base::Errc::invalid);
    }
    CHECK_FALSE(fs::exists(temp.db("nodes")));
}

TEST_CASE("a discovery that learns the group tag moves the record and keeps its values", "[store]") {
    Discovery temp;
    Record by_hand = new_node(t1, {"10.0.0.1", 3260, -1});
    REQUIRE(by_hand.set(Key::session_username, "bob"));
    REQUIRE(temp.store.write_node(by_hand));
    DiscoveryChanges changes = temp.apply(temp.update({{t1, portal_a}}));
    CHECK(changes.kept.size() == 1);
    CHECK_FALSE(fs::exists(temp.db("nodes/" + t1 + "/10.0.0.1,3260")));
    Record node = temp.node(t1, portal_a);
    CHECK(node.text(Key::session_username) == "bob");
    CHECK(node.text(Key::node_discovery_type) == "static");
    CHECK(node.number(Key::node_tpgt) == 1);
    CHECK(fs::is_symlink(temp.db("static/" + t1 + ",10.0.0.1,3260,1,default")));

    // And one whose tag changed.
    temp.apply(temp.update({{t2, portal_a}}));
    temp.apply(temp.update({{t2, {"10.0.0.1", 3260, 5}}}));
    CHECK(temp.node(t2, {"10.0.0.1", 3260, 5}).number(Key::node_tpgt) == 5);
    CHECK_FALSE(fs::exists(temp.db("nodes/" + t2 + "/10.0.0.1,3260,1")));
    CHECK_FALSE(fs::is_symlink(temp.db("send_targets/10.0.0.1,3260/" + t2 + ",10.0.0.1,3260,1,default")));
}

TEST_CASE("a record found by another source follows it, link and all", "[store]") {
    Discovery temp;
    temp.apply(temp.update({{t1, portal_a}}));
    DiscoveryUpdate update = temp.update({{t1, portal_a}});
    update.source = {"10.0.0.2", 3260, -1};
    temp.apply(update);
    CHECK(temp.store.discovered(RecordKind::send_targets, source)->empty());
    CHECK(temp.store.discovered(RecordKind::send_targets, update.source)->size() == 1);
    std::string link = "/" + t1 + ",10.0.0.1,3260,1,default";
    CHECK_FALSE(fs::is_symlink(temp.db("send_targets/10.0.0.1,3260" + link)));
    CHECK(fs::is_symlink(temp.db("send_targets/10.0.0.2,3260" + link)));
}

TEST_CASE("each interface gets records of what was found through it, and of nothing else", "[store]") {
    Discovery temp;
    const Portal portal_b{"10.2.0.1", 3260, 2};
    std::vector<std::string> both{"vlan1", "vlan2"};
    DiscoveryChanges changes =
        temp.apply(temp.update({{t1, portal_a, "vlan1"}, {t1, portal_b, "vlan2"}}, both));
    CHECK(changes.added == std::vector<NodeId>{{t1, portal_a, "vlan1"}, {t1, portal_b, "vlan2"}});
    auto left = [&] {
        std::vector<NodeId> ids;
        auto known = temp.store.discovered(RecordKind::send_targets, source);
        REQUIRE(known);
        return *known;
    };
    CHECK(left().size() == 2);

    // A portal that moved from one network to the other.
    changes = temp.apply(
        temp.update({{t1, portal_a, "vlan2"}, {t1, portal_b, "vlan2"}, {t2, portal_a, "vlan1"}}, both));
    CHECK(changes.removed == std::vector<NodeId>{{t1, portal_a, "vlan1"}});
    // One that could not ask has nothing to say.
    changes = temp.apply(temp.update({{t1, portal_b, "vlan2"}}, both));
    CHECK(changes.removed == std::vector<NodeId>{{t1, portal_a, "vlan2"}});
    CHECK(left() == std::vector<NodeId>{{t1, portal_b, "vlan2"}, {t2, portal_a, "vlan1"}});
    // One that was not asked keeps what is there.
    temp.apply(
        temp.update({{t1, portal_b, "vlan1"}, {t1, portal_b, "vlan2"}, {t2, portal_a, "vlan1"}}, both));
    changes = temp.apply(temp.update({{t1, portal_b, "vlan1"}}, {"vlan1"}));
    CHECK(changes.removed == std::vector<NodeId>{{t2, portal_a, "vlan1"}});
    changes = temp.apply(temp.update({{t2, portal_b, "vlan1"}}, {"vlan1"}));
    CHECK(changes.removed == std::vector<NodeId>{{t1, portal_b, "vlan1"}, {t1, portal_b, "vlan2"}});
}

TEST_CASE("discovering again copies what the interface sets and leaves the rest", "[store]") {
    Discovery temp;
    REQUIRE(temp.config.node.set(Key::iface_initiatorname, "iqn.2001-04.com.example:me"));
    REQUIRE(temp.config.node.set(Key::iface_mtu, "9000"));
    DiscoveryUpdate update = temp.update({{t1, portal_a}});
    temp.apply(update);
    REQUIRE(temp.store.update_node({t1, portal_a, "default"},
                                   [](Record& node) { return node.modify("iface.transport_name", "iser"); }));
    REQUIRE(update.ifaces[0].set(Key::iface_net_ifacename, "eth1"));
    temp.apply(update);
    Record node = temp.node(t1, portal_a);
    CHECK(node.text(Key::iface_transport_name) == "iser");
    CHECK(node.text(Key::iface_initiatorname) == "iqn.2001-04.com.example:me");
    CHECK(node.number(Key::iface_mtu) == 9000);
    CHECK(node.text(Key::iface_net_ifacename) == "eth1");
}

TEST_CASE("a portal that an answer names under two tags is in the first of them", "[store]") {
    Discovery temp;
    const Portal other_tag{"10.0.0.1", 3260, 2};
    for (int round = 0; round < 2; ++round) {
        DiscoveryChanges changes = temp.apply(temp.update({{t1, portal_a}, {t1, other_tag}}));
        CHECK((round == 0 ? changes.added : changes.kept) == std::vector<NodeId>{{t1, portal_a, "default"}});
        CHECK((round == 0 ? changes.kept : changes.added).empty());
        CHECK(fs::exists(temp.db("nodes/" + t1 + "/10.0.0.1,3260,1/default")));
    }
}

TEST_CASE("a record that became another's meanwhile is not removed", "[store]") {
    Discovery temp;
    temp.apply(temp.update({{t1, portal_a}, {t2, portal_a}}));
    // The question comes after the listing and before the removal.
    auto becomes_static = [&](const NodeId& id) {
        REQUIRE(temp.store.write_node(new_node(id.target, id.portal)));
        return false;
    };
    DiscoveryUpdate update = temp.update({{t1, portal_a}});
    update.in_use = becomes_static;
    CHECK(temp.apply(update).removed.empty());
    CHECK(temp.node(t2, portal_a).text(Key::node_discovery_type) == "static");
    auto changes = temp.store.remove_discovery(RecordKind::send_targets, source, becomes_static);
    REQUIRE(changes);
    CHECK(changes->removed.empty());
    CHECK(temp.node(t1, portal_a).text(Key::node_discovery_type) == "static");
}

TEST_CASE("removing a discovery record removes what it found", "[store]") {
    Discovery temp;
    temp.apply(temp.update({{t1, portal_a}, {t2, portal_a}, {t1, portal_a, "if1"}, {t2, portal_a, "if1"}},
                           {"default", "if1"}));
    REQUIRE(temp.store.write_node(new_node(t1, {"10.9.9.9", 3260, 1})));
    CHECK(temp.store.discovered(RecordKind::send_targets, source)->size() == 4);
    auto changes = temp.store.remove_discovery(RecordKind::send_targets, source, {});
    REQUIRE(changes);
    CHECK(changes->removed.size() == 4);
    CHECK_FALSE(fs::exists(temp.db("send_targets/10.0.0.1,3260")));
    CHECK(temp.store.undiscovered("static")->size() == 1);
    CHECK(temp.store.remove_discovery(RecordKind::send_targets, source, {}).error().code ==
          base::Errc::not_found);
}

TEST_CASE("interfaces are listed by name with the built-in ones last", "[store]") {
    TempStore temp;
    Warnings warnings;
    REQUIRE(temp.store.write_iface(*make_iface("if2")));
    REQUIRE(temp.store.write_iface(*make_iface("10.0.0.1:3260:vol")));
    write_file(temp.db("ifaces/iface.example"), "iface.iscsi_ifacename = x\n");
    std::vector<std::string> names;
    auto ifaces = temp.store.ifaces(warnings);
    REQUIRE(ifaces);
    for (const Record& iface : *ifaces) {
        names.push_back(iface.text(Key::iface_name) + " " + iface.text(Key::iface_transport_name));
    }
    CHECK(names == std::vector<std::string>{"10.0.0.1:3260:vol tcp", "if2 tcp", "default tcp", "iser iser"});
    CHECK(temp.store.iface("nope", warnings).error().code == base::Errc::database);
    CHECK(temp.store.iface("../../nodes/x", warnings).error().code == base::Errc::invalid);
    CHECK(temp.store.iface("default", warnings)->text(Key::iface_transport_name) == "tcp");
    CHECK(temp.store.write_iface(*make_iface("default")).error().detail ==
          "iface default is a special interface and cannot be modified.");
    CHECK(temp.store.remove_iface("iser", {}).error().detail ==
          "iface iser is a special interface and cannot be deleted.");
}

TEST_CASE("an interface's change reaches the nodes bound to it, and its way of binding stays", "[store]") {
    TempStore temp;
    REQUIRE(temp.store.write_iface(*make_iface("if1")));
    REQUIRE(temp.store.write_node(new_node(t1, portal_a, "if1")));
    REQUIRE(temp.store.write_node(new_node(t1, portal_a)));
    auto set = [&](const char* name, const char* value) {
        return temp.store.update_iface("if1", [&](Record& iface) { return iface.modify(name, value); });
    };
    REQUIRE(set("iface.net_ifacename", "lo"));
    REQUIRE(set("iface.initiatorname", "iqn.x:y"));
    CHECK(read_back(temp.db("ifaces/if1")) == golden::iface_file);
    Warnings warnings;
    CHECK(temp.store.node({t1, portal_a, "if1"}, warnings)->text(Key::iface_net_ifacename) == "lo");
    CHECK(temp.store.node({t1, portal_a, "default"}, warnings)->text(Key::iface_net_ifacename).empty());
    CHECK(
        set("iface.hwaddress", "00:11:22:33:44:55").error().detail ==
        "Can not update interface binding from net_ifacename to hwaddress. You must delete the interface and "
        "create a new one");
    CHECK_FALSE(set("iface.bogus", "1"));
    CHECK(read_back(temp.db("ifaces/if1")) == golden::iface_file);
}

TEST_CASE("removing an interface removes its nodes, or nothing while one is in use", "[store]") {
    TempStore temp;
    REQUIRE(temp.store.write_iface(*make_iface("if1")));
    REQUIRE(temp.store.write_node(new_node(t1, portal_a, "if1")));
    REQUIRE(temp.store.write_node(new_node(t1, portal_a)));
    auto busy = temp.store.remove_iface("if1", [](const NodeId& id) { return id.iface == "if1"; });
    CHECK(busy.error().code == base::Errc::session_exists);
    CHECK(fs::exists(temp.db("ifaces/if1")));
    REQUIRE(temp.store.remove_iface("if1", {}));
    CHECK_FALSE(fs::exists(temp.db("ifaces/if1")));
    Warnings warnings;
    CHECK(temp.store.nodes({}, warnings)->size() == 1);
}

#include "records/record.hpp"

#include <catch2/catch.hpp>

using namespace iscsi;
using records::Key;
using records::Record;
using records::RecordKind;

TEST_CASE("an absent key has the compiled default, not that of iscsid.conf", "[records]") {
    Record node(RecordKind::node);
    CHECK(node.number(Key::conn_login_timeout) == 30);
    CHECK(node.number(Key::session_initial_login_retry_max) == 4);
    CHECK(node.number(Key::node_tpgt) == -1);
    CHECK(node.boolean(Key::session_fast_abort));
    CHECK(node.text(Key::session_password).empty());
    CHECK(node.list(Key::session_chap_algs) == std::vector<std::string>{"MD5"});
    CHECK(Record(RecordKind::isns).text(Key::discovery_type) == "isns");
    CHECK(Record(RecordKind::send_targets).text(Key::discovery_type) == "sendtargets");
}

TEST_CASE("records are equal when they mean the same", "[records]") {
    Record a(RecordKind::node);
    Record b(RecordKind::node);
    REQUIRE(a.set("node.session.queue_depth", "64"));
    CHECK_FALSE(a == b);
    REQUIRE(a.set("node.session.queue_depth", "32"));
    CHECK(a == b);
    REQUIRE(a.set("node.session.auth.username", "bob"));
    REQUIRE(a.set("node.session.auth.username", "<empty>"));
    CHECK(a == b);
    CHECK_FALSE(a == Record(RecordKind::iface));
}

TEST_CASE("a refused value leaves the record as it was", "[records]") {
    Record node(RecordKind::node);
    REQUIRE(node.set("node.startup", "automatic"));
    Record before = node;
    auto done = node.set("node.startup", "bogus");
    REQUIRE_FALSE(done);
    CHECK(done.error().code == base::Errc::invalid);
    CHECK(done.error().detail == "unknown value format 'bogus' for parameter name 'node.startup'; allowed is "
                                 "manual, automatic or onboot");
    CHECK(node == before);
}

TEST_CASE("keys of other versions are kept until they are emptied, and are bounded", "[records]") {
    Record node(RecordKind::node);
    REQUIRE(node.set("node.session.future", "on"));
    REQUIRE(node.set("node.session.future", "off"));
    REQUIRE(node.unknown().size() == 1);
    CHECK(node.unknown()[0].second == "off");
    REQUIRE(node.set("node.session.future", ""));
    CHECK(node.unknown().empty());
    CHECK_FALSE(node.set("a=b", "c"));
    CHECK_FALSE(node.set("a b", "c"));
    CHECK_FALSE(node.set("", "c"));
    CHECK_FALSE(node.set("#a", "c"));
    CHECK_FALSE(node.set(std::string(128, 'k'), "c"));
    CHECK_FALSE(node.set("k", "a\nb"));
    bool full = false;
    for (int i = 0; i < 1000 && !full; ++i) {
        full = !node.set("k" + std::to_string(i), "v");
    }
    CHECK(full);
}

TEST_CASE("lengths of passwords that older tools keep are taken and forgotten", "[records]") {
    Record node(RecordKind::node);
    REQUIRE(node.set("node.session.auth.password_length", "7"));
    CHECK(node == Record(RecordKind::node));
}

TEST_CASE("an operator cannot change what identifies a record", "[records]") {
    Record node(RecordKind::node);
    CHECK(node.modify("node.name", "x").error().detail ==
          "Cannot modify node.name. It is used to look up the record and cannot be changed.");
    CHECK(node.modify("node.bogus", "x").error().detail == "Cannot modify node.bogus. Invalid param name.");
    CHECK(node.modify("iface.net_ifacename", "eth0").error().detail ==
          "Cannot modify iface.net_ifacename. Use iface mode to update this value.");
    CHECK(node.modify("node.transport_name", "tcp"));
    CHECK(node.modify("node.startup", "automatic"));
    CHECK(node.check_modifiable("node.bogus\n").error().detail.find('\n') == std::string::npos);
    CHECK_FALSE(Record(RecordKind::iface).check_modifiable("iface.iscsi_ifacename"));
    CHECK(Record(RecordKind::iface).check_modifiable("iface.mtu"));
}

TEST_CASE("a new node has the template's values, the interface's keys and its own identity", "[records]") {
    Record tmpl(RecordKind::node);
    REQUIRE(tmpl.set(Key::conn_login_timeout, "15"));
    REQUIRE(tmpl.set(Key::iface_mtu, "9000"));
    Record iface = *records::make_iface("if1");
    REQUIRE(iface.set(Key::iface_net_ifacename, "eth0"));
    auto node = records::make_node(tmpl, "iqn.2001-04.com.example:t1", {"fe80::1%eth0", 3261, 2}, iface,
                                   {"send_targets", "10.0.0.1", 3260});
    REQUIRE(node);
    CHECK(node->number(Key::conn_login_timeout) == 15);
    CHECK(node->number(Key::iface_mtu) == 9000);
    CHECK(node->text(Key::iface_net_ifacename) == "eth0");
    CHECK(records::node_id(*node) ==
          records::NodeId{"iqn.2001-04.com.example:t1", {"fe80::1%eth0", 3261, 2}, "if1"});
    CHECK(node->text(Key::node_discovery_type) == "send_targets");
    CHECK_FALSE(records::make_node(tmpl, "../x", {"10.0.0.1", 3260, 1}, iface, {}));
    CHECK_FALSE(records::make_node(tmpl, "iqn.2001-04.com.example:t1", {"10.0.0.1/..", 3260, 1}, iface, {}));
    CHECK_FALSE(records::make_node(tmpl, "iqn.2001-04.com.example:t1", {"10.0.0.1", 0, 1}, iface, {}));
}

TEST_CASE("a name that no file can have is refused, however it comes about", "[records]") {
    std::string host;
    while (host.size() < 246) {
        host += "a.";
    }
    records::NodeId id{"iqn.2001-04.com.example:t1", {host + "eeee", 1, 1}, "default"};
    CHECK(records::check_node_id(id)); // 250 bytes and ",1,1"
    id.portal.port = 3260;
    CHECK(records::check_node_id(id).error().code == base::Errc::invalid);
}

TEST_CASE("an operator cannot refer to a credential that can be none", "[records]") {
    Record node(RecordKind::node);
    CHECK(node.modify("node.session.auth.password", "credential:../../etc/shadow").error().code ==
          base::Errc::invalid);
    CHECK(node == Record(RecordKind::node));
    CHECK(node.modify("node.session.auth.password", "credential:iscsi"));
    CHECK(node.modify("node.session.auth.username", "credential:../x"));
    // A file's is kept, and the login that needs it fails.
    CHECK(node.take("node.session.auth.password", "credential:../x"));
    CHECK(node.text(Key::session_password) == "credential:../x");
}

TEST_CASE("an interface takes the keys of its own address family only", "[records]") {
    auto v4 = *records::make_iface("if0");
    auto v6 = *records::make_iface("my_ipv6_if");
    CHECK(v4.modify("iface.bootproto", "dhcp"));
    CHECK(v6.modify("iface.ipv6_router", "fe80::1"));
    for (auto* wrong : {&v4, &v6}) {
        auto refused = wrong->modify(wrong == &v4 ? "iface.ipv6_router" : "iface.bootproto", "x");
        REQUIRE_FALSE(refused);
        CHECK(refused.error().detail.ends_with("Invalid param name."));
    }
}

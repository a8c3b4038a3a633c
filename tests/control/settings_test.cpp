// What a record becomes before a login.
#include "control/settings.hpp"

#include "records/fields.hpp"

#include <catch2/catch.hpp>
#include <set>
#include <string>

using namespace iscsi;
using namespace std::chrono_literals;
using records::Key;

namespace {

const records::InitiatorName me{"iqn.2026-01.example:me", "alias"};

records::Record node() {
    records::Record record(records::RecordKind::node);
    REQUIRE(record.set(Key::node_name, "iqn.2026-01.example:disk"));
    REQUIRE(record.set(Key::conn_address, "127.0.0.1"));
    return record;
}

shard::OpenRequest request_of(const records::Record& record) {
    auto request = control::open_request(record, me, base::Isid(5));
    REQUIRE(request);
    return std::move(*request);
}

base::Errc refusal_of(const records::Record& record) {
    auto request = control::open_request(record, me, base::Isid(5));
    REQUIRE_FALSE(request);
    return request.error().code;
}

records::NodeId id_of(const std::string& target, const std::string& address) {
    records::NodeId id;
    id.target = target;
    id.portal.address = address;
    id.iface = "default";
    return id;
}

} // namespace

TEST_CASE("a record's values are what is offered") {
    records::Record record = node();
    REQUIRE(record.set("node.conn[0].iscsi.HeaderDigest", "CRC32C"));
    REQUIRE(record.set("node.session.iscsi.FirstBurstLength", "65537"));
    REQUIRE(record.set("node.session.iscsi.MaxBurstLength", "131072"));
    REQUIRE(record.set("node.session.cmds_max", "64"));
    REQUIRE(record.set("node.conn[0].timeo.login_timeout", "7"));
    shard::OpenRequest request = request_of(record);
    CHECK(request.login.initiator_name == me.name);
    CHECK(request.login.initiator_alias == me.alias);
    CHECK(request.login.target_name == "iqn.2026-01.example:disk");
    CHECK(request.login.isid == base::Isid(5));
    CHECK(request.login.tsih == base::Tsih());
    CHECK(request.login.offers.header_digest == "CRC32C");
    CHECK(request.login.offers.first_burst_bytes == 65536);
    CHECK(request.login.offers.max_burst_bytes == 131072);
    CHECK(request.tasks == 64);
    CHECK(request.connect_timeout == 7s);
    CHECK(request.login.chap.username.empty());
}

TEST_CASE("FirstBurstLength is never offered larger than MaxBurstLength", "[rfc7143-13.14]") {
    records::Record record = node();
    REQUIRE(record.set("node.session.iscsi.FirstBurstLength", "262144"));
    REQUIRE(record.set("node.session.iscsi.MaxBurstLength", "65536"));
    CHECK(request_of(record).login.offers.first_burst_bytes == 65536);
}

TEST_CASE("without an initiator name there is no login, but an interface may bring its own") {
    records::Record record = node();
    auto nameless = control::open_request(record, {}, base::Isid(1));
    REQUIRE_FALSE(nameless);
    CHECK(nameless.error().code == base::Errc::invalid);
    REQUIRE(record.set(Key::iface_initiatorname, "iqn.2026-01.example:iface"));
    auto named = control::open_request(record, {}, base::Isid(1));
    REQUIRE(named);
    CHECK(named->login.initiator_name == "iqn.2026-01.example:iface");
}

TEST_CASE("a password turns CHAP on, and half of a configuration is refused") {
    records::Record record = node();
    REQUIRE(record.set(Key::session_password, "a secret of 16 b"));
    CHECK(refusal_of(record) == base::Errc::invalid);
    REQUIRE(record.set(Key::session_username, "user"));
    CHECK(request_of(record).login.chap.username == "user");

    records::Record asked = node();
    REQUIRE(asked.set(Key::session_authmethod, "CHAP"));
    CHECK(refusal_of(asked) == base::Errc::invalid);
}

TEST_CASE("a target that has to prove itself may not do so with our own secret", "[rfc7143-9.2.1]") {
    records::Record record = node();
    REQUIRE(record.set(Key::session_username, "user"));
    REQUIRE(record.set(Key::session_password, "a secret of 16 b"));
    REQUIRE(record.set(Key::session_username_in, "target"));
    REQUIRE(record.set(Key::session_password_in, "a secret of 16 b"));
    CHECK(refusal_of(record) == base::Errc::invalid);
}

TEST_CASE("one NOP timer of zero means five seconds, both mean none") {
    records::Record record = node();
    REQUIRE(record.set("node.conn[0].timeo.noop_out_interval", "0"));
    REQUIRE(record.set("node.conn[0].timeo.noop_out_timeout", "9"));
    CHECK(request_of(record).nop_out_interval == 5s);
    CHECK(request_of(record).nop_out_timeout == 9s);
    REQUIRE(record.set("node.conn[0].timeo.noop_out_timeout", "0"));
    CHECK(request_of(record).nop_out_interval == 0s);
    CHECK(request_of(record).nop_out_timeout == 0s);
}

TEST_CASE("a binding that cannot be kept is refused instead of ignored") {
    records::Record record = node();
    REQUIRE(record.set(Key::iface_ipaddress, "10.0.0.9"));
    CHECK(refusal_of(record) == base::Errc::not_supported);
}

TEST_CASE("the ISID is the same after every start and another one for every other place",
          "[rfc7143-11.12.5]") {
    auto id = id_of("iqn.a:1", "10.0.0.1");
    base::Isid isid = control::make_isid(me, id, 0);
    CHECK(control::make_isid(me, id, 0) == isid);
    CHECK((isid.value() >> 46) == 2); // random format: T = 10b
    CHECK((isid.value() >> 48) == 0);
    std::set<std::uint64_t> all;
    for (std::uint32_t index = 0; index < 1000; ++index) {
        all.insert(control::make_isid(me, id, index).value());
    }
    CHECK(all.size() == 1000);
    CHECK(control::make_isid(me, id_of("iqn.a:1", "10.0.0.2"), 0) != isid);
    CHECK(control::make_isid({"iqn.other:host", ""}, id, 0) != isid);
}

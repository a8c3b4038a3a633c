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

TEST_CASE("socket buffers are the kernel's choice until a record has another size than the default") {
    records::Record record = node();
    CHECK(request_of(record).tcp.window_bytes == 0);
    REQUIRE(record.set("node.conn[0].tcp.window_size", "1048576"));
    CHECK(request_of(record).tcp.window_bytes == 1048576);
    REQUIRE(record.set("node.conn[0].tcp.window_size", "524288"));
    CHECK(request_of(record).tcp.window_bytes == 0);
    REQUIRE(record.set("node.conn[0].tcp.window_size", "0"));
    CHECK(request_of(record).tcp.window_bytes == 0);
}

TEST_CASE("FirstBurstLength is never offered larger than MaxBurstLength", "[rfc7143-13.14]") {
    records::Record record = node();
    REQUIRE(record.set("node.session.iscsi.FirstBurstLength", "262144"));
    REQUIRE(record.set("node.session.iscsi.MaxBurstLength", "65536"));
    CHECK(request_of(record).login.offers.first_burst_bytes == 65536);
}

TEST_CASE("without an initiator name there is no login, but an interface may bring its own", "[NAME-05]") {
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

TEST_CASE("a secret of the target alone is no silent login without CHAP: a session is warned of, a discovery "
          "refused",
          "[rfc7143-9.2.1][CHAP-09]") {
    records::Record record = node();
    REQUIRE(record.set(Key::session_username_in, "target"));
    CHECK(control::chap_warnings(record).empty());
    REQUIRE(record.set(Key::session_password_in, "a secret of 16 b"));
    CHECK_FALSE(request_of(record).login.chap.enabled());
    auto warnings = control::chap_warnings(record);
    REQUIRE(warnings.size() == 1);
    CHECK_THAT(warnings[0], Catch::StartsWith("node.session.auth.password_in is set"));
    CHECK_THAT(warnings[0], Catch::Contains("without CHAP"));
    CHECK_THAT(warnings[0], !Catch::Contains("16 b"));

    records::Record discovery(records::RecordKind::send_targets);
    records::Record iface = *records::make_iface("default");
    REQUIRE(control::discovery_login(discovery, iface, me));
    REQUIRE(discovery.set(Key::discovery_password_in, "a secret of 16 b"));
    auto refused = control::discovery_login(discovery, iface, me);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == base::Errc::invalid);
    CHECK_THAT(refused.error().detail, Catch::StartsWith("discovery.sendtargets.auth.password_in is set"));
    REQUIRE(discovery.set(Key::discovery_username, "user"));
    REQUIRE(discovery.set(Key::discovery_password, "our own secret"));
    CHECK(control::discovery_login(discovery, iface, me));
}

TEST_CASE("a target that has to prove itself may not do so with our own secret", "[rfc7143-9.2.1][CHAP-06]") {
    records::Record record = node();
    REQUIRE(record.set(Key::session_username, "user"));
    REQUIRE(record.set(Key::session_password, "a secret of 16 b"));
    REQUIRE(record.set(Key::session_username_in, "target"));
    REQUIRE(record.set(Key::session_password_in, "a secret of 16 b"));
    CHECK(refusal_of(record) == base::Errc::invalid);
}

TEST_CASE("a short secret and an offer without MD5 are warned of, without a word of the secret",
          "[rfc7143-9.2.1][CHAP-01][CHAP-07]") {
    records::Record record = node();
    CHECK(control::chap_warnings(record).empty());
    REQUIRE(record.set(Key::session_username, "user"));
    REQUIRE(record.set(Key::session_password, "twelve bytes"));
    CHECK(control::chap_warnings(record).empty());
    REQUIRE(record.set(Key::session_password, "eleven byte"));
    REQUIRE(record.set(Key::session_password_in, "hush"));
    REQUIRE(record.set(Key::session_chap_algs, "SHA256,SHA1"));
    auto warnings = control::chap_warnings(record);
    REQUIRE(warnings.size() == 3);
    CHECK_THAT(warnings[0], Catch::StartsWith("node.session.auth.password is shorter than 12 bytes and"));
    CHECK_THAT(warnings[1], Catch::StartsWith("node.session.auth.password_in is shorter than 12 bytes and"));
    // Nor how long it is: the words are the same whatever the length.
    for (std::size_t bytes = 1; bytes < 12; ++bytes) {
        REQUIRE(record.set(Key::session_password, std::string(bytes, 'x')));
        CHECK(control::chap_warnings(record)[0] == warnings[0]);
    }
    CHECK_THAT(warnings[2], Catch::Contains("MD5"));
    for (const std::string& warning : warnings) {
        CHECK(warning.find("eleven") == std::string::npos);
        CHECK(warning.find("hush") == std::string::npos);
    }
    CHECK(request_of(record).login.chap.algorithms ==
          std::vector{login::ChapAlgorithm::sha256, login::ChapAlgorithm::sha1});
}

TEST_CASE("two targets that prove themselves with one secret are told apart from those that do not",
          "[rfc7143-9.2.1][CHAP-10]") {
    records::Record one = node();
    records::Record other = node();
    CHECK_FALSE(control::share_target_secret(one, other)); // neither has any
    REQUIRE(one.set(Key::session_password_in, "a secret of 16 b"));
    CHECK_FALSE(control::share_target_secret(one, other));
    REQUIRE(other.set(Key::session_password_in, "a secret of 16 c"));
    CHECK_FALSE(control::share_target_secret(one, other));
    REQUIRE(other.set(Key::session_password_in, "a secret of 16 b"));
    CHECK(control::share_target_secret(one, other));
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

TEST_CASE("the default Time2Wait leaves it to the target, another one is asked for") {
    records::Record record = node();
    CHECK(record.text(Key::session_default_time2wait) == "2");
    CHECK(request_of(record).login.offers.time2wait_s == 0);
    for (const char* asked : {"0", "1", "3", "3600"}) {
        REQUIRE(record.set(Key::session_default_time2wait, asked));
        CHECK(std::to_string(request_of(record).login.offers.time2wait_s) == asked);
    }
}

TEST_CASE("TCP gives a connection up after pings do, and never where there are none", "[F-01]") {
    records::Record record = node();
    CHECK(request_of(record).tcp.user_timeout == 20s);
    REQUIRE(record.set("node.conn[0].timeo.noop_out_interval", "2"));
    CHECK(request_of(record).tcp.user_timeout == 14s);
    REQUIRE(record.set("node.conn[0].timeo.noop_out_interval", "0"));
    REQUIRE(record.set("node.conn[0].timeo.noop_out_timeout", "0"));
    CHECK(request_of(record).tcp.user_timeout == 0s);
}

TEST_CASE("what an interface says of its binding is asked of each connection") {
    records::Record record = node();
    REQUIRE(record.set(Key::iface_ipaddress, "10.0.0.9"));
    REQUIRE(record.set(Key::iface_hwaddress, "02:00:00:00:00:01"));
    REQUIRE(record.set(Key::iface_net_ifacename, "eth1"));
    const shard::TcpOptions bound = request_of(record).tcp;
    CHECK(bound.local_address == "10.0.0.9");
    CHECK(bound.hardware_address == "02:00:00:00:00:01");
    CHECK(bound.net_device == "eth1");
    for (Key key : {Key::iface_ipaddress, Key::iface_hwaddress, Key::iface_net_ifacename}) {
        REQUIRE(record.set(key, "default"));
    }
    const shard::TcpOptions unbound = request_of(record).tcp;
    CHECK((unbound.local_address + unbound.hardware_address + unbound.net_device).empty());
}

TEST_CASE("the ISID is the same after every start and another one for every other place",
          "[rfc7143-11.12.5][ISID-01][ISID-02]") {
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

TEST_CASE("another transport than tcp is refused, for logins and discoveries") {
    for (const char* transport : {"iser", "bnx2i", "bogus"}) {
        records::Record record = node();
        REQUIRE(record.set(Key::iface_transport_name, transport));
        CHECK(refusal_of(record) == base::Errc::transport_not_found);
        records::Record iface(records::RecordKind::iface);
        REQUIRE(iface.set(Key::iface_transport_name, transport));
        auto options = control::tcp_options(iface);
        REQUIRE_FALSE(options);
        CHECK(options.error().detail.find(transport) != std::string::npos);
    }
}

TEST_CASE("a record says how long task management may take", "[TMF-02]") {
    records::Record record = node();
    shard::OpenRequest usual = request_of(record);
    CHECK(usual.recovery.command == base::Duration(30s));
    CHECK(usual.recovery.abort_task == base::Duration(15s));
    CHECK(usual.recovery.lun_reset == base::Duration(30s));
    CHECK(usual.recovery.target_reset == base::Duration(30s));
    const session::RecoveryTimeouts& recovery = usual.recovery;
    CHECK(recovery.abort_task + recovery.lun_reset + recovery.target_reset ==
          base::Duration(base::limits::scsi_escalation_time));
    REQUIRE(record.set("node.session.err_timeo.abort_timeout", "1"));
    REQUIRE(record.set("node.session.err_timeo.lu_reset_timeout", "2"));
    REQUIRE(record.set("node.session.err_timeo.tgt_reset_timeout", "0"));
    shard::OpenRequest request = request_of(record);
    CHECK(request.recovery.abort_task == base::Duration(1s));
    CHECK(request.recovery.lun_reset == base::Duration(2s));
    CHECK(request.recovery.target_reset == base::Duration(0s));
}

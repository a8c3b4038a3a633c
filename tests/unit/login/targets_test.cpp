#include "base/limits.hpp"
#include "login/targets.hpp"
#include "support/fake_login_target.hpp"

#include <catch2/catch.hpp>

using iscsi::base::DiscoveredPortal;
using iscsi::base::Errc;
using iscsi::login::parse_target_address;
using iscsi::login::parse_targets;
using iscsi::login::PortalAddress;
using iscsi::test::key_text;

namespace {
const PortalAddress asked{"192.0.2.1", 3261, -1};
const std::string disk = "iqn.2026-01.example:disk";
} // namespace

TEST_CASE("a target address is host, port and portal group", "[rfc7143-13.8][DISC-05]") {
    struct Row {
        const char* text;
        PortalAddress address;
    };
    const auto row =
        GENERATE(Row{"192.0.2.1:3260,1", {"192.0.2.1", 3260, 1}}, Row{"192.0.2.1,0", {"192.0.2.1", 3260, 0}},
                 Row{"192.0.2.1", {"192.0.2.1", 3260, -1}}, Row{"0.0.0.0:860,65535", {"0.0.0.0", 860, 65535}},
                 Row{"[2001:db8::1]:3260,2", {"2001:db8::1", 3260, 2}}, Row{"[::],3", {"::", 3260, 3}},
                 Row{"[fe80::1%eth0]:1,1", {"fe80::1%eth0", 1, 1}},
                 Row{"storage.example.com:65535", {"storage.example.com", 65535, -1}});
    auto address = parse_target_address(row.text);
    REQUIRE(address.has_value());
    CHECK(*address == row.address);
}

TEST_CASE("what is no target address is refused", "[rfc7143-13.8][DISC-05][NAME-06]") {
    auto text = GENERATE("", ",1", ":3260,1", "h:", "h:0", "h:65536", "h:+1", "h:1x,1", "h,", "h,65536",
                         "h,-1", "h,1,", "h:1:2", "2001:db8::1", "[2001:db8::1", "[2001:db8::1]3260",
                         "[host]:1", "[]", "../x:1,1", "a/b,1", "a b,1", "a\nb,1");
    auto address = parse_target_address(text);
    REQUIRE_FALSE(address.has_value());
    CHECK(address.error().code == Errc::protocol);
    CHECK(address.error().detail.find('\n') == std::string::npos);
}

TEST_CASE("a list of targets becomes a list of portals in its order", "[rfc7143-4.3][DISC-04]") {
    auto targets = parse_targets(key_text("TargetName=" + disk +
                                          "1\nTargetAddress=192.0.2.1:3260,1\n"
                                          "TargetAddress=[2001:db8::1]:3260,2\nTargetName=" +
                                          disk + "2\nTargetName=" + disk + "3\nTargetAddress=host,1\n"),
                                 asked);
    REQUIRE(targets.has_value());
    CHECK(targets->rejected.empty());
    CHECK(targets->portals == std::vector<DiscoveredPortal>{{disk + "1", "192.0.2.1", 3260, 1},
                                                            {disk + "1", "2001:db8::1", 3260, 2},
                                                            {disk + "2", "192.0.2.1", 3261, -1},
                                                            {disk + "3", "host", 3260, 1}});
}

TEST_CASE("a target that listens everywhere is reached where it answered", "[rfc7143-4.3][DISC-05]") {
    auto wildcard = GENERATE("0.0.0.0", "[::]", "[0:0:0:0:0:0:0:0]");
    auto targets =
        parse_targets(key_text("TargetName=" + disk + "\nTargetAddress=" + wildcard + ":3262,4\n"), asked);
    REQUIRE(targets.has_value());
    CHECK(targets->portals == std::vector<DiscoveredPortal>{{disk, "192.0.2.1", 3262, 4}});
}

TEST_CASE("a link-local address is one on the link that was asked", "[rfc4007-6][DISC-05]") {
    const std::string text = key_text("TargetName=" + disk + "\nTargetAddress=[fe80::2]:3260,1\n");
    auto beside = parse_targets(text, {"fe80::1%eth1", 3260, -1}, "eth0");
    REQUIRE(beside.has_value());
    CHECK(beside->portals == std::vector<DiscoveredPortal>{{disk, "fe80::2%eth1", 3260, 1}});
    auto bound = parse_targets(text, asked, "eth0");
    REQUIRE(bound.has_value());
    CHECK(bound->portals == std::vector<DiscoveredPortal>{{disk, "fe80::2%eth0", 3260, 1}});
    auto unknown = parse_targets(text, asked);
    REQUIRE(unknown.has_value());
    CHECK(unknown->portals.empty());
    CHECK(unknown->rejected.size() == 1);
    auto named =
        parse_targets(key_text("TargetName=" + disk + "\nTargetAddress=[FEBF::2%eth2]:1,1\n"), asked);
    REQUIRE(named.has_value());
    CHECK(named->portals == std::vector<DiscoveredPortal>{{disk, "FEBF::2%eth2", 1, 1}});
    auto global = parse_targets(key_text("TargetName=" + disk + "\nTargetAddress=[fec0::2]:1,1\n"), asked);
    CHECK(global->portals.size() == 1);
}

TEST_CASE("an address again in another spelling is a repetition", "[rfc5952]") {
    auto targets = parse_targets(key_text("TargetName=" + disk +
                                          "\nTargetAddress=[2001:db8::1]:1,1\n"
                                          "TargetAddress=[2001:DB8:0::1]:1,1\n"),
                                 asked);
    REQUIRE(targets.has_value());
    CHECK(targets->portals.size() == 1);
}

TEST_CASE("an empty list is legal", "[rfc7143-4.3][DISC-04]") {
    CHECK(parse_targets("", asked)->portals.empty());
    CHECK(parse_targets(std::string_view("\0\0", 2), asked)->portals.empty());
}

TEST_CASE("bad entries are left out and told, the others stay", "[rfc7143-4.3][DISC-04][NAME-06]") {
    auto targets =
        parse_targets(key_text("TargetAddress=192.0.2.9:3260,1\nTargetName=../../etc/passwd\n"
                               "TargetAddress=192.0.2.1:3260,1\nTargetName=" +
                               disk +
                               "\nTargetAddress=x/y,1\nTargetAddress=192.0.2.1:3260,1\n"
                               "TargetAddress=192.0.2.1:3260,1\nTargetAlias=a\x1b[2J\nTargetName=" +
                               disk + ":only-bad\nTargetAddress=?\n"),
                      asked);
    REQUIRE(targets.has_value());
    CHECK(targets->portals == std::vector<DiscoveredPortal>{{disk, "192.0.2.1", 3260, 1}});
    CHECK(targets->rejected.size() == 5);
    for (const std::string& line : targets->rejected) {
        CHECK(line.find('\x1b') == std::string::npos);
        CHECK(line.find('\n') == std::string::npos);
    }
}

TEST_CASE("a target may have a name of its own form") {
    auto targets = parse_targets(
        key_text("TargetName=target1\nTargetName=a+b\nTargetAddress=192.0.2.1:3260,1\n"), asked);
    REQUIRE(targets.has_value());
    CHECK(targets->rejected.empty());
    CHECK(targets->portals.size() == 2);
    CHECK(targets->portals.front().target_name == "target1");
}

TEST_CASE("text that is no list of keys is refused as a whole", "[rfc7143-6.1]") {
    auto text = GENERATE("TargetName", "=x\n", "TargetName=iqn.2026-01.example:x", "targetName=x\n");
    CHECK(parse_targets(key_text(text), asked).error().code == Errc::protocol);
}

TEST_CASE("the report of bad entries and the list itself are bounded", "[limits][DISC-03]") {
    std::string bad;
    for (int i = 0; i < 1000; ++i) {
        bad += "TargetName=bad/" + std::to_string(i) + "\n";
    }
    auto rejected = parse_targets(key_text(bad), asked)->rejected;
    CHECK(rejected.size() == 101);
    CHECK(rejected.back() == "and 900 more");
    std::string many;
    for (std::size_t i = 0; i <= iscsi::base::limits::discovered_targets_max; ++i) {
        many += "TargetName=" + disk + std::to_string(i) + "\n";
    }
    CHECK(parse_targets(key_text(many), asked).error().code == Errc::protocol);
}

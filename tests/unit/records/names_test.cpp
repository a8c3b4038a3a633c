#include "records/names.hpp"
#include "records/paths.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>

using namespace iscsi;
using records::parse_portal;
using records::Portal;

TEST_CASE("portals are read in every form that operators use", "[rfc7143-13.8]") {
    struct Case {
        const char* text;
        Portal portal;
    };
    auto [text, portal] = GENERATE(
        Case{"10.0.0.1", {"10.0.0.1", 3260, -1}}, Case{"10.0.0.1:3261", {"10.0.0.1", 3261, -1}},
        Case{"10.0.0.1:3261,7", {"10.0.0.1", 3261, 7}}, Case{"10.0.0.1,0", {"10.0.0.1", 3260, 0}},
        Case{"10.0.0.1,-1", {"10.0.0.1", 3260, -1}}, Case{"10.0.0.1:3260,4294967295", {"10.0.0.1", 3260, -1}},
        Case{"storage.example.com:860", {"storage.example.com", 860, -1}}, Case{"nas", {"nas", 3260, -1}},
        Case{"nas:1", {"nas", 1, -1}}, Case{"::1", {"::1", 3260, -1}}, Case{"::1,5", {"::1", 3260, 5}},
        Case{"fe80::1:3260", {"fe80::1:3260", 3260, -1}}, Case{"[::1]", {"::1", 3260, -1}},
        Case{"[fe80::1]:3261,2", {"fe80::1", 3261, 2}}, Case{"[fe80::1],2", {"fe80::1", 3260, 2}},
        Case{"[fe80::1%eth0]:3261", {"fe80::1%eth0", 3261, -1}},
        Case{"fe80::1%eth0", {"fe80::1%eth0", 3260, -1}},
        Case{"::ffff:10.0.0.1", {"::ffff:10.0.0.1", 3260, -1}}, Case{"[nas]:3260,1", {"nas", 3260, 1}},
        Case{"[::ffff:10.0.0.1]:65535", {"::ffff:10.0.0.1", 65535, -1}});
    INFO(text);
    auto parsed = parse_portal(text);
    REQUIRE(parsed);
    CHECK(*parsed == portal);
}

TEST_CASE("broken portals are refused with the part that is wrong", "[rfc7143-13.8]") {
    const char* text =
        GENERATE("", ":3260", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:x", "10.0.0.1:-1",
                 "10.0.0.1,", "10.0.0.1,65536", "10.0.0.1,1,2", "[::1", "[::1]3260", "[::1]:", "[]",
                 "10.0.0.1:3260:1", "../x", "a/b", "a b", "a\nb", "..", "1::2::3", "[::1]:3260x",
                 "10.0.0.1:+1", ",1", "[::1%]:1", "[::1%../x]:1");
    INFO(text);
    auto parsed = parse_portal(text);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == base::Errc::invalid);
    CHECK(parsed.error().detail.starts_with("portal '"));
    CHECK(parsed.error().detail.find('\n') == std::string::npos);
}

TEST_CASE("a portal prints with brackets around IPv6 and names without a dot", "[rfc7143-13.8]") {
    CHECK(records::address_port({"10.0.0.1", 3260, 1}) == "10.0.0.1:3260");
    CHECK(records::portal_text({"nas", 3260, 1}) == "[nas]:3260,1");
    CHECK(records::portal_text({"nas.example.com", 3260, 1}) == "nas.example.com:3260,1");
    CHECK(records::portal_text({"::ffff:10.0.0.1", 3260, 1}) == "[::ffff:10.0.0.1]:3260,1");
    CHECK(records::portal_text({"fe80::1", 3261, 2}) == "[fe80::1]:3261,2");
    CHECK(records::portal_text({"10.0.0.9", 3260, -1}) == "10.0.0.9:3260,4294967295");
}

TEST_CASE("the default port is the caller's", "[records]") {
    CHECK(parse_portal("10.0.0.1", records::isns_port)->port == 3205);
}

TEST_CASE("file names of portals are read back", "[records]") {
    for (const Portal& portal :
         {Portal{"10.0.0.1", 3260, 1}, Portal{"::1", 3260, 65535}, Portal{"nas", 1, 0}}) {
        CHECK(records::parse_portal_file_name(records::tagged_portal_file_name(portal)) == portal);
        CHECK(records::parse_portal_file_name(records::portal_file_name(portal)) ==
              Portal{portal.address, portal.port, -1});
    }
    for (const char* bad :
         {"", "10.0.0.1", "10.0.0.1,x", "10.0.0.1,3260,1,2", "..,3260", ",3260,1", "a,0,1"}) {
        INFO(bad);
        CHECK_FALSE(records::parse_portal_file_name(bad));
    }
}

TEST_CASE("an interface name is a file name of at most 64 bytes", "[records]") {
    CHECK(records::check_iface_name("10.0.0.1:3260:vol-1"));
    CHECK(records::check_iface_name("bnx2i.00:11:22:33:44:55-ipv4_0"));
    CHECK(records::check_iface_name("[fe80::1]:3260:vol-1"));
    CHECK(records::check_iface_name("two words"));
    CHECK(records::check_iface_name(std::string(64, 'a')));
    for (const char* bad : {"$(id)", "a`id`", "a;b", "a|b", "a&b", "a>b", "a*", "a?", "{a,b}", "a'", "a\"",
                            "a\\b", "(a)", "a!1"}) {
        INFO(bad);
        CHECK_FALSE(records::check_iface_name(bad));
    }
    for (const std::string& bad :
         {std::string(), std::string(65, 'a'), std::string("../x"), std::string("a/b"), std::string(".."),
          std::string(".hidden"), std::string("a\nb"), std::string("a ")}) {
        INFO(bad);
        CHECK_FALSE(records::check_iface_name(bad));
    }
}

TEST_CASE("ISCSI_ROOT goes before every path", "[records]") {
    CHECK(records::Paths().config_file() == "/etc/iscsi/iscsid.conf");
    CHECK(records::Paths("/a/b//").lock_dir() == "/a/b/run/lock/iscsi");
    CHECK(records::Paths("/a").ipc_socket() == "/a/run/iscsid/control.sock");
    ::setenv("ISCSI_ROOT", "/tmp/x/../y/", 1);
    CHECK(records::Paths::from_environment().root() == "/tmp/y");
    ::setenv("ISCSI_ROOT", "here", 1);
    CHECK(records::Paths::from_environment().root() == std::filesystem::current_path() / "here");
    ::unsetenv("ISCSI_ROOT");
    CHECK(records::Paths::from_environment().root().empty());
}

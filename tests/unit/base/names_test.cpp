#include "base/names.hpp"

#include <catch2/catch.hpp>
#include <string>

using iscsi::base::check_host;
using iscsi::base::check_iscsi_name;
using iscsi::base::check_target_name;
using iscsi::base::is_same_host;

TEST_CASE("the three types of iSCSI names are accepted", "[rfc7143-4.2.7][NAME-02][NAME-03]") {
    auto name = GENERATE("iqn.2001-04.com.example", "iqn.2001-04.com.example:storage.disk2:a-b",
                         "iqn.2001-12.com.EXAMPLE:Old_Target", "eui.02004567A425678D", "naa.52004567BA64678D",
                         "naa.62004567BA64678D0123456789ABCDEF", "IQN.2001-04.com.example");
    CHECK(check_iscsi_name(name).has_value());
}

TEST_CASE("a name that could break a path, a line or a terminal is refused",
          "[rfc7143-4.2.7][NAME-02][NAME-03][NAME-06]") {
    auto name =
        GENERATE("", "disk", "iqn.", "iqn.2001-04", "iqn.2001-04.", "iqn.2001-00.com.example",
                 "iqn.2001-13.com.example", "iqn.201-04.com.example", "iqn.2001-04.com.example:a/b",
                 "iqn.2001-04.com.example:..", "iqn.2001-04.com.example:a b", "iqn.2001-04.com.example:a\nb",
                 "iqn.2001-04.com.example:a,b", "iqn.2001-04.com.example:\x1b[2J", "iqn.2001-04.com.\xc3\xa9",
                 "iqn.2001-04..x", "eui.02004567A425678", "eui.02004567A425678G", "naa.52004567BA64678",
                 "naa.52004567BA64678D0", "abc.2001-04.com.example");
    auto checked = check_iscsi_name(name);
    REQUIRE_FALSE(checked.has_value());
    CHECK(checked.error().code == iscsi::base::Errc::invalid);
    CHECK(checked.error().detail.find('\n') == std::string::npos);
}

TEST_CASE("a name has at most 223 bytes", "[rfc7143-4.2.7][NAME-01]") {
    std::string name = "iqn.2001-04.com.example:";
    name.resize(223, 'x');
    CHECK(check_iscsi_name(name).has_value());
    CHECK_FALSE(check_iscsi_name(name + "x").has_value());
}

TEST_CASE("a target is called as it likes, as long as the name is one word of a path and a line") {
    auto name = GENERATE("target1", "iqn.com.example", "iqn.2001-4.com.x:y", "a+b", "x", "a..b",
                         "disk@rack%3~1", "iqn.2001-04.com.\xc3\xa9", "IQN.2001-04.com.example", "-");
    CHECK(check_target_name(name).has_value());
    CHECK(check_target_name(std::string(223, 'x')).has_value());
}

TEST_CASE("a target's name that could break a path, a line, a record or a shell is refused") {
    auto name =
        GENERATE("", ".", "..", ".x", "a/b", "../x", "a b", " a", "a\tb", "a\nb", "a\rb", "a=b", "a,b",
                 "a\x1b[2J", "a\x7f", "a\xff", "a\xc2\x85", "a\xe2\x80\xae", "a\\b", "a\"b", "a'b", "a`b",
                 "$a", "a;b", "a&b", "a|b", "<a", ">a", "a*", "a?", "!a", "#a", "(a)", "[a]", "{a}");
    auto checked = check_target_name(name);
    REQUIRE_FALSE(checked.has_value());
    CHECK(checked.error().code == iscsi::base::Errc::invalid);
    CHECK(checked.error().detail.find_first_of("\n\x1b") == std::string::npos);
    CHECK_FALSE(check_target_name(std::string(224, 'x')).has_value());
    CHECK_FALSE(check_target_name(std::string("a\0b", 3)).has_value());
}

TEST_CASE("hosts are names and addresses of both families", "[rfc7143-13.8][DISC-05]") {
    auto host = GENERATE("192.0.2.1", "0.0.0.0", "storage", "storage.example.com", "storage.example.com.",
                         "a_b", "::", "::1", "2001:db8::1", "2001:db8:0:0:0:0:0:1", "fe80::1%eth0",
                         "fe80::1%bond0.12", "::ffff:192.0.2.1");
    CHECK(check_host(host).has_value());
}

TEST_CASE("a host that is none, or could break a path, is refused", "[rfc7143-13.8][DISC-05][NAME-06]") {
    auto host =
        GENERATE("", ".", "..", "a..b", "-a", "a-", "a/b", "a b", "a\nb", "[::1]", ":", ":::", "1::2::3",
                 "2001:db8::12345", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "fe80::1%",
                 "fe80::1%../x", "fe80::1%a/b", "192.0.2.1%eth0", "::192.0.2.256", "a,b", "a=b");
    CHECK_FALSE(check_host(host).has_value());
}

TEST_CASE("two spellings of one address or name are the same host", "[rfc5952]") {
    auto [a, b] = GENERATE(table<std::string, std::string>({
        {"2001:db8::1", "2001:DB8:0:0::1"},
        {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
        {"::", "0:0:0:0:0:0:0:0"},
        {"::1", "0000:0000::0001"},
        {"1::", "1:0:0:0:0:0:0:0"},
        {"::ffff:192.0.2.1", "::ffff:c000:201"},
        {"FE80::1%eth0", "fe80:0::1%eth0"},
        {"Storage.Example.com", "storage.example.COM."},
        {"192.0.2.1", "192.0.2.1"},
    }));
    CHECK(is_same_host(a, b));
    CHECK(is_same_host(b, a));
}

TEST_CASE("other addresses and names are other hosts") {
    auto [a, b] = GENERATE(table<std::string, std::string>({
        {"2001:db8::1", "2001:db8::10"},
        {"2001:db8::1:0:0:1", "2001:db8:0:1::1"},
        {"fe80::1%eth0", "fe80::1%eth1"},
        {"fe80::1%eth0", "fe80::1%ETH0"},
        {"fe80::1", "fe80::1%eth0"},
        {"192.0.2.1", "192.0.2.10"},
        {"::ffff:192.0.2.1", "192.0.2.1"},
        {"nas", "nas.example.com"},
        {"::1", "1::"},
    }));
    CHECK_FALSE(is_same_host(a, b));
    CHECK_FALSE(is_same_host(b, a));
}

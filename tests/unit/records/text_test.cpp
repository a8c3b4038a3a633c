#include "records/text.hpp"

#include "unit/records/golden_ifaces.hpp"
#include "unit/records/golden_nodes.hpp"

#include <catch2/catch.hpp>
#include <random>

using namespace iscsi;
using records::display_text;
using records::file_text;
using records::Key;
using records::parse_record;
using records::Record;
using records::RecordKind;
using records::Warnings;

namespace {

Record parsed(RecordKind kind, std::string_view text) {
    Warnings warnings;
    Record record = parse_record(kind, text, "test", warnings);
    CHECK(warnings.empty());
    return record;
}

} // namespace

TEST_CASE("dumps have open-iscsi's bytes, in files and on stdout", "[records]") {
    struct Case {
        RecordKind kind;
        std::string_view file;
        std::string_view shown;
    };
    auto [kind, file, shown] =
        GENERATE(Case{RecordKind::node, golden::node_file, golden::node_shown},
                 Case{RecordKind::isns, golden::isns_file, golden::isns_file},
                 Case{RecordKind::iface, golden::iface_v6_file, golden::iface_v6_shown});
    Record record = parsed(kind, file);
    CHECK(file_text(record) == file);
    CHECK(display_text(record, false) == shown);
}

TEST_CASE("secrets are masked on stdout unless asked for, and always in the file", "[records]") {
    Record record = parsed(RecordKind::send_targets, golden::send_targets_file);
    CHECK(file_text(record) == golden::send_targets_file);
    REQUIRE(record.set("discovery.sendtargets.auth.password", "secret"));
    CHECK(display_text(record, false) == golden::send_targets_shown);
    CHECK(display_text(record, true).find("auth.password = secret\n") != std::string::npos);
    CHECK(file_text(record).find("auth.password = secret\n") != std::string::npos);
}

TEST_CASE("an interface made from nothing prints as open-iscsi's", "[records]") {
    Record iface = *records::make_iface("if1");
    CHECK(display_text(iface, false) == golden::iface_shown);
    REQUIRE(iface.set("iface.net_ifacename", "lo"));
    REQUIRE(iface.set("iface.initiatorname", "iqn.x:y"));
    CHECK(file_text(iface) == golden::iface_file);
}

TEST_CASE("keys newer than the compat version are printed only when they are set", "[records]") {
    Record node = parsed(RecordKind::node, golden::node_file);
    REQUIRE(node.set("node.conn[0].tcp.congestion_control", "bbr"));
    CHECK(file_text(node).find("node.conn[0].tcp.congestion_control = bbr\n") != std::string::npos);
    CHECK(parsed(RecordKind::node, file_text(node)) == node);
}

TEST_CASE("unknown keys are written back behind the known ones", "[records]") {
    Record node =
        parsed(RecordKind::node, "node.future = a = b # c\nnode.name = iqn.2001-04.com.example:t1\n");
    std::string text = file_text(node);
    CHECK(text.ends_with("node.future = a = b # c\n# END RECORD\n"));
    CHECK(parsed(RecordKind::node, text) == node);
    CHECK(display_text(node, true).find("node.future") == std::string::npos);
}

TEST_CASE("the reader takes blanks, comments, duplicates and a last line without newline", "[records]") {
    Record node =
        parsed(RecordKind::node, "  # node.name = no\n\n\t node.name=a\r\nnode.startup\t=  automatic \n"
                                 "node.name = b\nnode.session.auth.password = #a b = c\n"
                                 "node.session.auth.username = <empty>\nnode.session.nr_sessions = 2");
    CHECK(node.text(Key::node_name) == "b");
    CHECK(node.text(Key::node_startup) == "automatic");
    CHECK(node.text(Key::session_password) == "#a b = c");
    CHECK(node.text(Key::session_username).empty());
    CHECK(node.number(Key::session_nr_sessions) == 2);
}

TEST_CASE("a line that is none is a warning, a value that cannot be used is not", "[records]") {
    Warnings warnings;
    std::string text = "node.startup = bogus\nno separator\n= value\nkey with blanks = x\n"
                       "node.session.cmds_max = 0\nnode.name = " +
                       std::string(3000, 'x') + "\nnode.session.queue_depth = 16\n" +
                       "node.session.auth.password = " + std::string(300, 'p') + "\n";
    Record node = parse_record(RecordKind::node, text, "file", warnings);
    CHECK(node.text(Key::node_startup) == "manual");
    CHECK(node.number(Key::session_cmds_max) == 2);
    CHECK(node.text(Key::node_name).empty());
    CHECK(node.number(Key::session_queue_depth) == 16);
    REQUIRE(warnings.size() == 4);
    CHECK(warnings[0] == "file:2: the line is not 'key = value' and was left out");
    std::vector<std::string> notes = node.notes();
    REQUIRE(notes.size() == 3);
    CHECK(notes[0] == "unknown value format 'bogus' for parameter name 'node.startup'; allowed is manual, "
                      "automatic or onboot; used is manual");
    CHECK(notes[1] ==
          "bad value '0' for node.session.cmds_max; allowed is a power of two from 2 to 2048; used is 2");
    CHECK(notes[2].find("ppp") == std::string::npos);
    CHECK(notes[2].ends_with("; used is none"));
}

TEST_CASE("a value that cannot be used is written back until its key is set", "[records]") {
    Record node = parsed(RecordKind::node, "node.session.cmds_max = 4096\n"
                                           "node.session.nr_sessions = 99999999999999999999\n"
                                           "node.conn[0].timeo.noop_out_interval = -1\n"
                                           "node.session.auth.chap_algs = SHA256,SHA512,MD5\n"
                                           "node.startup = never\n");
    CHECK(node.number(Key::session_cmds_max) == 2048);
    CHECK(node.number(Key::session_nr_sessions) == 1);
    CHECK(node.number(Key::conn_noop_out_interval) == 0);
    CHECK(node.text(Key::session_chap_algs) == "SHA256,MD5"); // what is unknown alone is left out
    REQUIRE(node.set("node.session.timeo.replacement_timeout", "77"));
    std::string text = file_text(node);
    for (const char* line :
         {"node.session.cmds_max = 4096\n", "node.session.nr_sessions = 99999999999999999999\n",
          "node.conn[0].timeo.noop_out_interval = -1\n", "node.session.auth.chap_algs = SHA256,SHA512,MD5\n",
          "node.startup = never\n", "node.session.timeo.replacement_timeout = 77\n"}) {
        CHECK(text.find(line) != std::string::npos);
    }
    CHECK(parsed(RecordKind::node, text) == node);
    Record before = node;
    REQUIRE(node.set("node.session.cmds_max", "2048"));
    CHECK_FALSE(node == before);
    CHECK(file_text(node).find("node.session.cmds_max = 2048\n") != std::string::npos);
    CHECK(file_text(node).find("4096") == std::string::npos);
}

TEST_CASE("of a key that stands there twice the line counts that can be used", "[records]") {
    Record node = parsed(RecordKind::node, "node.session.auth.chap_algs = SHA256\n"
                                           "node.session.auth.chap_algs = ROT13\n"
                                           "node.session.cmds_max = 4096\nnode.session.cmds_max = 64\n");
    CHECK(node.text(Key::session_chap_algs) == "SHA256");
    CHECK(node.notes().empty());
    CHECK(parsed(RecordKind::node, file_text(node)) == node);
}

TEST_CASE("what cannot be used falls back to the value of a new record of the kind", "[records]") {
    Record first = parsed(RecordKind::isns, "discovery.type = sendtargets\ndiscovery.type =\n");
    CHECK(first.text(Key::discovery_type) == "sendtargets");
    CHECK(first.refused(Key::discovery_type) == nullptr);
    CHECK(parsed(RecordKind::isns, file_text(first)) == first);

    Record second = parsed(RecordKind::isns, "discovery.type = ROT13\n");
    CHECK(second.text(Key::discovery_type) == "isns");
    CHECK(parsed(RecordKind::isns, file_text(second)) == second);
}

TEST_CASE("keys of other versions are written back byte for byte", "[records]") {
    std::string lines =
        "node.a = \nnode.b = <empty>\nnode.c = x\ty\nnode.d = " + std::string(1000, 'v') + "\n";
    std::string many;
    for (int i = 0; i < 300; ++i) {
        many += "node.n" + std::to_string(i) + " = v\n";
    }
    for (const std::string& kept : {lines, many}) {
        Record node = parsed(RecordKind::node, kept);
        std::string text = file_text(node);
        CHECK(text.ends_with("\n" + kept + "# END RECORD\n"));
        CHECK(parsed(RecordKind::node, text) == node);
    }
    Record node = parsed(RecordKind::node, lines);
    REQUIRE(node.set("node.d", "short"));
    CHECK(file_text(node).find("node.d = short\n") != std::string::npos);
    CHECK(file_text(node).find("vvv") == std::string::npos);
}

TEST_CASE("hostile text neither breaks the reader nor floods its warnings", "[records]") {
    std::mt19937 random(42);
    std::string_view words[] = {
        "node.name", "=",  " ", "\n", "#", "\0x", "\t", "iface.mtu", "99999999999999999999",
        "\xff\xfe",  "\r", "-", "=="};
    for (int round = 0; round < 2000; ++round) {
        std::string text;
        for (int i = 0; i < 60; ++i) {
            text += words[random() % std::size(words)];
            if (random() % 8 == 0) {
                text += static_cast<char>(random());
            }
        }
        Warnings warnings;
        Record node = parse_record(RecordKind::node, text, "t", warnings);
        CHECK(warnings.size() <= records::warnings_max);
        // Whatever was accepted survives being written and read.
        Warnings none;
        CHECK(parse_record(RecordKind::node, file_text(node), "t", none) == node);
        CHECK(none.empty());
        for (const std::string& warning : warnings) {
            CHECK(warning.find_first_of("\n\r\t") == std::string::npos);
        }
    }
    Warnings warnings;
    parse_record(RecordKind::node, std::string(100000, '\n') + std::string(100000, '='), "t", warnings);
    std::string many;
    for (int i = 0; i < 10000; ++i) {
        many += "x\n";
    }
    parse_record(RecordKind::node, many, "t", warnings);
    CHECK(warnings.size() == records::warnings_max);
}

TEST_CASE("iscsid.conf gives the templates of nodes and discovery and the daemon's keys", "[records]") {
    Warnings warnings;
    records::Config config = records::parse_config("node.conn[0].timeo.login_timeout = 15\n"
                                                   "node.session.auth.chap_algs = SHA256,MD5\n"
                                                   "discovery.sendtargets.reopen_max = 2\n"
                                                   "iface.mtu = 9000\n"
                                                   "iscsid.startup = /bin/true\n"
                                                   "iscsid.safe_logout = Yes\n"
                                                   "isns.address = 10.0.0.1\n"
                                                   "iscsid.future = 1\n"
                                                   "node.session.auth.chap_algs = ROT13\n"
                                                   "node.session.cmds_max = 4096\n",
                                                   "conf", warnings);
    CHECK(config.node.number(Key::conn_login_timeout) == 15);
    CHECK(config.node.number(Key::iface_mtu) == 9000);
    CHECK(config.node.text(Key::session_chap_algs) == "SHA256,MD5");
    CHECK(config.send_targets.text(Key::session_chap_algs) == "SHA256,MD5");
    CHECK(config.send_targets.number(Key::discovery_reopen_max) == 2);
    CHECK(config.daemon.text(Key::daemon_startup) == "/bin/true");
    CHECK(config.daemon.boolean(Key::daemon_safe_logout));
    CHECK(config.daemon.unknown().size() == 1);
    CHECK(config.node.unknown().empty());
    CHECK(config.node.number(Key::session_cmds_max) == 2048);
    CHECK(file_text(config.node).find("node.session.cmds_max = 4096\n") != std::string::npos);
    REQUIRE(warnings.size() == 2);
    CHECK(warnings[0].starts_with("conf:9: "));
    CHECK(warnings[1].starts_with("conf:10: bad value '4096' for node.session.cmds_max"));
}

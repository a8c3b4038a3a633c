#include "records/store.hpp"

#include "unit/records/golden_nodes.hpp"
#include "unit/records/temp_store.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <sys/stat.h>
#include <sys/wait.h>
#include <utility>

using namespace iscsi;
using namespace iscsi::records;
using namespace iscsi::records::test;

namespace {

const std::string t1 = "iqn.2001-04.com.example:t1";
const std::string t2 = "iqn.2001-04.com.example:t2";
const Portal portal_a{"10.0.0.1", 3260, 1};
const Portal portal_b{"::1", 3260, 1};

Change setting(std::string name, std::string value) {
    return [name = std::move(name), value = std::move(value)](Record& record) {
        return record.modify(name, value);
    };
}

} // namespace

TEST_CASE("an empty database lists nothing and finds nothing", "[store]") {
    TempStore temp;
    Warnings warnings;
    CHECK(listing(temp.store).empty());
    CHECK(temp.store.node({t1, portal_a, "default"}, warnings).error().code == base::Errc::not_found);
    CHECK(temp.store.remove_node({t1, portal_a, "default"}).error().code == base::Errc::not_found);
    CHECK(temp.store.update_node({t1, portal_a, "default"}, setting("node.startup", "automatic"))
              .error()
              .code == base::Errc::not_found);
    CHECK(warnings.empty());
}

TEST_CASE("static records lie where open-iscsi puts them, with its modes and links", "[store]") {
    TempStore temp;
    CHECK(temp.store.write_node(new_node(t1, {"10.0.0.9", 3260, -1})) ==
          NodeId{t1, {"10.0.0.9", 3260, -1}, "default"});
    REQUIRE(temp.store.write_node(new_node(t2, {"fe80::1", 3261, 2})));
    std::string nodes = temp.db("nodes");
    CHECK(tree(temp.store.paths().db_dir()) == "d 700 nodes\n"
                                               "d 700 nodes/" +
                                                   t1 +
                                                   "\n"
                                                   "f 600 nodes/" +
                                                   t1 +
                                                   "/10.0.0.9,3260\n"
                                                   "d 700 nodes/" +
                                                   t2 +
                                                   "\n"
                                                   "d 700 nodes/" +
                                                   t2 +
                                                   "/fe80::1,3261,2\n"
                                                   "f 600 nodes/" +
                                                   t2 +
                                                   "/fe80::1,3261,2/default\n"
                                                   "d 700 static\n"
                                                   "l static/" +
                                                   t2 + ",fe80::1,3261,2,default " + nodes + "/" + t2 +
                                                   "/fe80::1,3261,2\n");
    CHECK(listing(temp.store) == std::vector<std::string>{"10.0.0.9:3260,4294967295 " + t1 + " default",
                                                          "[fe80::1]:3261,2 " + t2 + " default"});
}

TEST_CASE("deleting leaves no empty directory and no link behind", "[store]") {
    TempStore temp;
    REQUIRE(temp.store.write_node(new_node(t1, portal_a)));
    REQUIRE(temp.store.write_node(new_node(t1, portal_a, "if1")));
    REQUIRE(temp.store.remove_node({t1, portal_a, "default"}));
    CHECK(listing(temp.store) == std::vector<std::string>{"10.0.0.1:3260,1 " + t1 + " if1"});
    REQUIRE(temp.store.remove_node({t1, portal_a, "if1"}));
    CHECK(tree(temp.store.paths().db_dir()) == "d 700 nodes\nd 700 static\n");
}

TEST_CASE("a record without group tag takes the tag that is known, and gives way to one with a tag",
          "[store]") {
    TempStore temp;
    Portal untagged{"10.0.0.1", 3260, -1};
    Record node = new_node(t1, untagged);
    REQUIRE(node.set(Key::session_username, "bob"));
    REQUIRE(temp.store.write_node(node));
    REQUIRE(temp.store.write_node(new_node(t1, portal_a)));
    CHECK(listing(temp.store) == std::vector<std::string>{"10.0.0.1:3260,1 " + t1 + " default"});
    CHECK(temp.store.write_node(new_node(t1, untagged)) == NodeId{t1, portal_a, "default"});
    CHECK(temp.store.write_node(new_node(t1, untagged, "if1")) == NodeId{t1, portal_a, "if1"});
    CHECK_FALSE(fs::exists(temp.db("nodes/" + t1 + "/10.0.0.1,3260")));
    Warnings warnings;
    CHECK(temp.store.node({t1, untagged, "if1"}, warnings));
}

TEST_CASE("a record is found by another spelling of its address, and keeps its own", "[store][rfc5952]") {
    TempStore temp;
    REQUIRE(temp.store.write_node(new_node(t1, {"2001:db8::1", 3260, 1})));
    const Portal spelled_out{"2001:DB8:0:0:0:0:0:1", 3260, tpgt_unknown};
    NodeFilter filter;
    filter.portal = spelled_out;
    const std::vector<std::string> stored{"[2001:db8::1]:3260,1 " + t1 + " default"};
    CHECK(listing(temp.store, filter) == stored);
    REQUIRE(temp.store.update_node({t1, spelled_out, "default"}, setting("node.startup", "automatic")));
    CHECK(listing(temp.store) == stored);
    REQUIRE(temp.store.remove_node({t1, spelled_out, "default"}));
    CHECK(listing(temp.store).empty());
}

TEST_CASE("a portal that is found again in another spelling of its address is the same", "[store][rfc5952]") {
    TempStore temp;
    DiscoveryUpdate update;
    update.source = {"2001:db8::1", 3260, -1};
    update.ifaces.push_back(*make_iface("default"));
    update.found = {{t1, {"2001:db8::1", 3260, 1}, "default"}};
    REQUIRE(temp.store.apply_discovery(update, Config()));
    update.found.front().portal.address = "2001:DB8:0::1";
    auto changes = temp.store.apply_discovery(update, Config());
    REQUIRE(changes);
    CHECK(changes->added.empty());
    CHECK(changes->removed.empty());
    CHECK(listing(temp.store) == std::vector<std::string>{"[2001:db8::1]:3260,1 " + t1 + " default"});
}

TEST_CASE("matching ignores the group tag but not the port, and may resolve names", "[store]") {
    TempStore temp;
    for (const std::string& target : {t1, t2}) {
        for (const Portal& portal : {portal_a, portal_b}) {
            REQUIRE(temp.store.write_node(new_node(target, portal)));
        }
    }
    CHECK(listing(temp.store).size() == 4);
    CHECK(listing(temp.store)[1] == "[::1]:3260,1 " + t1 + " default");
    NodeFilter filter;
    filter.portal = Portal{"10.0.0.1", 3260, 9};
    CHECK(listing(temp.store, filter).size() == 2);
    filter.target = t2;
    CHECK(listing(temp.store, filter) == std::vector<std::string>{"10.0.0.1:3260,1 " + t2 + " default"});
    filter.iface = "if1";
    CHECK(listing(temp.store, filter).empty());
    filter = {};
    filter.portal = Portal{"nas", 3260, -1};
    CHECK(listing(temp.store, filter).empty());
    filter.same_host = [](std::string_view have, std::string_view asked) {
        return have == "::1" && asked == "nas";
    };
    CHECK(listing(temp.store, filter).size() == 2);
    filter.portal->port = 3261;
    CHECK(listing(temp.store, filter).empty());
}

TEST_CASE("an update changes what it names and nothing when it fails", "[store]") {
    TempStore temp;
    NodeId id{t1, portal_a, "default"};
    write_file(temp.db("nodes/" + t1 + "/10.0.0.1,3260,1/default"), std::string(golden::node_file));
    REQUIRE(temp.store.update_node(id, setting("node.startup", "automatic")));
    std::string expected(golden::node_file);
    expected.replace(expected.find("node.startup = manual"), 21, "node.startup = automatic");
    std::string path = temp.db("nodes/" + t1 + "/10.0.0.1,3260,1/default");
    CHECK(read_back(path) == expected);
    auto failed = temp.store.update_node(id, [](Record& record) {
        REQUIRE(record.modify("node.startup", "manual"));
        return record.modify("node.session.auth.password", "a\nnode.startup = onboot");
    });
    CHECK(failed.error().code == base::Errc::invalid);
    CHECK(read_back(path) == expected);
    REQUIRE(temp.store.update_node(id, setting("node.startup", "manual")));
    CHECK(read_back(path) == golden::node_file);
}

TEST_CASE("names that would leave the database are refused before anything is touched", "[store]") {
    TempStore temp;
    std::string long_name = "iqn.2001-04.com.example:" + std::string(200, 'x');
    REQUIRE(long_name.size() == 224);
    for (const std::string& target :
         {std::string("../x"), std::string(".."), std::string("iqn.2001-04.com.example:a/../b"),
          std::string("iqn.2001-04.com.example:a\nb"), long_name, std::string()}) {
        Record node(RecordKind::node);
        static_cast<void>(node.set(Key::node_name, target));
        REQUIRE(node.set(Key::conn_address, "10.0.0.1"));
        INFO(target);
        auto done = temp.store.write_node(node);
        REQUIRE_FALSE(done);
        CHECK(done.error().code == base::Errc::invalid);
    }
    Record node = new_node(t1, portal_a);
    REQUIRE(node.set(Key::conn_address, "../../x"));
    CHECK(temp.store.write_node(node).error().code == base::Errc::invalid);
    node = new_node(t1, portal_a);
    REQUIRE(node.set(Key::iface_name, ".."));
    CHECK(temp.store.write_node(node).error().code == base::Errc::invalid);
    CHECK_FALSE(fs::exists(temp.store.paths().db_dir()));
}

TEST_CASE("an incomplete or foreign file is a warning and hides no other record", "[store]") {
    TempStore temp;
    REQUIRE(temp.store.write_node(new_node(t2, portal_a)));
    write_file(temp.db("nodes/" + t1 + "/10.0.0.1,3260,1/default"), "");
    write_file(temp.db("nodes/" + t1 + "/not a portal"), "x");
    write_file(temp.db("nodes/README"), "x");
    fs::create_symlink("/etc/passwd", temp.db("nodes/" + t1 + "/10.0.0.1,3260,1/link"));
    ::mkfifo((temp.db("nodes/" + t1 + "/10.0.0.2,3260")).c_str(), 0600);
    Warnings warnings;
    auto nodes = temp.store.nodes({}, warnings);
    REQUIRE(nodes);
    REQUIRE(nodes->size() == 2);
    CHECK(node_id((*nodes)[0]) == NodeId{t1, portal_a, "default"});
    CHECK(warnings.size() >= 2);
}

TEST_CASE("the path of a record wins over what its content says", "[store]") {
    TempStore temp;
    write_file(temp.db("nodes/" + t2 + "/::1,3260,4/if1"), std::string(golden::node_file));
    CHECK(listing(temp.store) == std::vector<std::string>{"[::1]:3260,4 " + t2 + " if1"});
    REQUIRE(temp.store.update_node({t2, {"::1", 3260, 4}, "if1"}, setting("node.startup", "automatic")));
    CHECK(read_back(temp.db("nodes/" + t2 + "/::1,3260,4/if1")).find("node.name = " + t2) !=
          std::string::npos);
}

TEST_CASE("a link in place of a directory is not followed", "[store]") {
    TempStore temp;
    TempRoot elsewhere;
    fs::create_directories(temp.db("nodes"));
    fs::create_symlink(elsewhere.path(), temp.db("nodes/" + t1));
    auto done = temp.store.write_node(new_node(t1, portal_a));
    REQUIRE_FALSE(done);
    CHECK(done.error().code == base::Errc::database);
    CHECK(fs::is_empty(elsewhere.path()));
}

TEST_CASE("an unwritable database is named with the reason and nothing half done stays", "[store]") {
    TempStore temp;
    REQUIRE(temp.store.write_node(new_node(t1, portal_a)));
    std::string before = tree(temp.store.paths().db_dir());
    // A child that is not root and cannot write there; root would not be refused.
    fs::permissions(temp.root.path(), fs::perms(0755));
    for (const char* dir : {"/etc", "/etc/iscsi", "/etc/iscsi/nodes", "/run"}) {
        fs::permissions(temp.root.path() + dir, fs::perms(0755));
    }
    fs::remove_all(temp.root.path() + "/run/lock/iscsi"); // the child makes its own
    fs::permissions(temp.root.path() + "/run/lock", fs::perms(0777));
    pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        if (::geteuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0)) {
            ::_exit(3);
        }
        if (::access(temp.db("nodes").c_str(), W_OK) == 0) {
            ::_exit(0);
        }
        auto done = temp.store.write_node(new_node(t2, portal_a));
        bool told = !done && done.error().code == base::Errc::database &&
                    done.error().detail.find(temp.store.paths().db_dir()) != std::string::npos &&
                    done.error().detail.find("Permission denied") != std::string::npos;
        ::_exit(told ? 0 : 1);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    CHECK(listing(temp.store) == std::vector<std::string>{"10.0.0.1:3260,1 " + t1 + " default"});
    fs::permissions(temp.db(""), fs::perms(0700));
    fs::permissions(temp.db("nodes"), fs::perms(0700));
    CHECK(tree(temp.store.paths().db_dir()) == before);
}

TEST_CASE("what a crash left in the database is cleared away by the next change", "[store]") {
    TempStore temp;
    write_file(temp.db(".new-1234-0"), "half a rec");
    REQUIRE(temp.store.write_node(new_node(t1, portal_a)));
    CHECK_FALSE(fs::exists(temp.db(".new-1234-0")));
    CHECK(listing(temp.store).size() == 1);
}

TEST_CASE("sixteen processes that update at the same time lose nothing", "[store]") {
    constexpr int processes = 16;
    constexpr int rounds = 10;
    TempStore temp;
    NodeId id{t1, portal_a, "default"};
    REQUIRE(temp.store.write_node(new_node(t1, portal_a)));
    std::vector<pid_t> children;
    for (int p = 0; p < processes; ++p) {
        pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            for (int round = 0; round < rounds; ++round) {
                auto done = temp.store.update_node(id, [&](Record& record) {
                    std::int64_t count = record.number(Key::session_reopen_max);
                    return record.set(Key::session_reopen_max, std::to_string(count + 1));
                });
                if (!done) {
                    ::_exit(1);
                }
            }
            ::_exit(0);
        }
        children.push_back(child);
    }
    for (pid_t child : children) {
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == 0);
    }
    Warnings warnings;
    CHECK(temp.store.node(id, warnings)->number(Key::session_reopen_max) == processes * rounds);
    CHECK(warnings.empty());
}

TEST_CASE("the initiator's name is the first line that names it, and must be one", "[store]") {
    TempStore temp;
    CHECK(temp.store.initiator_name().error().code == base::Errc::not_found);
    std::string path = temp.store.paths().initiator_name_file();
    write_file(path, "# InitiatorName=iqn.2000-01.no:1\n  InitiatorName = iqn.1993-08.org.debian:01:abc  \n"
                     "InitiatorName=iqn.2000-01.no:2\nInitiatorAlias=my host\n");
    auto found = temp.store.initiator_name();
    REQUIRE(found);
    CHECK(found->name == "iqn.1993-08.org.debian:01:abc");
    CHECK(found->alias == "my host");
    write_file(path, "InitiatorName=bad name\n");
    CHECK(temp.store.initiator_name().error().code == base::Errc::invalid);
    write_file(path, "GenerateName=yes\n");
    CHECK(temp.store.initiator_name().error().code == base::Errc::not_found);
}

TEST_CASE("without iscsid.conf new records begin with the compiled defaults", "[store]") {
    TempStore temp;
    Warnings warnings;
    CHECK(temp.store.config(warnings)->node == Record(RecordKind::node));
    CHECK(warnings.size() == 1);
    write_file(temp.store.paths().config_file(), "node.startup = automatic\n");
    CHECK(temp.store.config(warnings)->node.text(Key::node_startup) == "automatic");
    write_file(temp.store.paths().config_file(), std::string(2 << 20, '#'));
    CHECK(temp.store.config(warnings).error().code == base::Errc::database);
}

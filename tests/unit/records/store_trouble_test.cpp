// The record database where something is wrong with what it lies on or with what others left there.
#include "records/store.hpp"

#include "support/in_child.hpp"
#include "unit/records/temp_store.hpp"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

using namespace iscsi;
using namespace iscsi::records;
using namespace iscsi::records::test;

namespace {

const std::string t1 = "iqn.2001-04.com.example:t1";
const Portal portal{"10.0.0.1", 3260, 1};
const Portal untagged{"10.0.0.1", 3260, tpgt_unknown};

Record read_node(const Store& store, const NodeId& id) {
    Warnings warnings;
    auto node = store.node(id, warnings);
    REQUIRE(node);
    return *node;
}

std::size_t count_nodes(const Store& store) {
    Warnings warnings;
    auto nodes = store.nodes({}, warnings);
    REQUIRE(nodes);
    CHECK(warnings == Warnings{});
    return nodes->size();
}

Change setting(Key key, std::string value) {
    return [key, value](Record& record) { return record.set(key, value); };
}

/// A directory on another file system than the tests' own, where there is one.
struct OtherFileSystem {
    OtherFileSystem() {
        struct stat own {};
        struct stat memory {};
        bool differs = ::stat(fs::temp_directory_path().c_str(), &own) == 0 &&
                       ::stat("/dev/shm", &memory) == 0 && own.st_dev != memory.st_dev;
        std::string pattern = "/dev/shm/t.XXXXXX";
        if (differs && ::mkdtemp(pattern.data()) != nullptr) {
            path = pattern;
        }
    }
    OtherFileSystem(const OtherFileSystem&) = delete;
    OtherFileSystem& operator=(const OtherFileSystem&) = delete;
    ~OtherFileSystem() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
    std::string path; ///< empty when there is none
};

} // namespace

TEST_CASE("a directory of the database may lie on another file system", "[store]") {
    OtherFileSystem other;
    if (other.path.empty()) {
        WARN("/dev/shm is no file system of its own: not tested");
        return;
    }
    TempStore temp;
    fs::create_directories(temp.db(""));
    for (const char* top : {"nodes", "static", "send_targets", "ifaces"}) {
        fs::create_directory(other.path + "/" + top);
        fs::permissions(other.path + "/" + top, fs::perms(0700));
        fs::create_symlink(other.path + "/" + top, temp.db(top));
    }
    REQUIRE(temp.store.write_iface(*make_iface("if1")));
    REQUIRE(temp.store.write_node(new_node(t1, portal, "if1")));
    REQUIRE(temp.store.update_node({t1, portal, "if1"}, setting(Key::node_startup, "automatic")));
    REQUIRE(temp.store.update_iface("if1", setting(Key::iface_mtu, "9000")));
    REQUIRE(temp.store.write_discovery(*make_discovery(Record(RecordKind::send_targets), untagged)));
    CHECK(read_node(temp.store, {t1, portal, "if1"}).number(Key::iface_mtu) == 9000);
    CHECK(tree(other.path) == "d 700 ifaces\nf 600 ifaces/if1\nd 700 nodes\nd 700 nodes/" + t1 +
                                  "\nd 700 nodes/" + t1 + "/10.0.0.1,3260,1\nf 600 nodes/" + t1 +
                                  "/10.0.0.1,3260,1/if1\nd 700 send_targets\nd 700 "
                                  "send_targets/10.0.0.1,3260\nf 600 send_targets/10.0.0.1,3260/st_config\n"
                                  "d 700 static\nl static/" +
                                  t1 + ",10.0.0.1,3260,1,if1 " + temp.db("nodes/" + t1 + "/10.0.0.1,3260,1") +
                                  "\n");
    // What a crash leaves there is cleared away, too.
    write_file(other.path + "/nodes/.new/.new-1-1", "half a rec");
    REQUIRE(temp.store.remove_node({t1, portal, "if1"}));
    CHECK(fs::is_empty(other.path + "/nodes"));
}

TEST_CASE("an interface's change reaches records of the oldest form", "[store]") {
    TempStore temp;
    REQUIRE(temp.store.write_iface(*make_iface("if1")));
    write_file(temp.db("nodes/" + t1 + "/10.0.0.1,3260"),
               "node.name = " + t1 +
                   "\nnode.tpgt = 1\niface.iscsi_ifacename = if1\n"
                   "node.conn[0].address = 10.0.0.1\nnode.conn[0].port = 3260\n");
    REQUIRE(temp.store.update_iface("if1", setting(Key::iface_mtu, "9000")));
    CHECK(count_nodes(temp.store) == 1);
    CHECK(read_node(temp.store, {t1, portal, "if1"}).number(Key::iface_mtu) == 9000);
    CHECK_FALSE(fs::is_symlink(temp.db(".change")));
    CHECK_FALSE(fs::is_symlink(temp.db(".change.1")));
}

TEST_CASE("a record without an interface's name is the default interface's", "[store]") {
    TempStore temp;
    write_file(temp.db("nodes/" + t1 + "/10.0.0.1,3260"),
               "node.name = " + t1 +
                   "\nnode.tpgt = 1\niface.iscsi_ifacename =\n"
                   "node.conn[0].address = 10.0.0.1\nnode.conn[0].port = 3260\n");
    REQUIRE(temp.store.update_node({t1, portal, "default"}, setting(Key::node_startup, "automatic")));
    CHECK(count_nodes(temp.store) == 1);
    CHECK(read_node(temp.store, {t1, portal, "default"}).text(Key::node_startup) == "automatic");
    CHECK(fs::is_regular_file(temp.db("nodes/" + t1 + "/10.0.0.1,3260,1/default")));
}

TEST_CASE("a record is not moved to where it would not be seen", "[store]") {
    TempStore temp;
    std::string flat = temp.db("nodes/" + t1 + "/10.0.0.1,3260");
    std::string content = "node.name = " + t1 +
                          "\nnode.tpgt = 1\niface.iscsi_ifacename = .x\n"
                          "node.conn[0].address = 10.0.0.1\nnode.conn[0].port = 3260\n";
    write_file(flat, content);
    auto done = temp.store.update_node({t1, portal, ".x"}, setting(Key::node_startup, "automatic"));
    CHECK(done.error().code == base::Errc::invalid);
    // Nor when another record brings the tag.
    REQUIRE(temp.store.write_node(new_node(t1, portal)));
    CHECK(read_back(flat) == content);
}

TEST_CASE("what cannot be read is an error, and not a record less", "[store]") {
    TempStore temp;
    REQUIRE(temp.store.write_node(new_node(t1, portal)));
    REQUIRE(temp.store.write_discovery(*make_discovery(Record(RecordKind::send_targets), untagged)));
    REQUIRE(temp.store.write_iface(*make_iface("if1")));
    // With ever more descriptors the walk ends deeper; only at the end nothing is missing.
    auto outcome_with = [&](rlim_t descriptors) {
        return iscsi::test::in_child([&] {
            int next = ::dup(0);
            ::close(next);
            rlimit limit{next + descriptors, next + descriptors};
            ::setrlimit(RLIMIT_NOFILE, &limit);
            Warnings warnings;
            auto nodes = temp.store.nodes({}, warnings);
            auto discoveries = temp.store.discoveries(RecordKind::send_targets, warnings);
            auto ifaces = temp.store.ifaces(warnings);
            bool wrong = (nodes && nodes->size() != 1) || (discoveries && discoveries->size() != 1) ||
                         (ifaces && ifaces->size() != 3) || !warnings.empty();
            bool told = (nodes || nodes.error().code == base::Errc::database) &&
                        (discoveries || discoveries.error().code == base::Errc::database) &&
                        (ifaces || ifaces.error().code == base::Errc::database);
            return wrong || !told ? 2 : nodes && discoveries && ifaces ? 0 : 1;
        });
    };
    for (rlim_t descriptors : {0, 1, 2, 3, 4}) {
        INFO(descriptors);
        CHECK(outcome_with(descriptors) == 1);
    }
    CHECK(outcome_with(5) == 0);
}

TEST_CASE("a file in the place of the note is named", "[store]") {
    TempStore temp;
    write_file(temp.db(".change"), "");
    auto done = temp.store.write_node(new_node(t1, portal));
    REQUIRE_FALSE(done);
    CHECK(done.error().detail == temp.db(".change") + ": not a file of the record database; remove it");
    CHECK(count_nodes(temp.store) == 0);
}

TEST_CASE("notes of any text are settled and go", "[store]") {
    TempStore temp;
    REQUIRE(temp.store.write_node(new_node(t1, portal)));
    for (const char* text : {"nodes", "nodes/", "nodes/../../x/y", "nodes/a/b/c", "ifaces/", "ifaces/..",
                             "ifaces", "isns/x", "send_targets/../nodes", "send_targets/10.0.0.1,3260",
                             "x//y", "//", "nodes/a/10.0.0.1,3260,1/i//nodes/b"}) {
        fs::create_symlink(text, temp.db(".change"));
        fs::create_symlink(text, temp.db(".change.1"));
        INFO(text);
        CHECK(temp.store.write_node(new_node(t1, portal)));
        CHECK_FALSE(fs::is_symlink(temp.db(".change")));
        CHECK_FALSE(fs::is_symlink(temp.db(".change.1")));
    }
    CHECK(count_nodes(temp.store) == 1);
}

TEST_CASE("what cannot be settled stays noted, and one file can be changed all the same", "[store]") {
    TempStore temp;
    REQUIRE(temp.store.write_node(new_node(t1, portal)));
    fs::remove_all(temp.db("static"));
    write_file(temp.db("static"), "");
    fs::create_symlink("nodes/" + t1 + "/10.0.0.1,3260,1/default", temp.db(".change"));
    REQUIRE(temp.store.write_iface(*make_iface("if1")));
    auto done = temp.store.write_node(new_node(t1, portal, "if1"));
    REQUIRE_FALSE(done);
    CHECK(done.error().detail.find("cut off cannot be finished: " + temp.db("static")) != std::string::npos);
    auto removed = temp.store.remove_node({t1, portal, "default"}); // which is tried all the same
    REQUIRE_FALSE(removed);
    CHECK(removed.error().detail.starts_with(temp.db("static") + ": "));
    CHECK(count_nodes(temp.store) == 1);
    CHECK(fs::is_symlink(temp.db(".change")));
    fs::remove(temp.db("static"));
    REQUIRE(temp.store.remove_node({t1, portal, "default"}));
    CHECK_FALSE(fs::is_symlink(temp.db(".change")));
}

TEST_CASE("the oldest files, without a line around them, are whole", "[store]") {
    TempStore temp;
    std::string keys = "node.name = " + t1 +
                       "\nnode.tpgt = 1\niface.iscsi_ifacename = default\n"
                       "node.conn[0].address = 10.0.0.1\nnode.conn[0].port = 3260\n";
    std::string file = temp.db("nodes/" + t1 + "/10.0.0.1,3260,1/default");
    auto warnings_of = [&](const std::string& content) {
        write_file(file, content);
        Warnings warnings;
        REQUIRE(temp.store.nodes({}, warnings));
        return warnings.size();
    };
    CHECK(warnings_of(keys) == 0);
    CHECK(warnings_of("# BEGIN RECORD 2.1.8\n" + keys) == 1);
    CHECK(warnings_of(keys.substr(0, keys.size() - 1)) == 1);
    CHECK(warnings_of("") == 2); // nor does it say whose it is
}

TEST_CASE("readers wait once for a lock that nobody gives back", "[store]") {
    TempStore temp;
    constexpr int records = 6;
    for (int i = 0; i < records; ++i) {
        write_file(temp.db("nodes/" + t1 + std::to_string(i) + "/10.0.0.1,3260,1/default"), "");
    }
    std::string locks = temp.store.paths().lock_dir();
    write_file(locks + "/lock", "");
    fs::create_hard_link(locks + "/lock", locks + "/lock.write");
    auto begin = std::chrono::steady_clock::now();
    Warnings warnings;
    REQUIRE(temp.store.nodes({}, warnings));
    // Each such wait is a second.
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(records - 1));
}

TEST_CASE("processes with other lock directories share the lock of the database itself", "[store]") {
    TempRoot root;
    Store store(Paths(root.path()), std::chrono::milliseconds(0));
    std::string db = store.paths().db_dir();
    REQUIRE(store.write_node(new_node(t1, portal)));
    int other = ::open(db.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    REQUIRE(::flock(other, LOCK_EX | LOCK_NB) == 0);
    auto done = store.remove_node({t1, portal, "default"});
    ::close(other);
    REQUIRE_FALSE(done);
    CHECK(done.error().detail == db + ": another process has held the record database too long");
    CHECK(store.remove_node({t1, portal, "default"}));
}

// Every change of the record database, cut off at every system call, or with every call failing: what readers
// see then, and what the next writer makes of it. The same of power failures, which lose what was not synced.
#include "operations.hpp"
#include "power.hpp"
#include "traced.hpp"
#include "tree.hpp"

#include "support/sanitized.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fmt/format.h>
#include <random>
#include <set>

using namespace iscsi;
using namespace iscsi::test;
using records::NodeId;
using records::Record;

namespace {

namespace fs = std::filesystem;
using Kind = FileCall::Kind;

bool is_hidden(std::string_view path) {
    return path.substr(path.rfind('/') + 1).starts_with('.');
}

/// Without empty directories directly below the database: once made they stay.
Tree essence(Tree tree) {
    for (auto it = tree.begin(); it != tree.end();) {
        auto next = std::next(it);
        bool is_top = it->second.kind == 'd' && it->first.find('/') == std::string::npos;
        bool is_empty = next == tree.end() || !next->first.starts_with(it->first + "/");
        it = is_top && is_empty ? tree.erase(it) : next;
    }
    return tree;
}

/// A database in a directory of its own, with an operation, and its trees before and after that.
struct Scene {
    explicit Scene(const Operation& wanted) : operation(wanted) {
        operation.prepare(store);
        before = take_tree(db);
        locks = take_tree(store.paths().lock_dir());
        nodes_before = nodes();
        auto done = operation.run(store);
        REQUIRE(done);
        after = take_tree(db);
        nodes_after = nodes();
    }

    void begin_again() const {
        put_tree(db, before);
        put_tree(store.paths().lock_dir(), locks);
    }

    std::vector<Record> nodes() const {
        records::Warnings warnings;
        auto found = store.nodes({}, warnings);
        REQUIRE(found);
        CHECK(warnings == records::Warnings{});
        return *found;
    }

    Traced cut_at(Cut cut) const {
        begin_again();
        return run_traced([this] { return operation.run(store) ? 0 : 1; }, cut);
    }

    ScratchDirectory root;
    records::Store store{records::Paths(root.path()), std::chrono::seconds(5)};
    std::string db = store.paths().db_dir();
    Operation operation;
    Tree before;
    Tree locks;
    Tree after;
    std::vector<Record> nodes_before;
    std::vector<Record> nodes_after;
};

/// The same record, whatever its group tag is.
bool same_record(const Record& a, const Record& b) {
    NodeId first = node_id(a);
    NodeId second = node_id(b);
    first.portal.tpgt = second.portal.tpgt;
    return first == second;
}

bool contains_same(const std::vector<Record>& all, const Record& wanted) {
    return std::ranges::any_of(all, [&](const Record& record) { return same_record(record, wanted); });
}

/// A reader that comes now sees whole records, old or new ones, and of those that stay all.
void check_readers(const Scene& scene) {
    std::vector<Record> seen = scene.nodes();
    for (const Record& record : seen) {
        CHECK(std::ranges::count(scene.nodes_before, record) +
                  std::ranges::count(scene.nodes_after, record) !=
              0);
    }
    for (const Record& record : scene.nodes_before) {
        CHECK((contains_same(seen, record) || !contains_same(scene.nodes_after, record)));
    }
    for (records::RecordKind kind : {records::RecordKind::send_targets, records::RecordKind::isns}) {
        records::Warnings warnings;
        CHECK(scene.store.discoveries(kind, warnings));
        CHECK(warnings == records::Warnings{});
    }
}

/// No file is half of anything, and nothing is where it neither was nor is to be.
void check_files(const Scene& scene, const Tree& cut) {
    auto is_as_in = [](const Tree& tree, const std::string& path, const TreeEntry& entry) {
        auto found = tree.find(path);
        return found != tree.end() && found->second == entry;
    };
    for (const auto& [path, entry] : cut) {
        if (is_hidden(path)) {
            CHECK(path.find('/') == std::string::npos); // what is staged lies in the root
            continue;
        }
        bool known = is_as_in(scene.before, path, entry) || is_as_in(scene.after, path, entry);
        CAPTURE(path);
        CHECK(known);
    }
}

/// Every record with a group tag has its link, every link its record, and no directory stands empty.
void check_consistent(const Scene& scene, const Tree& tree) {
    for (auto it = tree.begin(); it != tree.end(); ++it) {
        auto next = std::next(it);
        CAPTURE(it->first);
        CHECK((it->second.kind != 'd' || (next != tree.end() && next->first.starts_with(it->first + "/"))));
    }
    for (const auto& [path, entry] : tree) {
        if (entry.kind != 'l') {
            continue;
        }
        std::string iface = path.substr(path.rfind(',') + 1);
        std::string record = entry.content.substr(scene.db.size() + 1) + "/" + iface;
        CAPTURE(path, record);
        CHECK(tree.contains(record));
    }
    for (const auto& [path, entry] : tree) {
        if (entry.kind != 'f' || !path.starts_with("nodes/") || std::ranges::count(path, '/') != 3) {
            continue;
        }
        std::size_t portal_end = path.rfind('/');
        std::string target = scene.db + "/" + path.substr(0, portal_end);
        std::string end = "," + path.substr(portal_end + 1);
        auto is_its_link = [&](const Tree::value_type& other) {
            return other.second.kind == 'l' && other.second.content == target && other.first.ends_with(end);
        };
        CAPTURE(path);
        CHECK(std::ranges::count_if(tree, is_its_link) == 1);
    }
}

/// Behind a command that writes.
Tree settled_tree(const Scene& scene) {
    CHECK_FALSE(fs::exists(scene.store.paths().lock_dir() + "/lock.write"));
    Tree tree = take_tree(scene.db);
    CHECK(std::ranges::none_of(tree, [](const auto& entry) { return is_hidden(entry.first); }));
    return essence(std::move(tree));
}

/// Another command that writes comes by.
Tree settle(const Scene& scene) {
    auto done = scene.store.update_node(bystander(), [](Record&) { return base::Result<void>(); });
    REQUIRE(done);
    return settled_tree(scene);
}

void check_settled(const Scene& scene, const Tree& settled) {
    Tree before = essence(scene.before);
    Tree after = essence(scene.after);
    if (scene.operation.one_record) {
        CAPTURE(difference(before, settled), difference(after, settled));
        CHECK((settled == before || settled == after));
        return;
    }
    check_files(scene, settled);
    check_consistent(scene, settled);
}

/// Runs the operation with a kill or a failure at its `cut.at`th change; false when there is no such call any
/// more.
bool check_cut(const Scene& scene, Cut cut) {
    Traced traced = scene.cut_at(cut);
    if (traced.calls.size() < cut.at) {
        CHECK(traced.exit_code == 0);
        CHECK(take_tree(scene.db) == scene.after);
        return false;
    }
    CAPTURE(cut.at, describe(traced.calls.at(cut.at - 1)));
    check_readers(scene);
    check_files(scene, take_tree(scene.db));
    Tree settled = settle(scene);
    check_settled(scene, settled);
    if (traced.exit_code == 0) {
        CHECK(difference(essence(scene.after), settled).empty()); // it said that all is well
    }
    // Who types the command again gets what it says. What was deleted before the cut cannot be deleted twice.
    auto again = scene.operation.run(scene.store);
    CHECK(
        (again || again.error().code == base::Errc::not_found || again.error().code == base::Errc::database));
    CHECK(difference(essence(scene.after), essence(take_tree(scene.db))).empty());
    return true;
}

bool only_adds(const Scene& scene) {
    return std::ranges::all_of(scene.before, [&](const Tree::value_type& entry) {
        auto found = scene.after.find(entry.first);
        return found != scene.after.end() && found->second == entry.second;
    });
}

/// The disk is full from the `at`th change on: a record can be removed all the same, and when there is space
/// again all goes on. False when there is no such call any more.
bool check_full_disk(const Scene& scene, std::size_t at) {
    Traced traced = scene.cut_at({at, Cut::How::no_space, scene.db});
    if (traced.calls.size() < at) {
        CHECK(traced.exit_code == 0);
        return false;
    }
    CAPTURE(at, describe(traced.calls.at(at - 1)));
    check_readers(scene);
    check_files(scene, take_tree(scene.db));
    if (traced.exit_code != 0 && only_adds(scene)) {
        CHECK(difference(essence(scene.before), essence(take_tree(scene.db))).empty()); // that needs no space
    }
    auto removal = [&] { return scene.store.remove_node(bystander()) ? 0 : 1; };
    CHECK(run_traced(removal, {1, Cut::How::no_space, scene.db}).exit_code == 0);
    records::Warnings warnings;
    auto removed = scene.store.node(bystander(), warnings);
    CHECK((!removed && removed.error().code == base::Errc::not_found));
    auto record = std::ranges::find(scene.nodes_before, bystander(), records::node_id);
    REQUIRE(record != scene.nodes_before.end());
    CHECK(scene.store.write_node(*record));
    Tree settled = settled_tree(scene);
    check_settled(scene, settled);
    if (traced.exit_code == 0) {
        CHECK(difference(essence(scene.after), settled).empty());
    }
    auto again = scene.operation.run(scene.store);
    CHECK(
        (again || again.error().code == base::Errc::not_found || again.error().code == base::Errc::database));
    CHECK(difference(essence(scene.after), essence(take_tree(scene.db))).empty());
    return true;
}

/// The disk after a power failure, whatever it was that got lost.
void check_failed_disk(const Scene& scene, const Tree& left) {
    put_tree(scene.db, left);
    put_tree(scene.store.paths().lock_dir(), scene.locks);
    check_readers(scene);
    check_files(scene, left);
    check_settled(scene, settle(scene));
}

/// Of the changes that were not synced all, none, each by itself, all but one, and some at random are there.
/// Gives how many different disks that were.
std::size_t check_power_failures(const Scene& scene) {
    constexpr unsigned draws = sanitized ? 1 : 6;
    std::set<std::string> seen;
    std::mt19937 random(1); // the same each time
    Disk disk(scene.db, scene.before);
    std::string trace;
    auto check = [&](const std::function<bool(std::size_t)>& survives) {
        const Tree left = disk.after_failure(survives);
        const std::string what = difference(scene.before, left);
        if (seen.insert(what).second) {
            CAPTURE(trace, what);
            check_failed_disk(scene, left);
        }
    };
    const Traced traced = scene.cut_at({});
    CHECK(traced.exit_code == 0);
    for (const FileCall& call : traced.calls) {
        trace += describe(call) + "\n";
        disk.see(call);
        check([](std::size_t) { return true; });
        check([](std::size_t) { return false; });
        for (std::size_t one = 0; one < disk.unsynced(); ++one) {
            check([one](std::size_t number) { return number == one; });
            check([one](std::size_t number) { return number != one; });
        }
        for (unsigned draw = 0; draw < draws; ++draw) {
            check([&](std::size_t) { return random() % 2 == 0; });
        }
    }
    // It said that all is well.
    put_tree(scene.db, disk.after_failure([](std::size_t) { return false; }));
    CAPTURE(trace);
    CHECK(difference(essence(scene.after), settle(scene)).empty());
    return seen.size();
}

bool can_trace() {
    if (run_traced([] { return 0; }).forbidden) {
        WARN("nobody may trace here (ptrace): crashes are not tested");
        return false;
    }
    return true;
}

void check_cuts(Cut::How how) {
    if (!can_trace()) {
        return;
    }
    constexpr std::size_t step = sanitized ? 7 : 1; // a fork costs much there
    for (const Operation& operation : operations()) {
        Scene scene(operation);
        CAPTURE(operation.name);
        std::size_t call = 1;
        while (check_cut(scene, {call, how})) {
            call += step;
        }
        CHECK(call > 4); // it was traced indeed
    }
}

} // namespace

TEST_CASE(
    "a crash at any system call leaves the old records or the new ones, and the next writer clears up") {
    check_cuts(Cut::How::kill);
}

TEST_CASE("a system call that fails leaves the old records or the new ones, at the latest after the next "
          "writer") {
    check_cuts(Cut::How::fail);
}

TEST_CASE("a disk that fails from some system call on leaves what the next writer can settle") {
    check_cuts(Cut::How::fail_on);
}

TEST_CASE("a disk that is full from some system call on lets records be removed, and then written again") {
    if (!can_trace()) {
        return;
    }
    constexpr std::size_t step = sanitized ? 7 : 1;
    for (const Operation& operation : operations()) {
        Scene scene(operation);
        CAPTURE(operation.name);
        std::size_t at = 1;
        while (check_full_disk(scene, at)) {
            at += step;
        }
        CHECK(at > 4);
    }
}

TEST_CASE(
    "a power failure behind any system call leaves whole records, and what the next writer can settle") {
    if (!can_trace()) {
        return;
    }
    for (const Operation& operation : operations()) {
        Scene scene(operation);
        CAPTURE(operation.name);
        const std::size_t checked = check_power_failures(scene);
        CHECK(checked > 2); // a change of one file has three disks
    }
}

TEST_CASE("what a power failure does to files that were never synced is noticed") {
    Disk disk("/db", {});
    disk.see({Kind::create, "/db/.new-1"});
    disk.see({Kind::write, "/db/.new-1", "text"});
    disk.see({Kind::rename, "/db/.new-1", "/db/a"});
    auto all = [](std::size_t) { return true; };
    auto none = [](std::size_t) { return false; };
    CHECK(disk.after_failure(all) == Tree{{"a", {'f', 0600, {}}}});
    CHECK(disk.after_failure(none).empty());
    disk.see({Kind::create, "/db/.new-2"});
    disk.see({Kind::write, "/db/.new-2", "text"});
    disk.see({Kind::sync, "/db/.new-2"});
    disk.see({Kind::mkdir, "/db/b"});
    disk.see({Kind::rename, "/db/.new-2", "/db/b/c"});
    disk.see({Kind::sync, "/db/b"});
    CHECK_FALSE(disk.after_failure(none).contains("b/c")); // nobody finds it
    disk.see({Kind::sync, "/db"});
    CHECK(disk.after_failure(none).at("b/c") == TreeEntry{'f', 0600, "text"});
    CHECK(disk.unsynced() == 0);
}

// Batches where no file can be staged in the database's root, because nodes/ is of another file system.
#include "traced.hpp"
#include "tree.hpp"

#include "records/store.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace iscsi;
using namespace iscsi::test;

namespace {

namespace fs = std::filesystem;
using Kind = FileCall::Kind;

constexpr unsigned count = 8;

/// Several targets as a discovery finds them.
records::DiscoveryUpdate answer() {
    records::DiscoveryUpdate update;
    update.source = {"10.0.0.9", 3260, records::tpgt_unknown};
    update.ifaces = {*records::make_iface("default")};
    for (unsigned i = 0; i < count; ++i) {
        update.found.push_back(
            {fmt::format("iqn.2001-04.com.example:t{}", i), {"10.0.0.1", 3260, 1}, "default"});
    }
    return update;
}

bool same_file_system(const std::string& a, const std::string& b) {
    struct stat first {};
    struct stat second {};
    REQUIRE(::stat(a.c_str(), &first) == 0);
    REQUIRE(::stat(b.c_str(), &second) == 0);
    return first.st_dev == second.st_dev;
}

/// A directory of the file system that has the temporary files.
struct Elsewhere {
    Elsewhere() { fs::create_directory(path); }
    Elsewhere(const Elsewhere&) = delete;
    Elsewhere& operator=(const Elsewhere&) = delete;
    ~Elsewhere() { fs::remove_all(path); }

    std::string path = fs::temp_directory_path() / fmt::format("store-mount-{}", ::getpid());
};

std::size_t count_calls(const Traced& traced, Kind kind, const std::string& path) {
    return static_cast<std::size_t>(std::ranges::count_if(
        traced.calls, [&](const FileCall& call) { return call.kind == kind && call.path == path; }));
}

} // namespace

TEST_CASE("records that lie on another file system than the database's root are written in batches, too") {
    ScratchDirectory root;
    Elsewhere elsewhere;
    if (same_file_system(root.path(), elsewhere.path) || run_traced([] { return 0; }).forbidden) {
        WARN("no second file system, or nobody may trace here (ptrace): not tested");
        return;
    }
    records::Store store{records::Paths(root.path()), std::chrono::seconds(5)};
    const std::string db = store.paths().db_dir();
    fs::create_directories(db);
    fs::create_directory_symlink(elsewhere.path, db + "/nodes");
    auto discover = [&] { return store.apply_discovery(answer(), records::Config{}) ? 0 : 1; };
    const Traced traced = run_traced(discover);
    REQUIRE(traced.exit_code == 0);
    CHECK(count_calls(traced, Kind::mkdir, elsewhere.path + "/.new") == 1); // not one for each record
    records::Warnings warnings;
    auto nodes = store.nodes({}, warnings);
    REQUIRE(nodes);
    CHECK(nodes->size() == count);
    CHECK(warnings.empty());
    CHECK_FALSE(fs::exists(db + "/.changes"));
    CHECK_FALSE(fs::exists(elsewhere.path + "/.new"));
}

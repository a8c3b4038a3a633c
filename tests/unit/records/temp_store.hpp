// A root directory of its own for one test, removed with it, and the store in it.
#pragma once

#include "records/store.hpp"

#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <unistd.h>

namespace iscsi::records::test {

namespace fs = std::filesystem;

class TempRoot {
public:
    TempRoot() {
        std::string pattern = (fs::temp_directory_path() / "iscsi-records-XXXXXX").string();
        REQUIRE(::mkdtemp(pattern.data()) != nullptr);
        path_ = pattern;
    }
    TempRoot(const TempRoot&) = delete;
    TempRoot& operator=(const TempRoot&) = delete;
    ~TempRoot() {
        std::error_code ignored;
        for (const auto& entry : fs::recursive_directory_iterator(path_, ignored)) {
            if (entry.is_directory() && !entry.is_symlink()) {
                fs::permissions(entry.path(), fs::perms::owner_all, ignored);
            }
        }
        fs::remove_all(path_, ignored);
    }
    const std::string& path() const { return path_; }

private:
    std::string path_;
};

inline void write_file(const std::string& path, const std::string& content) {
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << content;
}

inline std::string read_back(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    REQUIRE(in);
    return {std::istreambuf_iterator<char>(in), {}};
}

/// A store whose lock is not waited for long.
struct TempStore {
    TempRoot root;
    Store store{Paths(root.path()), std::chrono::seconds(20)};

    std::string db(const std::string& below) const { return store.paths().db_dir() + "/" + below; }
};

inline Record new_node(const std::string& target, const Portal& portal,
                       const std::string& iface = "default") {
    auto node = make_node(Record(RecordKind::node), target, portal, *make_iface(iface), {});
    REQUIRE(node);
    return *node;
}

/// Everything below `root`, sorted by path: "d 700 path", "f 600 path", "l path target".
inline std::string tree(const std::string& root) {
    std::map<std::string, std::string> lines;
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
        std::string path = fs::relative(fs::path(entry.path()).parent_path(), root) / entry.path().filename();
        path = path.starts_with("./") ? path.substr(2) : path;
        if (entry.is_symlink()) {
            lines[path] = "l " + path + " " + fs::read_symlink(entry.path()).string();
            continue;
        }
        char mode[8];
        std::snprintf(mode, sizeof mode, "%o", static_cast<unsigned>(entry.status().permissions()) & 07777U);
        lines[path] = (entry.is_directory() ? "d " : "f ") + std::string(mode) + " " + path;
    }
    std::string all;
    for (const auto& [path, line] : lines) {
        all += line + "\n";
    }
    return all;
}

/// "10.0.0.1:3260,1 iqn... default" of each record.
inline std::vector<std::string> listing(const Store& store, const NodeFilter& filter = {}) {
    Warnings warnings;
    auto nodes = store.nodes(filter, warnings);
    REQUIRE(nodes);
    std::vector<std::string> lines;
    for (const Record& node : *nodes) {
        NodeId id = node_id(node);
        lines.push_back(portal_text(id.portal) + " " + id.target + " " + id.iface);
    }
    return lines;
}

} // namespace iscsi::records::test

#include "tree.hpp"

#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <system_error>
#include <unistd.h>

namespace iscsi::test {
namespace {

namespace fs = std::filesystem;

std::string line(char sign, const std::string& path, const TreeEntry& entry) {
    return fmt::format("{} {} {:o} {} {}\n", sign, entry.kind, entry.mode, path,
                       entry.kind == 'l' ? entry.content : std::string());
}

} // namespace

ScratchDirectory::ScratchDirectory() {
    const char* memory = "/dev/shm";
    path_ = std::string(::access(memory, W_OK) == 0 ? memory : "/tmp") + "/t.XXXXXX";
    if (::mkdtemp(path_.data()) == nullptr) {
        throw std::runtime_error("cannot make " + path_);
    }
}

ScratchDirectory::~ScratchDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

Tree take_tree(const std::string& directory) {
    Tree tree;
    for (const auto& entry : fs::recursive_directory_iterator(directory)) {
        // Not fs::relative(), which would follow links.
        std::string path = entry.path().string().substr(directory.size() + 1);
        unsigned mode = static_cast<unsigned>(entry.symlink_status().permissions());
        if (entry.is_symlink()) {
            tree[path] = {'l', 0, fs::read_symlink(entry.path()).string()};
        } else if (entry.is_directory()) {
            tree[path] = {'d', mode, {}};
        } else {
            std::ifstream in(entry.path(), std::ios::binary);
            tree[path] = {'f', mode, {std::istreambuf_iterator<char>(in), {}}};
        }
    }
    return tree;
}

void put_tree(const std::string& directory, const Tree& tree) {
    fs::remove_all(directory);
    fs::create_directories(directory);
    for (const auto& [below, entry] : tree) { // a directory sorts before what is in it
        fs::path path = fs::path(directory) / below;
        if (entry.kind == 'l') {
            fs::create_symlink(entry.content, path);
            continue;
        }
        if (entry.kind == 'd') {
            fs::create_directory(path);
        } else {
            std::ofstream(path, std::ios::binary) << entry.content;
        }
        fs::permissions(path, static_cast<fs::perms>(entry.mode));
    }
}

std::string difference(const Tree& a, const Tree& b) {
    std::string lines;
    for (const auto& [path, entry] : a) {
        auto other = b.find(path);
        if (other == b.end() || !(other->second == entry)) {
            lines += line('-', path, entry);
        }
    }
    for (const auto& [path, entry] : b) {
        auto other = a.find(path);
        if (other == a.end() || !(other->second == entry)) {
            lines += line('+', path, entry);
        }
    }
    return lines;
}

} // namespace iscsi::test

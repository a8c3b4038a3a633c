// Everything below a directory as a value: taken, compared, told apart, put back. And a directory in memory
// where the machine has one, because a thousand crashes wait for ten thousand fsync(). One thread.
#pragma once

#include <compare>
#include <map>
#include <string>

namespace iscsi::test {

struct TreeEntry {
    char kind;           ///< d, f or l
    unsigned mode;       ///< 0 for a link
    std::string content; ///< of a file; where a link points

    friend bool operator==(const TreeEntry&, const TreeEntry&) = default;
};

/// A directory for one test, gone with everything in it when the object goes.
class ScratchDirectory {
public:
    ScratchDirectory();
    ScratchDirectory(const ScratchDirectory&) = delete;
    ScratchDirectory& operator=(const ScratchDirectory&) = delete;
    ~ScratchDirectory();

    const std::string& path() const { return path_; }

private:
    std::string path_;
};

/// Path below the directory -> what is there.
using Tree = std::map<std::string, TreeEntry>;

Tree take_tree(const std::string& directory);
/// Makes `directory` exactly that.
void put_tree(const std::string& directory, const Tree& tree);
/// One line for every path that differs; empty when they are equal.
std::string difference(const Tree& a, const Tree& b);

} // namespace iscsi::test

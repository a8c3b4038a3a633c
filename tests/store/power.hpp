// What a disk may have when the power fails: of a directory tree with the calls that change it, everything
// that was synced and any choice of the rest. As POSIX has it, and more than a journal would lose: a name
// counts when its directory was synced, content when its file was, and of two changes that were not the later
// one may be there alone. Values; one thread.
#pragma once

#include "traced.hpp"
#include "tree.hpp"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace iscsi::test {

class Disk {
public:
    /// `tree`, all of it synced, is what lies below `root`. Calls elsewhere are passed over.
    Disk(std::string root, Tree tree) : root_(std::move(root)), tree_(std::move(tree)) {}

    void see(const FileCall& call);

    /// How many changes may get lost.
    std::size_t unsynced() const;
    /// The tree after a power failure now; `survives` is asked of each unsynced change by its number.
    Tree after_failure(const std::function<bool(std::size_t)>& survives) const;

private:
    /// A name that comes, goes (empty entry), or both.
    struct Change {
        std::string gone;
        std::string made;
        TreeEntry entry;
        bool synced = false;
    };
    struct Content {
        TreeEntry entry;
        bool synced = false;
    };

    std::string below(const std::string& path) const;
    void rename(const std::string& from, const std::string& to);
    void sync(const std::string& path);

    std::string root_;
    Tree tree_;
    std::vector<Change> changes_;
    std::map<std::string, Content> staged_; ///< new files and links, by the name that they have now
};

} // namespace iscsi::test

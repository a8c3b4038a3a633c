#include "power.hpp"

#include <algorithm>

namespace iscsi::test {
namespace {

using Kind = FileCall::Kind;

std::string directory_of(const std::string& path) {
    std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

void erase(Tree& tree, const std::string& path) {
    std::erase_if(
        tree, [&](const auto& entry) { return entry.first == path || entry.first.starts_with(path + "/"); });
}

} // namespace

/// Empty for the root itself.
std::string Disk::below(const std::string& path) const {
    return path == root_ ? std::string() : path.substr(root_.size() + 1);
}

void Disk::see(const FileCall& call) {
    if (call.failed || (call.path != root_ && !call.path.starts_with(root_ + "/"))) {
        return;
    }
    std::string path = below(call.path);
    switch (call.kind) {
    case Kind::create:
        staged_[path] = {{'f', 0600, {}}};
        changes_.push_back({{}, path, {'f', 0600, {}}});
        break;
    case Kind::write:
        staged_.at(path).entry.content += call.to;
        staged_.at(path).synced = false;
        break;
    case Kind::symlink:
        staged_[path] = {{'l', 0, call.to}, true};
        changes_.push_back({{}, path, staged_[path].entry});
        break;
    case Kind::mkdir:
        changes_.push_back({{}, path, {'d', 0700, {}}});
        break;
    case Kind::unlink:
        changes_.push_back({path, {}, {}});
        staged_.erase(path);
        break;
    case Kind::rename:
        rename(path, below(call.to));
        break;
    case Kind::sync:
        sync(path);
        break;
    case Kind::link:
    case Kind::flock:
        break;
    }
}

/// A file that was not synced has its name then, and nothing in it.
void Disk::rename(const std::string& from, const std::string& to) {
    Content moved = staged_.at(from);
    staged_.erase(from);
    if (!moved.synced) {
        moved.entry.content.clear();
    }
    changes_.push_back({from, to, moved.entry});
}

void Disk::sync(const std::string& path) {
    auto file = staged_.find(path);
    if (file != staged_.end()) {
        file->second.synced = true;
        return;
    }
    for (Change& change : changes_) {
        const std::string& name = change.made.empty() ? change.gone : change.made;
        change.synced = change.synced || directory_of(name) == path;
    }
}

std::size_t Disk::unsynced() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(changes_, [](const Change& change) { return !change.synced; }));
}

Tree Disk::after_failure(const std::function<bool(std::size_t)>& survives) const {
    Tree tree = tree_;
    std::size_t number = 0;
    for (const Change& change : changes_) {
        if (!change.synced && !survives(number++)) {
            continue;
        }
        const std::string above = directory_of(change.made);
        const bool is_reachable = above.empty() || tree.contains(above);
        const bool is_there_already = change.entry.kind == 'd' && tree.contains(change.made);
        if (!change.gone.empty()) {
            erase(tree, change.gone);
        }
        if (!change.made.empty() && is_reachable && !is_there_already) {
            tree[change.made] = change.entry;
        }
    }
    return tree;
}

} // namespace iscsi::test

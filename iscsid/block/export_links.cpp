#include "block/export_links.hpp"

#include <algorithm>

namespace iscsi::block {

const std::string& ExportLinks::add(const std::string& link, const std::string& socket,
                                    const std::string& unit) {
    std::vector<Export>& exports = exports_[link];
    exports.push_back({socket, unit});
    return exports.front().socket;
}

std::string ExportLinks::remove(const std::string& link, const std::string& socket) {
    auto found = exports_.find(link);
    if (found == exports_.end()) {
        return {};
    }
    std::vector<Export>& exports = found->second;
    const std::string unit = exports.front().unit;
    std::erase_if(exports, [&](const Export& one) { return one.socket == socket; });
    // Those of other units never get the link, or a client that comes back would find another disk.
    auto next =
        std::ranges::find_if(exports, [&](const Export& one) { return !unit.empty() && one.unit == unit; });
    if (next == exports.end()) {
        if (exports.empty()) {
            exports_.erase(found);
        }
        return {};
    }
    std::rotate(exports.begin(), next, next + 1);
    return exports.front().socket;
}

} // namespace iscsi::block

#include "block/export_links.hpp"

#include <algorithm>

namespace iscsi::block {

std::string ExportLinks::add(const std::string& link, const std::string& socket, const std::string& unit) {
    Sharing& sharing = sharings_[link];
    sharing.exports.push_back({socket, unit});
    if (sharing.leads_to.empty()) {
        sharing.leads_to = socket;
    }
    return sharing.leads_to;
}

std::string ExportLinks::remove(const std::string& link, const std::string& socket) {
    auto found = sharings_.find(link);
    if (found == sharings_.end()) {
        return {};
    }
    Sharing& sharing = found->second;
    std::string unit;
    std::erase_if(sharing.exports, [&](const Export& one) {
        const bool is_it = one.socket == socket;
        unit = is_it ? one.unit : unit;
        return is_it;
    });
    if (sharing.leads_to == socket) {
        // Another unit never gets it: a client that comes back would find another disk.
        auto next = std::ranges::find_if(
            sharing.exports, [&](const Export& one) { return !unit.empty() && one.unit == unit; });
        sharing.leads_to = next == sharing.exports.end() ? std::string() : next->socket;
    }
    std::string leads_to = sharing.leads_to;
    if (sharing.exports.empty()) {
        sharings_.erase(found);
    }
    return leads_to;
}

} // namespace iscsi::block

#include "block/export_links.hpp"

#include <algorithm>

namespace iscsi::block {

const std::string& ExportLinks::add(const std::string& link, const std::string& socket) {
    std::vector<std::string>& sockets = sockets_[link];
    sockets.push_back(socket);
    return sockets.front();
}

std::string ExportLinks::remove(const std::string& link, const std::string& socket) {
    auto found = sockets_.find(link);
    if (found == sockets_.end()) {
        return {};
    }
    std::erase(found->second, socket);
    if (found->second.empty()) {
        sockets_.erase(found);
        return {};
    }
    return found->second.front();
}

} // namespace iscsi::block

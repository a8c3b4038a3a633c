// Which exports have the same by-path name: those of one unit that several sessions with one portal show. The
// link leads to the one that was first, and when that goes to the next, as udev has it with devices.
// Control's thread.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

namespace iscsi::block {

class ExportLinks {
public:
    /// False: an export has it already.
    bool take_socket(const std::string& socket) { return taken_.insert(socket).second; }
    void release_socket(const std::string& socket) { taken_.erase(socket); }
    /// Enters an export that is there: the path of its socket under that of its link. Gives where the link is
    /// to lead.
    const std::string& add(const std::string& link, const std::string& socket);
    /// Gives where the link is to lead now; empty: nowhere. Idempotent.
    std::string remove(const std::string& link, const std::string& socket);

private:
    std::set<std::string> taken_;
    std::map<std::string, std::vector<std::string>> sockets_; ///< by link, in the order of their coming
};

} // namespace iscsi::block

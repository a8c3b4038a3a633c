// Which exports have the same by-path name: those that several sessions with one portal show. The link leads
// to the one that was first, and when that goes to the next of the same unit, as udev has it with devices: to
// another unit (a target may show each initiator name others) nobody is led who asked for the first.
// Control's thread.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace iscsi::block {

class ExportLinks {
public:
    /// Enters an export that is there: the path of its socket under that of its link. `unit` is its identity,
    /// empty when it has none. Gives where the link is to lead.
    std::string add(const std::string& link, const std::string& socket, const std::string& unit);
    /// Gives where the link is to lead now; empty: nowhere. Idempotent.
    std::string remove(const std::string& link, const std::string& socket);

private:
    struct Export {
        std::string socket;
        std::string unit;
    };
    struct Sharing {
        std::vector<Export> exports; ///< in the order of their coming
        std::string leads_to;        ///< a socket of theirs; empty: there is no link
    };
    std::map<std::string, Sharing> sharings_; ///< by link
};

} // namespace iscsi::block

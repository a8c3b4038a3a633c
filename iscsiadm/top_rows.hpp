// What `iscsiadm top` knows of two lists of sessions that were taken one after the other: what was asked of
// each unit between them, of all of them, and how long it took. Pure; any thread.
#pragma once

#include "ipc/json.hpp"
#include "ipc/snapshot.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace iscsi::adm {

/// What was asked between two looks, of a unit or of all.
struct TopLoad {
    double reads_per_s = 0;
    double writes_per_s = 0;
    double others_per_s = 0; ///< flush, discard, write zeroes
    double read_bytes_per_s = 0;
    double write_bytes_per_s = 0;
    std::uint64_t in_hand = 0;  ///< requests at the second look
    std::uint64_t failures = 0; ///< between the two
    /// Half of the requests took no longer, 99 %, 99.9 %; 0 where none has ended.
    std::uint64_t p50_us = 0;
    std::uint64_t p99_us = 0;
    std::uint64_t p999_us = 0;

    double per_s() const { return reads_per_s + writes_per_s + others_per_s; }
};

/// A unit between two looks. Its texts are as the daemon gave them, but for those that say otherwise.
struct TopRow : TopLoad {
    std::uint32_t sid = 0;
    std::uint64_t lun = 0;
    std::string target;
    std::string device;       ///< its path
    std::string state;        ///< the session's unless it is logged in, else the unit's
    std::string shown_device; ///< as a table has it, safe to print
    std::string shown_state;  ///< likewise
    bool is_up = false;       ///< its requests are served
};

struct Top {
    double seconds = 0;         ///< that lie between the two looks
    std::size_t sessions = 0;   ///< at the second one
    std::size_t recovering = 0; ///< of them
    std::vector<TopRow> rows;   ///< as the sessions and their units were listed
    TopLoad total;              ///< latencies are those of all requests
};

/// Of a unit that is new, or whose daemon was started anew, everything has happened since the first look.
/// `seconds` is above 0.
Top top_between(const std::vector<ipc::SessionSnapshot>& before,
                const std::vector<ipc::SessionSnapshot>& after, double seconds);

/// The members of a line of -j that say what was asked (see iscsiadm(8)).
ipc::Json top_json(const Top& top);

} // namespace iscsi::adm

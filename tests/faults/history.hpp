// What each sector of a device may hold, given what was written, answered, read and flushed so far. This is
// the judge of the write oracle: it knows no device and no clock. One owner, one thread.
//
// Of each sector it keeps versions, oldest first: what was acknowledged, and what was sent but never well
// answered ("in doubt": it may be there or not). Only some of them may be read: the last one that was
// acknowledged or read, and those in doubt behind it; all of them once the target lost its cache. A version
// is forgotten when a later one was flushed, or when an earlier one was read although this one came later:
// then it never was executed, and must not be any more. So these come to light:
//   - an acknowledged write that is not there;
//   - a write that took effect after a later one did, or after it was seen not to have (a ghost write);
//   - a flushed write that did not outlive the loss of the target's cache, and a flush that was answered well
//     although an acknowledged write before it did not;
//   - a sector that nobody wrote like that, or for another place, or for another device.
// Writes of one sector are never in progress at the same time, nor a read beside a write; the load sees to
// it.
#pragma once

#include "faults/stamp.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

namespace iscsi::faults {

/// What a write leaves in a sector: its own stamp, or zeros.
struct Version {
    std::uint64_t sequence = 0;
    bool zeros = false;
};

class History {
public:
    /// All sectors hold zeros, for good.
    explicit History(std::uint64_t sectors);

    std::uint64_t sectors() const { return versions_.size(); }

    /// A moment in the order of events; later moments are greater.
    std::uint64_t now() { return ++clock_; }

    /// A write was answered well. `durable`: it was to go through the target's cache (FUA).
    void acknowledged(std::uint64_t sector, Version version, bool durable);

    /// A write was answered with an error or not at all, or it was one that need not have an effect (a trim).
    void doubtful(std::uint64_t sector, Version version);

    /// A flush that was sent at the moment `sent` was answered well. Gives what is wrong with that, if
    /// anything.
    std::optional<std::string> flushed(std::uint64_t sent);

    /// A flush was answered with an error: whoever wrote knows that it may be gone, and must not count on a
    /// later flush for it.
    void flush_failed();

    /// The target lost its volatile cache: what was not flushed may be gone.
    void cache_lost();

    /// A sector was read. Gives what is wrong with that, if anything.
    std::optional<std::string> read(std::uint64_t sector, const Reading& reading);

    /// Sectors of which more than one version can be read now.
    std::uint64_t in_doubt() const;

private:
    struct Kept {
        Version version;
        std::uint64_t settled = 0; ///< the moment from which it was known to be there; 0: in doubt
        bool possible = true;      ///< may be read now
        bool seen = false;         ///< it was read
    };
    using Versions = std::vector<Kept>;

    static bool fits(const Version& version, const Reading& reading);
    static std::uint64_t possible(const Versions& versions);
    std::string complaint(std::uint64_t sector, const Reading& reading) const;

    std::vector<Versions> versions_;
    std::unordered_set<std::uint64_t> several_; ///< sectors with more than one version
    std::uint64_t clock_ = 0;
    /// When the first write was acknowledged of which a read has shown that it died with the cache, and which
    /// no flush has owned up to; 0: there is none.
    std::uint64_t lost_ = 0;
};

} // namespace iscsi::faults

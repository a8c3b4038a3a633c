// What a unit has acknowledged and may hold in its volatile cache only: counted up as writes end, down to
// nothing by flushes. A flush covers what had ended when it was sent (SBC-3 section 4.15). Counts only, so
// that an I/O costs two additions; the thread of who owns it.
#pragma once

#include <algorithm>
#include <cstdint>

namespace iscsi::shard {

class VolatileWrites {
public:
    /// Of writes that ended well, since the begin.
    struct Amount {
        std::uint64_t writes = 0;
        std::uint64_t bytes = 0;
        friend bool operator==(const Amount&, const Amount&) = default;
    };

    void on_acknowledged(std::uint64_t bytes) {
        ++acknowledged_.writes;
        acknowledged_.bytes += bytes;
    }
    /// What a flush covers that is sent now.
    Amount acknowledged() const { return acknowledged_; }
    /// A flush ended well that was sent when acknowledged() was `covered`.
    void on_flushed(Amount covered) {
        flushed_ = {std::max(flushed_.writes, covered.writes), std::max(flushed_.bytes, covered.bytes)};
        // Without a count: it was there from the begin.
        unknown_ = false;
    }
    /// Others have written before the begin; nobody knows how much.
    void assume() { unknown_ = true; }

    bool any() const { return unknown_ || acknowledged_ != flushed_; }
    /// The cache is gone, with all that it held: that much, nothing where only assume() knows of it.
    Amount lose() {
        const Amount lost{acknowledged_.writes - flushed_.writes, acknowledged_.bytes - flushed_.bytes};
        flushed_ = acknowledged_;
        unknown_ = false;
        return lost;
    }

private:
    Amount acknowledged_;
    Amount flushed_; ///< never more
    bool unknown_ = false;
};

} // namespace iscsi::shard

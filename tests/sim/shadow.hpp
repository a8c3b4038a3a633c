// The shadow disk: what each block may hold, from what the users of the block device were told and nothing
// else. Every request that changes blocks is a version; while it runs a block may hold the version or what
// was there before, when it has ended well it holds that version or one that ran beside it, when it has
// failed it may hold either. Beside what a block may hold now stands what it may hold once a volatile cache
// is lost: only a flush that began after the version's end, or FUA, settles that. Values only; one thread.
#pragma once

#include "sim/content.hpp"
#include "sim/stage.hpp"

#include <array>
#include <cstdint>

namespace iscsi::sim {

inline constexpr std::uint32_t blocks_max = 128;
inline constexpr unsigned versions_max = 64;

/// A set of versions.
using Versions = std::uint64_t;
constexpr Versions only(unsigned version) {
    return Versions{1} << version;
}

struct Range {
    std::uint32_t first = 0;
    std::uint32_t count = 0;
    std::uint32_t end() const { return first + count; }
};

class Shadow {
public:
    Shadow(Stage& stage, std::uint32_t blocks) : stage_(stage), blocks_(blocks) {
        now_.fill(1), stable_.fill(1);
    }

    /// What a read in progress may find: one per read, kept up to date between its two ends.
    struct Reading {
        Range range;
        bool active = false;
        std::array<Versions, blocks_max> allowed;
    };

    enum class Kind : std::uint8_t { write, zero, discard };

    /// A request begins. The number of its version; content_of_version is what it writes.
    unsigned begin(Kind kind, Range range);
    static constexpr Content content_of_version(unsigned version) {
        return static_cast<Content>(version + 1);
    }
    /// It ended well; `durable`: on the medium (FUA, or there is no cache).
    void end_well(unsigned version, bool durable);
    void end_badly(unsigned version);

    struct Flushing {
        Versions certain = 0;
    };
    Flushing begin_flush() const { return {certain_}; }
    void end_flush(Flushing flushing);

    void begin_read(Reading& reading, Range range);
    /// `bytes` is what the read brought; breaks the schedule when it may not be.
    void end_read(Reading& reading, base::Bytes bytes);

    /// The cache of the target is gone.
    void on_cache_lost();

    /// The target wrote `content` to `block`: somebody must be writing it.
    void on_landing(std::uint32_t block, Content content);
    bool may_hold(std::uint32_t block, Content content) const { return holds(now_[block], content); }
    bool may_be_stable(std::uint32_t block, Content content) const { return holds(stable_[block], content); }
    std::uint32_t blocks() const { return blocks_; }
    unsigned versions() const { return count_; }

private:
    bool holds(Versions versions, Content content) const {
        return content == zeroes ? (versions & zeroing_) != 0
                                 : (versions & only(content - 1U) & ~zeroing_) != 0;
    }
    void settle(Range range, std::array<Versions, blocks_max>& of, Versions superseded);

    struct Version {
        Range range;
        Kind kind = Kind::write;
        Versions ended_before = 0; ///< those that had ended when it began
        bool tainted = false;      ///< a cache was lost while it ran: it may be half gone
    };

    Stage& stage_;
    std::uint32_t blocks_;
    unsigned count_ = 1; ///< version 0: what was there at first
    Versions zeroing_ = 0;
    Versions ended_ = 1;   ///< nothing of it happens any more
    Versions well_ = 1;    ///< and it was told as done
    Versions certain_ = 0; ///< and was not lost with a cache since
    std::array<Versions, blocks_max> now_;
    std::array<Versions, blocks_max> stable_;
    std::array<Version, versions_max> versions_;
    std::array<Reading*, 64> readings_{};
    unsigned reading_count_ = 0;
};

} // namespace iscsi::sim

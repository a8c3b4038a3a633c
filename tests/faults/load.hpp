// The load of the write oracle: reads, writes, overwrites, flushes, writes through the cache, zeroes and
// trims at random places, many at a time, each answer told to the History and each sector that was read
// judged by it. Half of all requests go to a small hot part, so that what a fault left in doubt is soon read
// and overwritten. Requests in progress never overlap unless all of them read. Owns nothing outside itself;
// the source is the caller's. One thread.
#pragma once

#include "faults/history.hpp"
#include "faults/source.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace iscsi::faults {

struct LoadOptions {
    std::size_t sector_bytes = 512;
    std::uint64_t sectors = 0; ///< from the beginning of the source
    std::size_t depth = 16;
    std::uint64_t request_sectors_max = 128;
    std::uint64_t seed = 1;
    std::uint64_t device = 1; ///< its name in every stamp
    // Shares of the load, in thousandths; what is left reads.
    unsigned writes = 550, flushes = 10, zeroes = 10, trims = 0;
    unsigned writes_through = 20; ///< of the writes and zeroes
};

struct Counts {
    std::uint64_t reads = 0, writes = 0, flushes = 0, zeroes = 0, trims = 0; ///< answered well
    std::uint64_t sectors_judged = 0, violations = 0;
    std::uint64_t errors = 0, flush_errors = 0, lost = 0;
    int last_error = 0; ///< an errno
};

class Load {
public:
    using Clock = std::chrono::steady_clock;
    enum class Job { nothing, fill, mixed, verify };

    /// `complain` hears of each violation, up to a limit.
    Load(Source& source, const LoadOptions& options, std::function<void(const std::string&)> complain);

    /// nothing: what is in progress ends, no more begins. fill writes everything once, verify reads
    /// everything once.
    void start(Job job);
    Job job() const { return job_; }
    /// Nothing is in progress, and nothing is left of a fill or a verify.
    bool idle() const {
        return in_progress_ == 0 && (job_ == Job::nothing || job_ == Job::mixed || is_through());
    }

    /// The next request will be a flush, whatever the shares say.
    void flush_next() { flush_next_ = true; }

    /// Sends what the source has room for.
    void submit();
    void take(const Answer& answer);

    /// Writes that are sent from now on say so; the caller has done something to the target.
    void next_epoch() { ++epoch_; }
    void cache_lost() { history_.cache_lost(); }
    /// Judges every sector from a copy of the device's content; nothing may be in progress.
    void judge(const std::function<bool(std::uint64_t offset, base::MutableBytes data)>& read_at);

    const Counts& counts() const { return counts_; }
    const History& history() const { return history_; }
    std::uint32_t epoch() const { return epoch_; }
    std::size_t in_progress() const { return in_progress_; }
    /// How long the oldest request in progress has been waiting; 0 when there is none.
    std::chrono::milliseconds oldest(Clock::time_point now) const;
    /// How long the slowest of all requests that have ended waited for it, since forget_slowest().
    std::chrono::milliseconds slowest() const { return slowest_; }
    void forget_slowest() { slowest_ = std::chrono::milliseconds{0}; }
    /// The longest time without an answer while there were requests, since forget_gap(); it may be going on.
    std::chrono::milliseconds longest_gap(Clock::time_point now) const;
    void forget_gap();

private:
    struct Slot {
        Request request;
        std::uint64_t first = 0, count = 0; ///< sectors
        std::uint64_t sent = 0;             ///< the history's moment
        std::uint64_t sequence = 0;
        Clock::time_point since;
        bool busy = false;
    };
    struct Free {
        void operator()(std::byte* memory) const;
    };

    bool is_through() const { return cursor_ >= options_.sectors && again_.empty(); }
    bool prepare(Slot& slot);
    bool prepare_mixed(Slot& slot);
    bool prepare_sweep(Slot& slot);
    Verb draw_verb();
    bool claim(const Slot& slot);
    void release(const Slot& slot);
    void stamp(Slot& slot);
    void settle(const Slot& slot, const Answer& answer);
    void count(Verb verb);
    void judge_read(std::uint64_t first, base::Bytes data);
    void violation(const std::string& what);
    std::uint64_t draw(std::uint64_t below);

    Source& source_;
    LoadOptions options_;
    std::function<void(const std::string&)> complain_;
    History history_;
    Counts counts_;
    std::mt19937_64 chance_;
    std::unique_ptr<std::byte[], Free> memory_;
    std::vector<Slot> slots_;
    std::vector<std::int32_t> users_; ///< by sector: readers, or -1 for a writer
    std::vector<std::pair<std::uint64_t, std::uint64_t>>
        again_; ///< of a fill or verify: (first, count) to repeat
    Job job_ = Job::nothing;
    bool flush_next_ = false;
    std::uint64_t cursor_ = 0;
    std::uint64_t sequence_ = 0;
    std::uint32_t epoch_ = 0;
    std::size_t in_progress_ = 0;
    Clock::time_point last_answer_ = Clock::now();
    Clock::time_point rests_until_; ///< an error that comes at once is not asked for a million times
    std::chrono::milliseconds gap_{0};
    std::chrono::milliseconds slowest_{0};
};

} // namespace iscsi::faults

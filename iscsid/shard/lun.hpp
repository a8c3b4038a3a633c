// One logical unit served as a block device: turns block requests into SCSI commands, and what became of them
// into an errno. The only place that knows both. Every request has a slot with its command; slots are taken
// when the Lun is made, so an I/O allocates nothing. While the path is down requests are parked; when it is
// up again they go on from the start of the piece that was lost, or as a whole where the block queue holds
// them meanwhile. When another unit may answer in its place (identity_doubt) nothing is sent until control
// has compared it: update() or bar(). Thread of the shard.
#pragma once

#include "base/fifo.hpp"
#include "block/block.hpp"
#include "ring/loop.hpp"
#include "scsi/cdb.hpp"
#include "scsi/disposition.hpp"
#include "scsi/lun_facts.hpp"
#include "scsi/queue_depth.hpp"
#include "scsi/retry.hpp"
#include "shard/lun_news.hpp"
#include "shard/lun_statistics.hpp"
#include "shard/nexus.hpp"
#include "shard/path.hpp"
#include "shard/unit_cache.hpp"
#include "shard/views.hpp"

#include <memory>

namespace iscsi::shard {

/// What the block device is told about a logical unit (DESIGN: attributes come from the LUN). Pure.
block::Attributes block_attributes(const scsi::LunFacts& facts);

/// Counted since the Lun was made.
struct LunCounters {
    std::uint64_t requests = 0;
    std::uint64_t retries = 0;      ///< commands sent again after status or sense
    std::uint64_t replays = 0;      ///< commands that were lost with the session, and are sent again
    std::uint64_t failures = 0;     ///< requests that ended with an errno
    std::uint64_t cache_losses = 0; ///< times that a flush had to tell of acknowledged writes that are gone
    VolatileWrites::Amount lost;    ///< those that were counted, in all
};

class Lun final : public block::RequestHandler, private PathUser {
public:
    /// `depth`: commands at a time (node.session.queue_depth, 1..1024).
    Lun(ring::Loop& loop, Nexus& nexus, const scsi::LunFacts& facts, std::uint32_t depth);
    ~Lun() override;

    /// It serves queue number `queue` of a device whose other queues have Luns of their own, on other shards;
    /// all of them share `cache`, which was made for so many. Before the first start(); otherwise it is
    /// alone.
    void share_cache(std::shared_ptr<UnitCache> cache, unsigned queue);
    /// Where requests come from and their ends go to. Once, before the first start().
    void attach(block::BlockQueue& queue) { queue_ = &queue; }

    void start(block::Request& request) override;
    /// While there are no data digests.
    bool takes_buffers() const override { return !nexus_.has_data_digest(); }

    /// What the unit says of itself now, with the block size it had: it is the same unit. Requests in hand go
    /// on, but nothing is sent beyond a new end. Takes back bar(), ends a doubt.
    /// `looked_at`: nothing of `facts` is older (ring::monotonic_now); a doubt that is newer stays.
    void update(const scsi::LunFacts& facts, base::TimePoint looked_at);
    /// What the users of the block device were told when it was made, until now what `facts` said then.
    /// Without a volatile cache nobody sends a flush or asks for FUA: should the unit have a cache now, every
    /// write and write_zeroes is on the medium before it ends.
    void set_shown_cache(bool volatile_cache) { shown_cache_ = volatile_cache; }
    /// Another unit answers in its place, or none: nothing more is sent to it, requests fail with ENODEV.
    void bar();
    /// Nothing is sent to it until it was compared by a look that begins later, as after a unit attention
    /// that leaves its identity in doubt. Any number of times.
    void doubt();
    /// It was not compared since its identity was in doubt. Ends by itself, as by bar(), when the path was up
    /// for set_doubt_max() and nobody has; the observer of the nexus is told (Effect::not_compared).
    bool in_doubt() const { return doubted_; }
    /// Before the first start(); limits::scsi_doubt_max otherwise.
    void set_doubt_max(base::Duration longest) { doubt_max_ = longest; }

    /// Writes were acknowledged, through any queue, that no flush has covered: they may be in a volatile
    /// cache only.
    bool has_unflushed() const { return cache_->unflushed.any(); }
    /// A daemon before this one may have left such.
    void assume_unflushed() { cache_->unflushed.assume(); }
    /// The unit has lost its cache, and what has_unflushed() with it. Every flush in hand, of any queue,
    /// fails with EREMOTEIO, or when there is none the next one, through whichever queue; then the matter is
    /// closed. The observer of the nexus is told (Effect::writes_lost). While the path is up the Lun hears of
    /// it by itself, and takes what each nexus is told for a loss of its own: what was acknowledged by others
    /// since may be gone. Whoever has opened a new session decides, before resume(), what an attention in it
    /// means.
    void lose_cache();
    /// Other queues have heard of a loss since the unit has last answered this one: what this one is told now
    /// may be the same.
    bool has_news_of_loss() const;
    /// This queue has acknowledged writes since the last loss, or nobody knows: another one would have taken
    /// them.
    bool has_written_since_loss() const;

    /// Commands at a time that the target has shown to take.
    std::uint32_t allowed_depth() const { return at_a_time_.allowed(); }

    /// Requests are counted in `statistics` from now on, which the caller keeps as long as the Lun lives.
    void count_in(LunStatistics& statistics) { statistics_ = &statistics; }

    /// No request in hand.
    bool idle() const { return busy_ == 0 && waiting_.empty(); }
    const LunCounters& counters() const { return counters_; }
    LunView view() const;

private:
    enum class Phase : std::uint8_t {
        transfer, ///< the request's own commands
        flush,    ///< SYNCHRONIZE CACHE behind a write that asked for FUA
    };

    struct Slot : PathCommand {
        block::Request* request = nullptr;
        Slot* next_slot = nullptr;
        Phase phase = Phase::transfer;
        scsi::Retry tries;     ///< of the command under way
        std::uint32_t age = 0; ///< of at_a_time_ when it was sent
        bool parked = false;
        bool delayed = false;
        bool write_same = false;       ///< zeroes are written with WRITE SAME
        bool unforced = false;         ///< something was sent to be written without the FUA bit
        bool stale = false;            ///< and the cache that took it may be lost: all of it again
        bool hopeless = false;         ///< a flush of what is gone
        std::uint8_t starts = 0;       ///< anew for that reason, in this session
        std::uint8_t blames = 0;       ///< sessions that ended because of it
        std::uint64_t done_bytes = 0;  ///< of the request
        std::uint64_t piece_bytes = 0; ///< of the command under way
        base::TimePoint again_at;      ///< delayed until
        VolatileWrites::Amount covers; ///< by the flush under way
        std::array<std::byte, scsi::unmap_parameter_bytes(1)> parameters;
    };

    static void on_command_done(void* self, PathCommand& command);
    void on_path_state(PathState state) override;
    void on_path_down();
    void on_lun_effects(base::Lun lun, scsi::Effects effects) override;
    void on_reset_by_us(std::optional<base::Lun> lun) override;
    void on_news_missed() override;
    void on_delay_over();

    int refusal(const block::Request& request) const;
    bool inside(const block::Request& request) const;
    void begin(block::Request& request);
    void begin_command(Slot& slot);
    bool must_be_durable(const block::Request& request) const;
    void proceed(Slot& slot);
    void send(Slot& slot);
    bool has_room() const { return at_target_ < at_a_time_.allowed(); }
    bool prepare(Slot& slot);
    void prepare_transfer(Slot& slot, bool write);
    bool prepare_discard(Slot& slot);
    void prepare_zeroes(Slot& slot);
    void set_command(Slot& slot, const scsi::Cdb& cdb);
    scsi::BlockRange next_piece(const Slot& slot, std::uint64_t bytes_max) const;

    void on_outcome(Slot& slot);
    void on_lost(Slot& slot);
    void note(const Slot& slot, const scsi::Disposition& disposition);
    void take_care(scsi::Effects effects);
    void doubt_cache();
    void heed_losses();
    bool tells_of_lost_cache(scsi::Effects effects);
    bool stays_in_cache(const Slot& slot) const;
    bool acknowledge(const Slot& slot);
    int end_of_flush(const Slot& slot);
    bool tells_of_loss();
    bool others_know_a_cache() const;
    bool fail_flushes();
    void on_success(Slot& slot);
    bool data_complete(const Slot& slot) const;
    void retry(Slot& slot, const scsi::Disposition& disposition);
    void fall_back(Slot& slot, int error_number);
    void delay(Slot& slot, base::TimePoint until);
    void wake_at(base::TimePoint when);
    void begin_doubt();
    void limit_doubt();
    void end_doubt();
    void give_up_doubt();
    void resume_parked();
    void end_delays();
    void park(Slot& slot);
    bool give_back(Slot& slot);
    void begin_anew(Slot& slot);
    bool may_begin_anew(const Slot& slot) const;
    void give_up_slot(Slot& slot);
    void end(block::Request& request, int error_number);
    void finish(Slot& slot, int error_number);
    void start_waiting();

    ring::Loop& loop_;
    Nexus& nexus_;
    block::BlockQueue* queue_ = nullptr;
    std::unique_ptr<Slot[]> slots_;
    std::uint32_t depth_;
    Slot* free_ = nullptr;
    std::uint32_t busy_ = 0;
    std::uint32_t at_target_ = 0; ///< commands that the nexus has
    scsi::QueueDepth at_a_time_;
    base::Fifo<&Slot::next_slot> for_room_;     ///< begun, to be sent when fewer are at the target
    base::Fifo<&block::Request::next> waiting_; ///< not begun
    ring::Timer delay_timer_;
    bool starting_ = false;
    bool barred_ = false;
    bool doubted_ = false;
    base::TimePoint doubted_at_; ///< the last time
    base::TimePoint doubted_until_;
    base::Duration doubt_max_;
    bool shown_cache_;

    LunNews news_;
    scsi::LunFacts facts_;
    scsi::RetryTimes times_;
    std::uint64_t size_bytes_;
    std::uint32_t transfer_bytes_max_;
    scsi::DiscardMethod discard_;
    bool write_same_ = true; ///< until the target refuses it
    std::shared_ptr<UnitCache> cache_;
    unsigned queue_number_ = 0;
    std::uint32_t losses_seen_ = 0; ///< of UnitCache::losses
    std::uint32_t empty_losses_seen_ = 0;
    std::uint32_t losses_answered_ = 0; ///< when the unit answered the last time, or was heard to have lost
    std::uint32_t resets_seen_ = 0;     ///< of UnitCache::resets; of the others the unit has not told yet
    LunCounters counters_;
    LunStatistics* statistics_ = nullptr;
};

} // namespace iscsi::shard

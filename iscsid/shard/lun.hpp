// One logical unit served as a block device: turns block requests into SCSI commands, and what became of them
// into an errno. The only place that knows both. Every request has a slot with its command; slots are taken
// when the Lun is made, so an I/O allocates nothing. While the path is down requests stay parked; when it is
// up again they are sent anew from the start of the piece that was lost. Thread of the shard.
#pragma once

#include "block/block.hpp"
#include "ring/loop.hpp"
#include "scsi/cdb.hpp"
#include "scsi/disposition.hpp"
#include "scsi/lun_facts.hpp"
#include "shard/nexus.hpp"
#include "shard/path.hpp"

#include <memory>

namespace iscsi::shard {

/// What the block device is told about a logical unit (DESIGN: attributes come from the LUN). Pure.
block::Attributes block_attributes(const scsi::LunFacts& facts);

/// Counted since the Lun was made.
struct LunCounters {
    std::uint64_t requests = 0;
    std::uint64_t retries = 0;  ///< commands sent again after status or sense
    std::uint64_t replays = 0;  ///< commands sent again after the session was lost
    std::uint64_t failures = 0; ///< requests that ended with an errno
};

class Lun final : public block::RequestHandler, private PathUser {
public:
    /// `depth`: commands at a time (node.session.queue_depth, 1..1024).
    Lun(ring::Loop& loop, Nexus& nexus, const scsi::LunFacts& facts, std::uint32_t depth);
    ~Lun() override;

    /// Where requests come from and their ends go to. Once, before the first start().
    void attach(block::BlockQueue& queue) { queue_ = &queue; }

    void start(block::Request& request) override;

    /// What the unit says of itself now, with the block size it had. Requests in hand go on, but nothing is
    /// sent beyond a new end. Takes back bar().
    void update(const scsi::LunFacts& facts);
    /// What the users of the block device were told when it was made, until now what `facts` said then.
    /// Without a volatile cache nobody sends a flush or asks for FUA: should the unit have a cache now, every
    /// write and write_zeroes is on the medium before it ends.
    void set_shown_cache(bool volatile_cache) { shown_cache_ = volatile_cache; }
    /// Another unit answers in its place, or none: nothing more is sent to it, requests fail with ENODEV.
    void bar() { barred_ = true; }

    /// No request in hand.
    bool idle() const { return busy_ == 0 && waiting_.empty(); }
    const LunCounters& counters() const { return counters_; }

private:
    enum class Phase : std::uint8_t {
        transfer, ///< the request's own commands
        flush,    ///< SYNCHRONIZE CACHE behind a write that asked for FUA
    };

    struct Slot : PathCommand {
        block::Request* request = nullptr;
        Slot* next_slot = nullptr;
        Phase phase = Phase::transfer;
        std::uint8_t attentions = 0;
        std::uint8_t retries = 0;
        bool parked = false;
        bool delayed = false;
        bool write_same = false;       ///< zeroes are written with WRITE SAME
        bool unforced = false;         ///< something was sent to be written without the FUA bit
        std::uint64_t done_bytes = 0;  ///< of the request
        std::uint64_t piece_bytes = 0; ///< of the command under way
        base::TimePoint again_at;      ///< delayed until
        base::TimePoint give_up_at;    ///< no more delays after this
        std::array<std::byte, scsi::unmap_parameter_bytes(1)> parameters;
    };

    struct RequestQueue {
        block::Request* first = nullptr;
        block::Request* last = nullptr;
        bool empty() const { return first == nullptr; }
        void push(block::Request& request);
        block::Request& pop();
    };

    static void on_command_done(void* self, PathCommand& command);
    void on_path_state(PathState state) override;
    void on_delay_over();

    int refusal(const block::Request& request) const;
    bool inside(const block::Request& request) const;
    void begin(block::Request& request);
    void begin_command(Slot& slot);
    bool must_be_durable(const block::Request& request) const;
    void proceed(Slot& slot);
    bool prepare(Slot& slot);
    void prepare_transfer(Slot& slot, bool write);
    bool prepare_discard(Slot& slot);
    void prepare_zeroes(Slot& slot);
    void set_command(Slot& slot, const scsi::Cdb& cdb);
    scsi::BlockRange next_piece(const Slot& slot, std::uint64_t bytes_max) const;

    void on_outcome(Slot& slot);
    void on_success(Slot& slot);
    bool data_complete(const Slot& slot) const;
    void retry(Slot& slot, const scsi::Disposition& disposition);
    void fall_back(Slot& slot, int error_number);
    void delay(Slot& slot, base::Duration duration);
    bool park(Slot& slot);
    void give_up_slot(Slot& slot);
    void finish(Slot& slot, int error_number);
    void start_waiting();

    ring::Loop& loop_;
    Nexus& nexus_;
    block::BlockQueue* queue_ = nullptr;
    std::unique_ptr<Slot[]> slots_;
    std::uint32_t depth_;
    Slot* free_ = nullptr;
    std::uint32_t busy_ = 0;
    RequestQueue waiting_;
    ring::Timer delay_timer_;
    bool starting_ = false;
    bool barred_ = false;
    bool shown_cache_;

    scsi::LunFacts facts_;
    std::uint64_t size_bytes_;
    std::uint32_t transfer_bytes_max_;
    scsi::DiscardMethod discard_;
    bool write_same_ = true; ///< until the target refuses it
    int deferred_error_ = 0; ///< an acknowledged write failed later: the next flush says so
    LunCounters counters_;
};

} // namespace iscsi::shard

// The shard's half of a ublk device: one hardware queue, served on the shard's ring. For each tag a command
// lies at the kernel and ends when there is a request in the tag; its data is copied between the kernel and
// the shard's pool with pread() and pwrite() (USER_COPY), and the next command carries the result back. A
// write for which there is no memory waits in the tag; a read, too. Owns /dev/ublkcN, the mapping of the
// descriptors and the tags; the data lies in the pool while a request is at the handler. After construction
// nothing is allocated. The loop's thread. Source: Linux 6.12 to 7.2, include/uapi/linux/ublk_cmd.h.
#pragma once

#include "base/fifo.hpp"
#include "block/block.hpp"
#include "block/buffer_pool.hpp"
#include "block/ublk_abi.hpp"
#include "ring/loop.hpp"
#include "ring/op.hpp"

#include <atomic>
#include <functional>
#include <memory>

namespace iscsi::block {

/// What the two halves of a ublk device know of each other. Both threads.
struct UblkShared {
    std::atomic<bool> stopped = false; ///< the kernel ends the commands of all tags
    std::atomic<unsigned> lost = 0;    ///< tags whose commands the kernel has ended for good
    std::atomic<int> refused = 0;      ///< the errno with which it refused to take one
};

class UblkQueue final : public BlockQueue, private ring::Pump, private BufferPool::Waiter {
public:
    struct Device {
        int fd = -1; ///< /dev/ublkcN
        unsigned depth = 0;
        std::shared_ptr<UblkShared> shared;
    };

    /// Takes over `device.fd` and offers every tag to the kernel; it takes them with this turn's enter.
    /// Errors: internal (the descriptors cannot be mapped).
    static base::Result<std::unique_ptr<UblkQueue>> create(const QueueContext& context, Device device);
    /// After close() only.
    ~UblkQueue() override;

    void complete(Request& request, int error_number) override;
    /// The kernel keeps the data: the pool's memory is for those that can make progress.
    bool hold(Request& request) override;
    void release_held() override;
    /// The kernel knows the size by itself.
    void resize(const Attributes&) override {}
    /// A device that was stopped takes its tags back. One that was not is given up with all that is in it, as
    /// if the process had died: what is at the handler and succeeds is still told, nothing else is, and the
    /// next daemon gets it again. The kernel notices when this process ends.
    void close(std::function<void()> closed) override;

private:
    enum class State : std::uint8_t {
        fetching, ///< the kernel has it and puts a request in
        waiting,  ///< in line for memory, or held
        at_handler,
        dead, ///< never given to the kernel again
    };
    struct Tag final : Request {
        Tag() : op(ring::Op::to<&Tag::on_fetched>(this)) {}
        void on_fetched(ring::Completion completion);

        UblkQueue* queue = nullptr; ///< none: given up
        ring::Op op;
        State state = State::fetching;
        bool taken = false; ///< the kernel took it at least once
        std::uint16_t number = 0;
    };
    using Tags = std::unique_ptr<Tag[]>;

    UblkQueue(const QueueContext& context, Device device, const ublk::IoDescriptor* descriptors);

    void submit(Tag& tag, std::uint32_t command, std::int32_t result);
    void on_fetched(Tag& tag, int result);
    void begin(Tag& tag);
    using TagList = base::Fifo<&Request::next>; // Request is what has the link; all of them are tags
    static void wait(TagList& list, Tag& tag);
    static Tag& next_of(TagList& list);
    void start(Tag& tag, base::MutableBytes data);
    void commit(Tag& tag, int error_number);
    bool read_in(Tag& tag);
    bool write_out(Tag& tag);
    void release(Tag& tag);
    void die(Tag& tag);
    void turn_away(Tag& tag);
    void start_waiting();
    void on_memory() override { context_.loop.mark(*this); }
    void pump() override;
    void finish_closing();
    void give_up_tags();
    bool is_stopped() const { return device_.shared->stopped.load(std::memory_order_acquire); }

    QueueContext context_;
    Device device_;
    const ublk::IoDescriptor* descriptors_;
    Tags tags_;
    unsigned live_;
    unsigned at_handler_ = 0;
    TagList waiting_; ///< in line for memory
    TagList held_;    ///< until release_held()
    bool closing_ = false;
    bool submitted_ = false; ///< closing: nothing of ours waits for an enter
    std::function<void()> closed_;
};

} // namespace iscsi::block

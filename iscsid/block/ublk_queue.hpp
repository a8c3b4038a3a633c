// The shard's half of a ublk device: a hardware queue, served on the shard's ring. For each tag a command
// lies at the kernel and ends when there is a request in the tag; its data is copied between the kernel and
// the shard's pool with pread() and pwrite() (USER_COPY), of a short read as it arrives and without the pool,
// and the next command carries the result back. What needs memory that there is not waits in the tag. Where
// the device has zero copy, long requests are lent to the ring's table of buffers instead (ublk_buffers.cpp).
// Owns /dev/ublkcN, the mapping of the descriptors and the tags; the data lies in the pool while a request is
// at the handler. After construction nothing is allocated. The loop's thread. Source: Linux 6.12 to 7.2,
// include/uapi/linux/ublk_cmd.h.
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
        int fd = -1; ///< /dev/ublkcN; each queue has a duplicate
        unsigned depth = 0;
        std::shared_ptr<UblkShared> shared;
        std::uint32_t zero_copy_bytes_min = 0; ///< 0 = never; else it has SUPPORT_ZERO_COPY
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
        fetching,    ///< the kernel has it and puts a request in
        waiting,     ///< in line for memory, or held
        registering, ///< until its data are in the ring's table of buffers
        at_handler,
        dead, ///< never given to the kernel again
    };
    struct Tag final : Request, base::DataSink {
        Tag() : op(ring::Op::to<&Tag::on_fetched>(this)), buffer_op(ring::Op::to<&Tag::on_buffer>(this)) {}
        void on_fetched(ring::Completion completion);
        void on_buffer(ring::Completion completion);
        void put(std::uint64_t offset, base::Bytes bytes) override;

        UblkQueue* queue = nullptr; ///< none: given up
        ring::Op op;
        ring::Op buffer_op; ///< registers and unregisters
        State state = State::fetching;
        bool taken = false;  ///< the kernel took it at least once
        bool failed = false; ///< read: the kernel has not taken all that was put
        std::uint16_t number = 0;
    };
    using Tags = std::unique_ptr<Tag[]>;

    UblkQueue(const QueueContext& context, Device device, const ublk::IoDescriptor* descriptors);

    void submit(Tag& tag, std::uint32_t command, std::int32_t result);
    void submit_command(ring::Op& op, std::uint32_t command, ublk::IoCommand argument);
    bool takes_buffer(const Tag& tag) const;
    bool register_buffer(Tag& tag);
    void unregister_buffer(Tag& tag);
    void on_registered(Tag& tag, int result);
    void start_copying(Tag& tag);
    bool try_copying(Tag& tag);
    void on_fetched(Tag& tag, int result);
    void begin(Tag& tag);
    using TagList = base::Fifo<&Request::next>; // Request is what has the link; all of them are tags
    static void wait(TagList& list, Tag& tag);
    static Tag& next_of(TagList& list);
    void start(Tag& tag, base::MutableBytes data);
    void commit(Tag& tag, int error_number);
    bool read_in(Tag& tag);
    bool write_out(const Tag& tag, std::uint64_t offset, base::Bytes bytes) const;
    bool has_read(const Tag& tag) const;
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
    std::uint16_t number_;
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

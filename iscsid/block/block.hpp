// The one seam between a logical unit and whatever shows it as a block device. A BlockQueue lives on a shard,
// takes requests from its clients (a kernel driver, NBD clients) and hands each to a RequestHandler; the
// handler calls complete() when it is done. A BlockDevice is the same thing seen from control: creation,
// name, removal. Nothing here knows SCSI. A Request belongs to its queue and is lent to the handler from
// start() to complete(). BlockQueue and RequestHandler: the shard's thread. BlockDevice: control's, except
// make_queue().
#pragma once

#include "base/bytes.hpp"
#include "base/data_sink.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "ring/task.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace iscsi::ring {
class Loop;
} // namespace iscsi::ring

namespace iscsi::block {

class BufferPool;

/// What the block device tells its users about itself.
struct Attributes {
    std::uint64_t size_bytes = 0;
    std::uint32_t logical_block_bytes = 512;
    std::uint32_t physical_block_bytes = 512;
    std::uint32_t optimal_io_bytes = 0;  ///< 0 = not known
    std::uint32_t max_request_bytes = 0; ///< longest read or write; a multiple of the logical block
    std::uint32_t discard_granularity_bytes = 0;
    std::uint64_t max_discard_bytes = 0; ///< 0 = no discard
    std::uint64_t max_write_zeroes_bytes =
        0; ///< 0 = the handler has no cheap way; it still takes write_zeroes
    bool read_only = false;
    bool volatile_cache = false; ///< flush means something
    bool fua = false;            ///< force unit access is honoured
    bool rotational = false;
};

enum class Verb : std::uint8_t { read, write, flush, discard, write_zeroes };

/// A read or a write is never longer than max_request_bytes. A discard or write_zeroes can be (NBD knows no
/// limit for them below 4 GiB): the handler splits it.
struct Request {
    Verb verb = Verb::read;
    bool fua = false;      ///< write, write_zeroes: on stable storage before complete()
    bool may_unmap = true; ///< write_zeroes: the blocks may be deallocated if they then read as zeroes
    std::uint64_t offset_bytes = 0;
    std::uint64_t length_bytes = 0;
    Request* next = nullptr; ///< linkage for the handler while it holds the request
    /// When it came; the epoch: when the handler got it. A queue that lets it wait for memory says so.
    base::TimePoint came_at{};
    bool counted = false; ///< by the handler, until complete(): it was started before, and held meanwhile
    base::MutableBytes
        data; ///< read: to be filled; write: what to write; size = length_bytes. Owned by the queue.
    base::DataSink* sink = nullptr; ///< read: takes what is read, and `data` is empty. Owned by the queue
    /// Where the data are as well (read: beside `sink`), or only (write: `data` is empty): registered with
    /// the ring of the queue's loop, from 0 on. Only for handlers that take_buffers(). Owned by the queue.
    std::optional<std::uint32_t> buffer;
};

/// Served by shard/lun. Same thread as the queue.
class RequestHandler {
public:
    RequestHandler() = default;
    RequestHandler(const RequestHandler&) = delete;
    RequestHandler& operator=(const RequestHandler&) = delete;
    virtual ~RequestHandler() = default;

    /// Begins `request`; BlockQueue::complete follows, perhaps before this returns.
    virtual void start(Request& request) = 0;
    /// It need not see the data of requests that start now.
    virtual bool takes_buffers() const { return false; }
};

/// The shard's half of a block device.
class BlockQueue {
public:
    BlockQueue() = default;
    BlockQueue(const BlockQueue&) = delete;
    BlockQueue& operator=(const BlockQueue&) = delete;
    virtual ~BlockQueue() = default;

    /// Ends `request`: 0, or a positive errno.
    virtual void complete(Request& request, int error_number) = 0;

    /// The handler cannot work on `request` now, nor soon. True: the queue keeps it, without its data, and
    /// starts it anew after release_held(). False: the handler has to keep it.
    virtual bool hold(Request&) { return false; }
    /// What is held may be started again.
    virtual void release_held() {}

    /// What users are told from now on; those that do not ask again keep what they know.
    virtual void resize(const Attributes& attributes) = 0;

    /// How many users it has, where it knows them. Of a kernel device only the kernel knows.
    virtual std::size_t users() const { return 0; }

    /// Takes no more requests and ends its users. Requests at the handler must still be completed; `closed`
    /// runs once after the last of them, at the end of a turn and never before this returns. The queue may be
    /// destroyed then, from inside `closed` too, and not before.
    virtual void close(std::function<void()> closed) = 0;
};

/// What a queue lives on; all of it outlives the queue.
struct QueueContext {
    ring::Loop& loop;
    BufferPool& pool;
    RequestHandler& handler;
    unsigned number = 0; ///< which of the device's queues, from 0
};

/// Control's half of a block device: /dev/ublkbN, /dev/nbdN, or a socket that NBD clients connect to. Order:
/// make_queue() on the shard, start(), ..., remove(), then BlockQueue::close(). Destroying it without
/// remove() leaves behind what can outlive the daemon (kernel devices), and only that. The procedures run on
/// control's loop and wait without blocking it: the kernel answers some of them only after the queue has
/// served I/O.
class BlockDevice {
public:
    BlockDevice() = default;
    BlockDevice(const BlockDevice&) = delete;
    BlockDevice& operator=(const BlockDevice&) = delete;
    virtual ~BlockDevice() = default;

    /// The last part of path(): "ublkb0", "nbd3", or a socket's file name.
    virtual const std::string& name() const = 0;
    /// Absolute path of the device node or of the socket.
    virtual const std::string& path() const = 0;
    /// What an NBD client is given to connect; empty for a kernel device.
    virtual const std::string& uri() const = 0;
    /// Absolute paths of the symbolic links that this device made for itself (not those that udev makes).
    virtual const std::vector<std::string>& links() const = 0;

    /// How many queues it has, each to be served on a shard of its own, or on the same.
    virtual unsigned queues() const { return 1; }
    /// The half that serves requests: once for each of queues(), on the thread of the shard that will serve
    /// it, one after the other. Of several, number 0 is closed before the others.
    virtual base::Result<std::unique_ptr<BlockQueue>> make_queue(const QueueContext& context) = 0;
    /// Shows the device to its users, or gives it back to them after a restart of the daemon. When it is
    /// done, links() are there.
    virtual ring::Task<base::Result<void>> start() = 0;
    /// Tells the kernel of a new size; BlockQueue::resize is called beside it. Only while the path is up: the
    /// kernel may wait for the I/O in progress. Errors: not_supported by this kernel.
    virtual ring::Task<base::Result<void>> resize(Attributes attributes) = 0;
    /// Takes the device away from its users and waits until node and links are gone. The queue serves what is
    /// in progress meanwhile. Who uses it is not asked.
    virtual ring::Task<base::Result<void>> remove() = 0;
    /// Before the daemon ends of its own will: I/O that comes from now on waits for the next daemon, what is
    /// in progress can end. False where the kernel has no such thing: nothing has happened.
    virtual ring::Task<bool> quiesce() { co_return false; }
    /// `on_lost` is called on control's loop when the device is gone without remove() (somebody else has
    /// disconnected it) or can no longer be served. Only nbd devices can be lost.
    virtual void set_on_lost(const std::function<void(const base::Error&)>& /*on_lost*/) {}
    /// True when the kernel keeps the device, and its users wait, while no daemon serves it.
    virtual bool outlives_daemon() const = 0;
};

} // namespace iscsi::block

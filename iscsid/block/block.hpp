// The one seam between a logical unit and whatever shows it as a block device. A BlockQueue lives on a shard,
// takes requests from its clients (a kernel driver, NBD clients) and hands each to a RequestHandler; the
// handler calls complete() when it is done. A BlockDevice is the same thing seen from control: creation,
// name, removal. Nothing here knows SCSI. A Request belongs to its queue and is lent to the handler from
// start() to complete().
#pragma once

#include "base/bytes.hpp"
#include "base/result.hpp"

#include <cstdint>
#include <string>

namespace iscsi::block {

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

struct Request {
    Verb verb = Verb::read;
    bool fua = false;      ///< write, write_zeroes: on stable storage before complete()
    bool may_unmap = true; ///< write_zeroes: the blocks may be deallocated if they then read as zeroes
    std::uint64_t offset_bytes = 0;
    std::uint64_t length_bytes = 0;
    base::MutableBytes
        data; ///< read: to be filled; write: what to write; size = length_bytes. Owned by the queue.
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
};

} // namespace iscsi::block

#include "block/ublk_queue.hpp"

#include "base/check.hpp"
#include "block/ublk_rules.hpp"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace iscsi::block {
namespace {

/// The driver wants exactly this many mapped.
std::size_t mapped_bytes(unsigned depth) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t bytes = depth * sizeof(ublk::IoDescriptor);
    return (bytes + page - 1) / page * page;
}

/// Each queue has room for the greatest depth that there is.
off_t mapped_at(unsigned queue) {
    return static_cast<off_t>(queue * mapped_bytes(ublk::queue_depth_max));
}

} // namespace

base::Result<std::unique_ptr<UblkQueue>> UblkQueue::create(const QueueContext& context, Device device) {
    base::check(device.depth > 0 && device.depth <= ublk::queue_depth_max, "a queue has a bounded depth");
    base::check(context.pool.size() >= ublk::io_bytes_max, "the pool holds the longest request");
    void* mapped = ::mmap(nullptr, mapped_bytes(device.depth), PROT_READ, MAP_SHARED | MAP_POPULATE,
                          device.fd, mapped_at(context.number));
    if (mapped == MAP_FAILED) {
        const int error_number = errno;
        ::close(device.fd);
        return base::fail(base::Errc::internal, fmt::format("ublk: the descriptors cannot be mapped: {}",
                                                            std::strerror(error_number)));
    }
    const auto* descriptors = static_cast<const ublk::IoDescriptor*>(mapped);
    if (device.zero_copy_bytes_min != 0 && !context.loop.ring().prepare_buffers()) {
        device.zero_copy_bytes_min = 0;
    }
    return std::unique_ptr<UblkQueue>(new UblkQueue(context, std::move(device), descriptors));
}

UblkQueue::UblkQueue(const QueueContext& context, Device device, const ublk::IoDescriptor* descriptors)
    : context_(context), device_(std::move(device)), descriptors_(descriptors),
      number_(static_cast<std::uint16_t>(context.number)), tags_(std::make_unique<Tag[]>(device_.depth)),
      live_(device_.depth) {
    for (unsigned number = 0; number < device_.depth; ++number) {
        Tag& tag = tags_[number];
        tag.queue = this;
        tag.number = static_cast<std::uint16_t>(number);
        submit(tag, ublk::fetch_req, -1);
    }
}

UblkQueue::~UblkQueue() {
    base::check(closing_ && !closed_ && device_.fd < 0, "a queue is closed before it dies");
    context_.loop.unmark(*this);
}

void UblkQueue::submit(Tag& tag, std::uint32_t command, std::int32_t result) {
    ublk::IoCommand argument;
    argument.tag = tag.number;
    argument.result = result;
    submit_command(tag.op, command, argument);
    tag.state = State::fetching;
}

void UblkQueue::submit_command(ring::Op& op, std::uint32_t command, ublk::IoCommand argument) {
    argument.queue_id = number_;
    io_uring_sqe* sqe = context_.loop.sqe(op);
    sqe->opcode = IORING_OP_URING_CMD;
    sqe->fd = device_.fd;
    sqe->cmd_op = command;
    std::memcpy(reinterpret_cast<std::byte*>(sqe) + ublk::argument_offset, &argument, sizeof argument);
}

void UblkQueue::Tag::on_fetched(ring::Completion completion) {
    if (queue != nullptr) {
        queue->on_fetched(*this, completion.result);
    }
}

void UblkQueue::on_fetched(Tag& tag, int result) {
    if (result == 0) {
        tag.taken = true;
        return closing_ ? turn_away(tag) : begin(tag);
    }
    if (result != -ENODEV) {
        // What ends the first command of a tag so is a kernel that we do not understand; later, a mistake of
        // ours, and the only way to give the request back is to die.
        base::check(!tag.taken, "the kernel takes the commands of a tag");
        device_.shared->refused.store(-result, std::memory_order_release);
    }
    die(tag);
}

void UblkQueue::die(Tag& tag) {
    tag.state = State::dead;
    --live_;
    device_.shared->lost.fetch_add(1, std::memory_order_release);
    if (closing_) {
        context_.loop.mark(*this);
    }
}

void UblkQueue::begin(Tag& tag) {
    // The slot is the kernel's again with the next command: what it says is copied out here.
    const bool known = ublk::describe(descriptors_[tag.number], tag);
    tag.came_at = context_.loop.now();
    tag.counted = false;
    if (!known) {
        return commit(tag, EOPNOTSUPP);
    }
    if (takes_buffer(tag) && register_buffer(tag)) {
        return;
    }
    start_copying(tag);
}

/// Or lets it wait behind those that do: a claim past them would take this queue out of the pool's line.
void UblkQueue::start_copying(Tag& tag) {
    const bool in_line = !waiting_.empty() && ublk::needs_memory(tag);
    if (in_line || !try_copying(tag)) {
        wait(waiting_, tag);
    }
}

/// False: there is no memory for it.
bool UblkQueue::try_copying(Tag& tag) {
    base::MutableBytes data;
    if (ublk::needs_memory(tag)) {
        data = context_.pool.claim(tag.length_bytes, *this);
        if (data.empty()) {
            return false;
        }
    }
    start(tag, data);
    return true;
}

void UblkQueue::wait(TagList& list, Tag& tag) {
    tag.state = State::waiting;
    list.push(tag);
}

/// There must be one.
UblkQueue::Tag& UblkQueue::next_of(TagList& list) {
    return static_cast<Tag&>(*list.pop());
}

void UblkQueue::start_waiting() {
    while (!waiting_.empty()) {
        auto& next = static_cast<Tag&>(*waiting_.front());
        if (takes_buffer(next) && register_buffer(next)) {
            waiting_.pop();
            continue;
        }
        base::MutableBytes data;
        if (ublk::needs_memory(next)) {
            data = context_.pool.claim(next.length_bytes, *this);
            if (data.empty()) {
                return;
            }
        }
        start(next_of(waiting_), data);
    }
    // What was first may have gone without memory: nobody waits for any now, and others may.
    context_.pool.forget(*this);
}

void UblkQueue::start(Tag& tag, base::MutableBytes data) {
    tag.data = data;
    tag.sink = tag.verb == Verb::read && data.empty() ? &tag : nullptr;
    tag.failed = false;
    if (tag.verb == Verb::write && !tag.buffer && !read_in(tag)) {
        return commit(tag, EIO);
    }
    tag.state = State::at_handler;
    ++at_handler_;
    context_.handler.start(tag);
}

bool UblkQueue::read_in(Tag& tag) {
    const auto offset = static_cast<off_t>(ublk::data_offset(tag.number, number_));
    const ssize_t n = ::pread(device_.fd, tag.data.data(), tag.data.size(), offset);
    return n >= 0 && static_cast<std::size_t>(n) == tag.data.size();
}

bool UblkQueue::write_out(const Tag& tag, std::uint64_t offset, base::Bytes bytes) const {
    const auto at = static_cast<off_t>(ublk::data_offset(tag.number, number_) + offset);
    const ssize_t n = ::pwrite(device_.fd, bytes.data(), bytes.size(), at);
    return n >= 0 && static_cast<std::size_t>(n) == bytes.size();
}

void UblkQueue::Tag::put(std::uint64_t offset, base::Bytes bytes) {
    base::check(state == State::at_handler && sink != nullptr, "data come for a read in progress");
    base::check(offset <= length_bytes && bytes.size() <= length_bytes - offset, "data are within the read");
    if (!queue->write_out(*this, offset, bytes)) {
        failed = true;
    }
}

/// All that was read is the kernel's.
bool UblkQueue::has_read(const Tag& tag) const {
    return tag.sink != nullptr ? !tag.failed : write_out(tag, 0, tag.data);
}

void UblkQueue::complete(Request& request, int error_number) {
    auto& tag = static_cast<Tag&>(request);
    base::check(tag.queue == this && tag.state == State::at_handler, "a request is completed once");
    base::check(error_number >= 0, "an errno is positive");
    --at_handler_;
    const bool given_up = closing_ && !is_stopped();
    int result = error_number;
    if (result == 0 && tag.verb == Verb::read && !has_read(tag)) {
        result = EIO;
    }
    if (given_up && result != 0) {
        // It has not failed: the next daemon gets it.
        release(tag);
        tag.state = State::dead;
    } else {
        commit(tag, result);
    }
    if (closing_) {
        context_.loop.mark(*this);
    }
}

bool UblkQueue::hold(Request& request) {
    auto& tag = static_cast<Tag&>(request);
    base::check(tag.queue == this && tag.state == State::at_handler, "what is held was at the handler");
    --at_handler_;
    release(tag);
    if (closing_) {
        turn_away(tag);
        context_.loop.mark(*this);
    } else {
        wait(held_, tag);
    }
    return true;
}

void UblkQueue::release_held() {
    waiting_.prepend(held_); // they have waited longer
    context_.loop.mark(*this);
}

void UblkQueue::release(Tag& tag) {
    if (!tag.data.empty()) {
        context_.pool.release(std::exchange(tag.data, {}), *this);
    }
    if (tag.buffer) {
        unregister_buffer(tag);
    }
}

void UblkQueue::commit(Tag& tag, int error_number) {
    release(tag);
    submit(tag, ublk::commit_and_fetch_req, ublk::commit_result(tag, error_number));
}

/// A request for a queue that takes no more.
void UblkQueue::turn_away(Tag& tag) {
    if (is_stopped()) {
        commit(tag, ENODEV);
    } else {
        tag.state = State::dead;
    }
}

void UblkQueue::close(std::function<void()> closed) {
    base::check(!closing_, "a queue is closed once");
    closing_ = true;
    closed_ = std::move(closed);
    context_.pool.forget(*this);
    while (!waiting_.empty()) {
        turn_away(next_of(waiting_));
    }
    while (!held_.empty()) {
        turn_away(next_of(held_));
    }
    context_.loop.mark(*this);
}

void UblkQueue::pump() {
    if (closing_) {
        finish_closing();
    } else {
        start_waiting();
    }
}

/// Looks whether a closing queue has come to its end.
void UblkQueue::finish_closing() {
    const bool tags_to_come = is_stopped() && live_ > 0;
    if (device_.fd < 0 || at_handler_ > 0 || tags_to_come) {
        return;
    }
    if (!submitted_) {
        // Commands of this turn name the descriptor: it is closed after the enter that hands them over.
        submitted_ = true;
        return context_.loop.mark(*this);
    }
    ::munmap(const_cast<ublk::IoDescriptor*>(descriptors_), mapped_bytes(device_.depth));
    ::close(std::exchange(device_.fd, -1));
    give_up_tags();
    const std::function<void()> closed = std::exchange(closed_, {});
    closed(); // may destroy this queue
}

/// The commands of a device that was not stopped stay at the kernel until the process ends (they cannot be
/// cancelled one by one), and what they end with must find their tags.
void UblkQueue::give_up_tags() {
    static std::mutex mutex;
    static std::vector<Tags> kept;
    if (live_ == 0) {
        return;
    }
    for (unsigned number = 0; number < device_.depth; ++number) {
        tags_[number].queue = nullptr;
    }
    const std::lock_guard<std::mutex> hold(mutex);
    kept.push_back(std::move(tags_));
}

} // namespace iscsi::block

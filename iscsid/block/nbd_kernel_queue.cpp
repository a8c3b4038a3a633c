#include "block/nbd_kernel_queue.hpp"

#include "base/check.hpp"

#include <unistd.h>
#include <utility>

namespace iscsi::block {

void NbdLink::give(int fd) {
    base::check(shard_ != nullptr && given_fd_ < 0, "a queue has taken a socket before it gets the next");
    given_fd_ = fd;
    given_.post(*shard_, *this);
}

void NbdLink::attach(NbdKernelQueue& queue, ring::Loop& loop) {
    queue_ = &queue;
    shard_ = &loop;
}

void NbdLink::deliver_given() {
    const int fd = std::exchange(given_fd_, -1);
    if (queue_ != nullptr) {
        queue_->serve(fd);
    } else {
        ::close(fd);
    }
}

void NbdLink::deliver_dead() {
    if (on_dead) {
        on_dead();
    }
}

void NbdLink::deliver_mended() {
    if (on_mended) {
        on_mended();
    }
}

NbdKernelQueue::NbdKernelQueue(const QueueContext& context, const Attributes& attributes,
                               std::shared_ptr<NbdLink> link)
    : loop_(context.loop), info_{"", "", attributes}, connection_({
                                                          .info = info_,
                                                          .pool = context.pool,
                                                          .handler = context.handler,
                                                          .owner = *this,
                                                      }),
      stream_(context.loop, *this), link_(std::move(link)) {
    link_->attach(*this, loop_);
}

NbdKernelQueue::~NbdKernelQueue() {
    base::check(closing_ && !closed_ && next_fd_ < 0, "a queue is closed before it dies");
    link_->detach();
    loop_.unmark(*this);
}

void NbdKernelQueue::serve(int fd) {
    if (closing_) {
        ::close(fd);
        return;
    }
    base::check(next_fd_ < 0, "a queue gets one socket after the other");
    next_fd_ = fd;
    loop_.mark(*this);
}

void NbdKernelQueue::complete(Request& request, int error_number) {
    connection_.complete(request, error_number);
}

void NbdKernelQueue::resize(const Attributes& attributes) {
    info_.attributes = attributes;
    connection_.update(attributes);
}

void NbdKernelQueue::on_ready() {
    if (!stream_.is_open()) {
        loop_.mark(*this);
        return;
    }
    if (connection_.leaving()) {
        // The kernel sends its goodbye when it has failed what was in progress: nobody waits for replies.
        return stream_.close({base::Errc::disconnected, "the kernel disconnected the device"},
                             ring::Stream::Ending::orderly);
    }
    stream_.mark();
}

void NbdKernelQueue::on_closed(ring::Stream&, const base::Error&) {
    connection_.abandon();
    if (!closing_) {
        link_->say_dead();
    }
    loop_.mark(*this);
}

void NbdKernelQueue::close(std::function<void()> closed) {
    base::check(!closing_, "a queue is closed once");
    closing_ = true;
    closed_ = std::move(closed);
    if (next_fd_ >= 0) {
        ::close(std::exchange(next_fd_, -1));
    }
    stream_.close({base::Errc::cancelled, "the device is served no longer"}, ring::Stream::Ending::orderly);
    loop_.mark(*this);
}

/// Looks whether the queue is between two sockets, or at its end.
void NbdKernelQueue::pump() {
    if (!stream_.is_closed() || !connection_.idle()) {
        return;
    }
    if (next_fd_ >= 0) {
        connection_.open_transmission();
        stream_.open(std::exchange(next_fd_, -1), connection_);
    } else if (closing_ && closed_) {
        const std::function<void()> closed = std::exchange(closed_, {});
        closed(); // may destroy this queue
    }
}

} // namespace iscsi::block

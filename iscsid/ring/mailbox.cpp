#include "ring/mailbox.hpp"

#include <cstdint>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utility>

namespace iscsi::ring {

Mailbox::Mailbox() : fd_(::eventfd(0, EFD_CLOEXEC)) {}

Mailbox::~Mailbox() {
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

void Mailbox::post(Message& message) {
    bool was_empty = false;
    {
        std::lock_guard lock(mutex_);
        was_empty = posted_.empty();
        posted_.push(message);
    }
    if (was_empty) {
        wake();
    }
}

void Mailbox::wake() {
    std::uint64_t one = 1;
    // Cannot fail but for a counter at its maximum, which is a wake-up too.
    [[maybe_unused]] ssize_t written = ::write(fd_, &one, sizeof one);
}

void Mailbox::deliver_all() {
    base::Fifo<&Message::next_> posted;
    {
        std::lock_guard lock(mutex_);
        posted = std::exchange(posted_, {});
    }
    while (Message* message = posted.pop()) {
        message->deliver();
    }
}

} // namespace iscsi::ring

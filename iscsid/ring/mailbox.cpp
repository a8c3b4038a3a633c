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
        was_empty = first_ == nullptr;
        message.next_ = nullptr;
        if (was_empty) {
            first_ = &message;
        } else {
            last_->next_ = &message;
        }
        last_ = &message;
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
    Message* message = nullptr;
    {
        std::lock_guard lock(mutex_);
        message = std::exchange(first_, nullptr);
        last_ = nullptr;
    }
    while (message != nullptr) {
        Message* next = message->next_;
        message->deliver();
        message = next;
    }
}

} // namespace iscsi::ring

// Messages between threads. A Message is owned by its sender and must stay in place until it was delivered;
// posting allocates nothing. This is for control; an I/O never changes threads. post(): any thread; the rest:
// the loop's.
#pragma once

#include "base/fifo.hpp"
#include "base/result.hpp"

#include <mutex>

namespace iscsi::ring {

class Message {
public:
    Message() = default;
    Message(const Message&) = delete;
    Message& operator=(const Message&) = delete;
    virtual ~Message() = default;

    /// Runs once on the receiving loop's thread; the sender may be gone when it returns.
    virtual void deliver() = 0;

private:
    friend class Mailbox;
    Message* next_ = nullptr;
};

class Mailbox {
public:
    Mailbox();
    Mailbox(const Mailbox&) = delete;
    Mailbox& operator=(const Mailbox&) = delete;
    ~Mailbox();

    /// Appends `message` and wakes the receiver. Order of one sender is kept.
    void post(Message& message);
    /// Wakes the receiver without a message.
    void wake();

    /// Delivers what has been posted; the receiver calls it after its read of fd() completed.
    void deliver_all();
    /// An eventfd that becomes readable when something was posted; -1 when none could be made.
    int fd() const { return fd_; }

private:
    std::mutex mutex_;
    base::Fifo<&Message::next_> posted_;
    int fd_;
};

} // namespace iscsi::ring

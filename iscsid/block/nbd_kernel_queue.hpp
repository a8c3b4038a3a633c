// The shard's half of /dev/nbdN: one NbdConnection, and our end of the socket pair that the kernel's driver
// sends its requests through. The socket can be replaced; what was asked over the one before is never
// answered over the next, and the next is not read before the handler has ended all of it, because the kernel
// asks for the same again and an old write must not land behind a new one. The loop's thread.
#pragma once

#include "block/block.hpp"
#include "block/nbd_connection.hpp"
#include "ring/loop.hpp"
#include "ring/stream.hpp"

#include <functional>
#include <memory>

namespace iscsi::block {

class NbdKernelQueue;

/// What the two halves of a device tell each other, each on its own thread. Either may go before the other.
class NbdLink final : public std::enable_shared_from_this<NbdLink> {
public:
    explicit NbdLink(ring::Loop& control) : control_(control) {}

    // Control's thread.
    /// Hands the queue a new socket; not again before on_dead.
    void give(int fd);
    std::function<void()> on_dead;   ///< the queue's socket has ended
    std::function<void()> on_mended; ///< answers say_mended()
    // The queue's thread.
    void attach(NbdKernelQueue& queue, ring::Loop& loop);
    void detach() { queue_ = nullptr; }
    void say_dead() { dead_.post(control_, *this); }
    // Any thread.
    void say_mended() { mended_.post(control_, *this); }

private:
    template <auto Method>
    class Note final : public ring::Message {
    public:
        void post(ring::Loop& loop, NbdLink& link) {
            link_ = link.shared_from_this();
            loop.post(*this);
        }
        void deliver() override {
            const std::shared_ptr<NbdLink> link = std::move(link_);
            (*link.*Method)();
        }

    private:
        std::shared_ptr<NbdLink> link_; ///< keeps the note in place until it is delivered
    };
    void deliver_given();
    void deliver_dead();
    void deliver_mended();

    ring::Loop& control_;
    ring::Loop* shard_ = nullptr;
    NbdKernelQueue* queue_ = nullptr;
    int given_fd_ = -1;
    Note<&NbdLink::deliver_given> given_;
    Note<&NbdLink::deliver_dead> dead_;
    Note<&NbdLink::deliver_mended> mended_;
};

class NbdKernelQueue final : public BlockQueue,
                             private ring::Pump,
                             private NbdConnection::Owner,
                             private ring::Stream::Owner {
public:
    /// Serves nobody until serve().
    NbdKernelQueue(const QueueContext& context, const Attributes& attributes, std::shared_ptr<NbdLink> link);
    /// After close() only.
    ~NbdKernelQueue() override;

    /// Takes over `fd`, our end of a socket whose other end the kernel has.
    void serve(int fd);

    void complete(Request& request, int error_number) override;
    void resize(const Attributes& attributes) override;
    void close(std::function<void()> closed) override;

private:
    void on_ready() override;
    void on_progress(ring::Stream&) override { on_ready(); }
    void on_closed(ring::Stream&, const base::Error& error) override;
    void pump() override;

    ring::Loop& loop_;
    NbdExportInfo info_;
    NbdConnection connection_;
    ring::Stream stream_;
    std::shared_ptr<NbdLink> link_;
    int next_fd_ = -1; ///< waits for the end of what came over the socket before
    bool closing_ = false;
    std::function<void()> closed_;
};

} // namespace iscsi::block

// The shard's half of a LUN that is shown as an NBD export on a Unix socket: accepts clients on the shard's
// loop and serves each with an NbdConnection over a ring::Stream. Owns the listening socket and the clients;
// what a client needs (slots, staging) is taken when it connects, and kept for the next one when it leaves.
// Of the several queues of an export, each on a loop of its own, the first accepts and passes clients on,
// each to the queue that has fewest; a client stays where it came to. While none has a place clients wait in
// the socket's backlog. The loop's thread.
#pragma once

#include "base/limits.hpp"
#include "block/block.hpp"
#include "block/nbd_connection.hpp"
#include "ring/loop.hpp"
#include "ring/stream.hpp"

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <vector>

namespace iscsi::block {

class NbdQueue;

/// What the queues of one export know of each other. Any thread.
struct NbdQueues {
    struct One {
        std::atomic<NbdQueue*> queue = nullptr; ///< until it closes; it outlives the accepting one
        std::atomic<std::size_t> clients = 0;   ///< places that are taken, by clients on their way there, too
    };
    std::array<One, base::limits::queues_max> all;
    /// Of the first queue, which accepts. It outlives all queues.
    std::atomic<ring::Loop*> accepting = nullptr;
    /// It has found no place with any of them, and wants to hear of one.
    std::atomic<bool> full = false;
    /// Clients that have gone, or hung up one of their connections, with requests that have not ended: one
    /// may wait for its session to come back. Whoever comes next, by another queue perhaps, believes that
    /// they have ended or never will, and what it writes would lie under theirs. So nobody's requests begin.
    std::atomic<std::size_t> forsaken = 0;
};

class NbdQueue final : public BlockQueue, private ring::Pump {
public:
    static constexpr std::size_t clients_max = base::limits::nbd_clients_max;

    /// Takes over `listener`, a listening stream socket in blocking mode, and begins to accept. The queues
    /// beside the first one have none (-1). `queues`: of one that is not alone; else it makes its own.
    NbdQueue(const QueueContext& context, int listener, NbdExportInfo info,
             std::shared_ptr<NbdQueues> queues = nullptr);
    /// After close() only.
    ~NbdQueue() override;

    void complete(Request& request, int error_number) override;
    void resize(const Attributes& attributes) override { info_.attributes = attributes; }
    void close(std::function<void()> closed) override;

    /// Clients that are connected now.
    std::size_t clients() const;
    /// Of the first of several: those of all of them; of the others none.
    std::size_t users() const override;

private:
    struct Client final : NbdConnection::Owner, ring::Stream::Owner {
        explicit Client(NbdQueue& owner);
        void on_ready() override;
        void on_progress(ring::Stream&) override { on_ready(); }
        void on_closed(ring::Stream&, const base::Error& error) override;
        bool is_free() const { return stream.is_closed() && connection.idle(); }

        NbdQueue& queue;
        NbdConnection connection;
        ring::Stream stream;
        bool counted = false;  ///< in NbdQueues
        bool forsaken = false; ///< likewise
    };
    class Handover;
    class PlaceFree;
    class GoOn;

    void accept_next();
    bool has_place();
    bool any_queue_has_place() const;
    void on_accepted(ring::Completion completion);
    void place(int fd);
    void serve(int fd);
    void uncount_clients();
    /// There is one here: to the queue that accepts, if it waits for that.
    void tell_of_place();
    /// The last request of those who have gone has ended.
    void end_barrier();
    void wake_clients();
    Client* free_client();
    /// A client's place may have become free.
    void on_place_free();
    void pump() override;
    void close_listener();

    QueueContext context_;
    int listener_;
    NbdExportInfo info_;
    std::shared_ptr<NbdQueues> queues_;
    ring::Op accept_op_;
    ring::Timer accept_again_;
    std::vector<std::unique_ptr<Client>> clients_;
    bool closing_ = false;
    std::function<void()> closed_;
};

} // namespace iscsi::block

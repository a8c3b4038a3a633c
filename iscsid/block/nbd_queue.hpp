// The shard's half of a LUN that is shown as an NBD export on a Unix socket: accepts clients on the shard's
// loop and serves each with an NbdConnection over a ring::Stream. Owns the listening socket and the clients;
// what a client needs (slots, staging) is taken when it connects, and kept for the next one when it leaves.
// The loop's thread.
#pragma once

#include "base/limits.hpp"
#include "block/block.hpp"
#include "block/nbd_connection.hpp"
#include "ring/loop.hpp"
#include "ring/stream.hpp"

#include <functional>
#include <memory>
#include <vector>

namespace iscsi::block {

class NbdQueue final : public BlockQueue, private ring::Pump {
public:
    static constexpr std::size_t clients_max = base::limits::nbd_clients_max;

    /// Takes over `listener`, a listening stream socket in blocking mode, and begins to accept.
    NbdQueue(const QueueContext& context, int listener, NbdExportInfo info);
    /// After close() only.
    ~NbdQueue() override;

    void complete(Request& request, int error_number) override;
    void resize(const Attributes& attributes) override { info_.attributes = attributes; }
    void close(std::function<void()> closed) override;

    /// Clients that are connected now.
    std::size_t clients() const;
    std::size_t users() const override { return clients(); }

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
    };

    void accept_next();
    void on_accepted(ring::Completion completion);
    void serve(int fd);
    Client* free_client();
    /// A client's place may have become free.
    void on_place_free();
    void pump() override;
    void close_listener();

    QueueContext context_;
    int listener_;
    NbdExportInfo info_;
    ring::Op accept_op_;
    ring::Timer accept_again_;
    std::vector<std::unique_ptr<Client>> clients_;
    bool closing_ = false;
    std::function<void()> closed_;
};

} // namespace iscsi::block

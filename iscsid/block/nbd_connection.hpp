// The server's half of one NBD client (doc/proto.md, "Transmission phase"): requests in, replies out, no I/O.
// Several requests are in progress at once, in fixed slots; their data lies in the shard's pool. Payloads of
// writes are received straight into the pool, many replies leave with one send. A client for whose next
// request there is no slot or no memory is not read until there is. The connection owns its slots and its
// staging buffer; a request (and its data) is lent to the handler from start() to complete(), and the
// connection outlives that even when its socket is gone. The shard's thread. Serves socket clients (behind a
// handshake) and the kernel's driver (without one).
#pragma once

#include "base/engine.hpp"
#include "base/limits.hpp"
#include "block/block.hpp"
#include "block/buffer_pool.hpp"
#include "block/nbd_abi.hpp"
#include "block/nbd_handshake.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace iscsi::block {

class NbdConnection final : public base::Engine, private BufferPool::Waiter {
public:
    static constexpr std::size_t slots_max = base::limits::nbd_requests_max;
    static constexpr std::size_t staging_bytes = std::size_t{64} * 1024;
    static constexpr base::Duration handshake_time_max = std::chrono::seconds(30);

    class Owner {
    public:
        Owner() = default;
        Owner(const Owner&) = delete;
        Owner& operator=(const Owner&) = delete;
        virtual ~Owner() = default;

        /// There may be something to send or room to receive again, or finished() or idle() became true. May
        /// come from within any call of the connection: note it, act later.
        virtual void on_ready() = 0;
    };

    struct Context {
        const NbdExportInfo& info; ///< read while options are negotiated, copied when they are settled
        BufferPool& pool;
        RequestHandler& handler;
        Owner& owner;
        /// While it is not 0 no request begins; who makes it 0 has the socket looked at again. None: nullptr.
        const std::atomic<std::size_t>* barrier = nullptr;
    };

    explicit NbdConnection(const Context& context);
    ~NbdConnection() override;

    /// A new client that begins with the handshake. The connection must be idle.
    void open(base::TimePoint now);
    /// A client that begins with requests (the kernel's driver on a socket pair): simple replies only.
    void open_transmission();
    /// The socket is gone: gives up all that is not at the handler. Completions still arrive, replies no
    /// longer leave.
    void abandon();

    /// Ends a request of this connection: 0, or a positive errno.
    void complete(Request& request, int error_number);
    /// The connection that `request` belongs to; it must come from an NbdConnection.
    static NbdConnection& of(Request& request);

    /// What requests are checked against from now on, the one that is arriving excepted.
    void update(const Attributes& attributes) { attributes_ = attributes; }

    /// The client has said goodbye.
    bool leaving() const { return phase_ == Phase::leaving; }
    /// It has got everything it was owed, too: close the socket.
    bool finished() const;
    /// Nothing is at the handler and no socket is served: may be opened again or destroyed.
    bool idle() const { return phase_ == Phase::closed && at_handler_ == 0; }

    base::RxSpans rx_spans() override;
    base::Result<void> rx_done(std::size_t n, base::TimePoint now) override;
    std::span<iovec> tx_spans(std::span<iovec> out) override;
    void tx_done(std::size_t n) override;
    base::Deadline deadline() const override;
    base::Result<void> at(base::TimePoint now) override;

private:
    enum class Phase : std::uint8_t {
        closed,
        handshake,
        transmission,
        leaving, ///< no more requests: what is in progress is answered, then finished()
        broken,  ///< bytes that cannot be understood were met outside rx_done; at() tells
    };
    enum class Step : std::uint8_t {
        stepped,
        starved,
        blocked
    }; ///< starved: of bytes; blocked: by memory, slots, output

    using SlotIndex = std::uint16_t;
    struct Slot : Request {
        NbdConnection* connection = nullptr;
        std::uint64_t cookie = 0;
        SlotIndex index = 0;
        bool at_handler = false;
        bool wants_data = false; ///< a read: the reply carries `data`
        std::uint8_t head_bytes = 0;
        std::array<std::byte, sizeof(nbd::OffsetDataChunk)> head;
    };

    // Receiving: nbd_connection.cpp.
    void reset();
    base::Result<void> advance();
    base::Result<Step> step(base::Bytes unread);
    base::Result<Step> step_handshake(base::Bytes unread);
    base::Result<Step> step_header(base::Bytes unread);
    void take_payload(base::Bytes unread);
    Step begin(const nbd::RequestHeader& header, nbd::Error refused);
    void on_payload_complete();
    void on_memory() override { owner_.on_ready(); }
    void consume(std::size_t n) { read_at_ += n; }

    // Answering: nbd_reply.cpp.
    void start(Slot& slot);
    void finish(Slot& slot, nbd::Error error);
    void put_head(Slot& slot, nbd::Error error);
    void release_data(Slot& slot);
    void free_slot(Slot& slot);
    std::size_t reply_bytes(const Slot& slot) const;

    const NbdExportInfo& info_;
    BufferPool& pool_;
    RequestHandler& handler_;
    Owner& owner_;
    const std::atomic<std::size_t>* barrier_;

    Phase phase_ = Phase::closed;
    NbdHandshake handshake_;
    base::TimePoint handshake_end_{};
    Attributes attributes_;
    bool structured_replies_ = false;
    base::Error broken_;

    std::unique_ptr<std::array<std::byte, staging_bytes>> staging_;
    std::size_t read_at_ = 0;   ///< first byte of staging_ that was not looked at
    std::size_t filled_to_ = 0; ///< end of the received bytes in staging_
    bool blocked_ = false;      ///< staging_ holds bytes that must wait
    Slot* payload_ = nullptr;   ///< the write whose payload is arriving
    std::size_t payload_received_ = 0;
    std::uint64_t discard_bytes_ = 0; ///< payload of a refused write that is still to come

    std::unique_ptr<std::array<Slot, slots_max>> slots_;
    std::array<SlotIndex, slots_max> free_slots_;
    std::size_t free_count_ = 0;
    std::array<SlotIndex, slots_max> replies_; ///< ring of slots whose replies wait, oldest at replies_first_
    std::size_t replies_first_ = 0;
    std::size_t replies_count_ = 0;
    std::size_t reply_sent_ = 0; ///< bytes of the oldest reply that the socket took
    std::size_t at_handler_ = 0;
};

} // namespace iscsi::block

// A simulated TCP connection: two directions of bytes that travel in pieces of any size and take their time,
// and that can be cut, silenced or damaged at a byte. The initiator's end is driven by the simulated kernel
// with io_uring's operations, the target's end is a Peer that takes what arrives. Owned by the kernel for the
// whole schedule. One thread.
#pragma once

#include "base/bytes.hpp"
#include "base/time.hpp"
#include "ring/op.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <sys/socket.h>
#include <vector>

namespace iscsi::sim {

class Kernel;

/// Something that can be put off.
class Happening {
public:
    Happening() = default;
    Happening(const Happening&) = delete;
    Happening& operator=(const Happening&) = delete;
    virtual ~Happening() = default;
    virtual void happen(std::uint32_t what) = 0;
};

class Socket;

/// The target's end of a connection.
class Peer {
public:
    Peer() = default;
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;
    virtual ~Peer() = default;
    virtual void on_bytes(base::Bytes bytes) = 0;
    /// The connection ended; not called after the Peer's own close() or reset().
    virtual void on_closed() = 0;
};

class Listener {
public:
    Listener() = default;
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;
    virtual ~Listener() = default;
    /// nullptr: the connection is refused.
    virtual Peer* accept(Socket& socket) = 0;
    /// False: nobody answers, not even with a refusal.
    virtual bool answers() const = 0;
};

/// What a network does to the bytes of a connection.
struct Network {
    static constexpr std::uint64_t never = ~std::uint64_t{0};

    base::Duration delay_max{};           ///< of each piece
    std::uint32_t piece_max = 0;          ///< bytes that arrive at a time, at most; 0 = all there are
    std::uint32_t send_buffer = 1U << 20; ///< what the initiator's kernel takes at a time
    std::uint64_t cut_to_target = never;  ///< the connection breaks when so many bytes have arrived
    std::uint64_t cut_to_initiator = never;
    bool cut_is_reset = false;              ///< else the initiator sees an orderly end
    bool cut_is_silent = false;             ///< from then on nothing arrives, and nobody is told
    std::uint64_t damage_to_target = never; ///< one bit of this byte is flipped, once digests are in use
    std::uint64_t damage_to_initiator = never;
};

class Socket final : public Happening {
public:
    Socket(Kernel& kernel, int family) : kernel_(kernel), family_(family) {}
    int family() const { return family_; }

    // The target's end.
    void send(base::Bytes bytes);
    void close(); ///< what was sent arrives before the end
    void reset(); ///< what is on its way is lost, both ways
    /// The peer speaks with digests from now on: damage counts from here.
    void begin_damage() {
        damage_from_to_target_ = to_target_.sent;
        damage_from_to_initiator_ = to_initiator_.sent;
        damage_ = true;
    }

    // What befalls it.
    void break_down(bool reset, bool silent);

    // The initiator's end, as the kernel knows it.
    void connect(ring::Op& op);
    /// `flags`: MSG_DONTWAIT or none.
    void receive(ring::Op& op, msghdr* message, base::MutableBytes single, std::uint32_t flags);
    /// A poll that stays: it tells of what is there, and of what arrives.
    void watch(ring::Op& op);
    /// -EAGAIN: nothing has arrived.
    ssize_t receive_now(std::span<const iovec> places) { return give(places); }
    void send(ring::Op& op, const msghdr& message);
    ssize_t send_now(const msghdr& message);
    /// True when `op` was one of this socket's and is completed now.
    bool cancel(ring::Op& op);
    void set_abort_on_close() { abort_on_close_ = true; }
    /// SO_RCVLOWAT: a receive that waits is not woken for less, but at the end.
    void set_low_water(std::size_t bytes);
    void close_by_initiator();

    void happen(std::uint32_t what) override;

private:
    enum What : std::uint32_t { connected, move_to_target, move_to_initiator };
    struct Way {
        std::vector<std::byte> bytes; ///< from `read` on: first those that have arrived, then the others
        std::size_t read = 0;
        std::size_t arrived = 0;
        std::uint64_t sent = 0; ///< ever
        std::uint64_t came = 0; ///< ever
        bool moving = false;
        bool ends = false; ///< nothing follows what was sent
        std::size_t in_flight() const { return bytes.size() - arrived; }
    };

    void put(Way& way, base::Bytes bytes, std::uint64_t damage_at);
    void start_moving(Way& way, What what);
    std::size_t next_piece(const Way& way, std::uint64_t cut);
    void arrive_at_target();
    void arrive_at_initiator();
    void consume(Way& way, std::size_t n);
    ssize_t give(std::span<const iovec> places);
    void serve_receive();
    void wake_receive();
    bool has_something() const;
    void tell_watch();
    void serve_send();
    ssize_t take(const msghdr& message);

    Kernel& kernel_;
    int family_;
    Peer* peer_ = nullptr;
    Network network_;
    Way to_target_;
    Way to_initiator_;
    bool damage_ = false;
    std::uint64_t damage_from_to_target_ = 0;
    std::uint64_t damage_from_to_initiator_ = 0;
    bool open_ = false; ///< for the initiator: connected and not closed
    bool silent_ = false;
    int error_ = 0;      ///< of the initiator's end
    bool ended_ = false; ///< the initiator sees the end behind what has arrived
    bool abort_on_close_ = false;
    std::size_t low_water_ = 1;
    ring::Op* connecting_ = nullptr;
    ring::Op* receiving_ = nullptr;
    msghdr* receive_message_ = nullptr;
    iovec receive_single_{};
    ring::Op* watching_ = nullptr;
    ring::Op* sending_ = nullptr;
    const msghdr* send_message_ = nullptr;
};

} // namespace iscsi::sim

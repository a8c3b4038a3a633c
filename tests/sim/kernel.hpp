// The kernel below the daemon, simulated: io_uring, TCP and UDP sockets, eventfd and CLOCK_MONOTONIC, on
// virtual time and in memory. The program is linked with these instead of ring/ring.cpp and the few system
// calls that the rooms ring, shard and control make (-Wl,--wrap), so that everything above them - loop,
// stream, link, nexus, lun, session, login, discoveryd - is the very product code. Files are real, and what
// control does on a thread aside (ring/aside.hpp) is done at once: there is no thread to be had. One kernel a
// thread at a time; everything of a schedule happens on its thread. Waiting (Ring::enter) does the next thing
// that is due and moves the clock to it.
#pragma once

#include "ring/op.hpp"
#include "ring/ring.hpp"
#include "sim/datagrams.hpp"
#include "sim/socket.hpp"
#include "sim/stage.hpp"

#include <array>
#include <cstdint>
#include <liburing.h>
#include <memory>
#include <optional>
#include <vector>

namespace iscsi::sim {

class Kernel {
public:
    /// Becomes the kernel of this thread.
    explicit Kernel(Stage& stage);
    Kernel(const Kernel&) = delete;
    Kernel& operator=(const Kernel&) = delete;
    ~Kernel();

    static Kernel* current();
    /// The thread has none any more.
    void leave();

    Stage& stage() { return stage_; }
    /// Whoever connects meets it.
    void listen(Listener& listener) { listener_ = &listener; }
    Listener& listener() { return *listener_; }
    Network network; ///< of connections from now on
    Datagrams datagrams{*this};
    const char* ipv4_address = "192.0.2.2"; ///< the daemon's end of every connection
    const char* ipv6_address = "fd00::2";

    /// `who` happens after `delay`.
    void after(base::Duration delay, Happening& who, std::uint32_t what);
    /// The next wait has nothing to wait for: a deadlock.
    bool stuck() const { return stuck_; }
    std::uint64_t happenings() const { return happenings_; }

    // For sockets.
    /// `flags`: IORING_CQE_F_*.
    void complete(ring::Op& op, int result, std::uint32_t flags = 0) {
        ready_.push_back({&op, {result, flags}});
    }

    // For the system calls and the ring.
    int open_socket(int family);
    int open_datagram_socket();
    /// Of TCP; nullptr for any other descriptor.
    Socket* socket(int fd);
    void wake_mailbox();
    io_uring_sqe* next_sqe();
    void submit();
    /// Those that have something to read by now.
    void read_files();
    bool ready() const { return !ready_.empty(); }
    void wait(base::Deadline deadline);
    struct Ready {
        ring::Op* op;
        ring::Completion completion;
    };
    void take_ready(std::vector<Ready>& out) { out.swap(ready_); }

    static constexpr int first_fd = 1 << 20;
    static constexpr int mailbox_fd = first_fd - 1;

private:
    struct Due {
        base::TimePoint at;
        std::uint32_t number; ///< those of one moment happen in order
        std::uint32_t what;
        Happening* who;
        bool later(const Due& other) const { return at != other.at ? at > other.at : number > other.number; }
    };
    /// A read of a real file that waits (inotify).
    struct FileRead {
        int fd;
        void* room;
        std::size_t bytes;
        ring::Op* op;
    };
    void submit_one(const io_uring_sqe& sqe);
    void cancel(ring::Op& op);

    Stage& stage_;
    Listener* listener_ = nullptr;
    std::vector<Due> due_; ///< a heap, the next on top
    std::uint32_t numbers_ = 0;
    std::uint64_t happenings_ = 0;
    bool stuck_ = false;

    std::vector<std::unique_ptr<Socket>> sockets_; ///< by descriptor; empty for one of UDP
    std::vector<FileRead> file_reads_;
    std::array<io_uring_sqe, 64> sqes_;
    unsigned sqe_count_ = 0;
    std::vector<Ready> ready_;
    ring::Op* mailbox_op_ = nullptr;
    bool mailbox_woken_ = false;
};

} // namespace iscsi::sim

// The fault proxy: listens on a port, connects each initiator that comes to a target, and harms what passes
// as its FaultPlan says. For use in a process: obey() lines and call turn() in a loop; the program in
// proxy_main.cpp is just that. Owns its sockets. One thread.
#pragma once

#include "faults/fault_plan.hpp"
#include "faults/proxy_lane.hpp"

#include <chrono>
#include <cstdint>
#include <list>
#include <memory>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <vector>

namespace iscsi::faults {

/// "127.0.0.1:3260" or "[::1]:3260"; throws std::runtime_error when it is neither.
struct Endpoint {
    explicit Endpoint(const std::string& text);
    sockaddr_storage address{};
    socklen_t length = 0;
};

struct ProxyCounts {
    std::uint64_t connections = 0, resets = 0, refused = 0;
    std::uint64_t bytes_out = 0, bytes_in = 0;
};

class Proxy {
public:
    using Clock = std::chrono::steady_clock;

    Proxy(const Endpoint& listen_at, const Endpoint& target, std::uint64_t seed);
    ~Proxy();
    Proxy(const Proxy&) = delete;
    Proxy& operator=(const Proxy&) = delete;

    /// A line of FaultPlan, or one of: "reset now", "refuse [off]", "target ADDRESS". Gives what is wrong
    /// with it.
    std::optional<std::string> obey(const std::string& line);

    /// Waits for something to do, at most `most`, or until `other` is ready (-1: nobody), and does it. True:
    /// `other` was ready.
    bool turn(std::chrono::milliseconds most, int other = -1);

    /// Of the port that it listens on; useful when 0 was asked for.
    std::uint16_t port() const;
    const ProxyCounts& counts() const { return counts_; }
    std::uint64_t strikes() const { return plan_.strikes(); }
    std::size_t open() const { return pairs_.size(); }

private:
    struct End {
        int fd = -1;
        bool heard_all = false; ///< it sent its FIN
        short events = 0;
    };
    struct Pair {
        Pair(FaultPlan& plan) : out(Way::out, plan, digests), in(Way::in, plan, digests) {}
        End initiator, target;
        bool connecting = true;
        Digests digests;
        Lane out, in;
        Clock::time_point dies = Clock::time_point::max(); ///< of what was left when the other end was reset
    };

    void listen();
    void accept_one();
    void serve(Pair& pair);
    void receive(Pair& pair, End& from, Lane& lane);
    void send(Pair& pair, End& to, Lane& lane);
    void on_error(Pair& pair, End& failed);
    void end_of(Pair& pair, Lane& lane, Ending ending);
    void reset(Pair& pair);
    void orphan(Pair& pair);
    static void close_end(End& end, bool abort);
    std::chrono::milliseconds until_next(std::chrono::milliseconds most) const;

    Endpoint listen_at_, target_;
    FaultPlan plan_;
    ProxyCounts counts_;
    int listener_ = -1;
    bool hurry_ = false;    ///< something was said since the last turn
    std::list<Pair> pairs_; ///< lanes refer to their pair's digests: they stay where they are
    std::vector<std::byte> buffer_ = std::vector<std::byte>(std::size_t{256} * 1024);
};

} // namespace iscsi::faults

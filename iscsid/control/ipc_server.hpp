// The request socket: one JSON line a request, each answered when it is done. Root and the daemon's own user
// may ask for everything. Everybody else is a guest: one request a connection, for the list of sessions,
// which they get without CHAP names, secrets and last errors; few guests at a time, each for a short time,
// and never in the place of a client that may do more. A client that monitors is told what the log is told,
// as far as it reads: what it has no room for is left out, and it is told how much that was. Control's
// thread.
#pragma once

#include "base/limits.hpp"
#include "base/result.hpp"
#include "control/daemon.hpp"
#include "ipc/line_buffer.hpp"
#include "ring/await.hpp"

#include <list>
#include <memory>
#include <optional>
#include <string>

namespace iscsi::control {

/// Leaves of a list of sessions what everybody may know: no CHAP names and secrets, and not the words of a
/// failure, in which a path or a name may stand.
void take_secrets_out(ipc::Reply& reply);

class IpcServer {
public:
    /// Makes the socket, mode 0666: who asks is looked at, see above. Errors: Errc::busy when another daemon
    /// answers on it. Or serves `listening`, which somebody else made and keeps, from now on a descriptor of
    /// this object that blocks: its file is not touched, neither now nor at the end.
    static base::Result<std::unique_ptr<IpcServer>> listen(Daemon& daemon, std::optional<int> listening = {});
    ~IpcServer();

    /// A daemon listens at this socket. Not one that was killed, whose socket the kernel still takes down.
    static bool is_answered(const std::string& path);

    void start() { accepting_clients_.spawn(accept_clients()); }
    /// No new clients; the socket's file is gone, unless it is somebody else's: who connects from the end of
    /// this on waits for the next daemon.
    ring::Task<void> stop_accepting();
    /// Waits until every request was answered, then ends the clients.
    ring::Task<void> close();

private:
    struct Client {
        Client(int descriptor, bool is_guest)
            : fd(descriptor), guest(is_guest),
              lines(is_guest ? base::limits::ipc_guest_line_bytes_max : base::limits::ipc_line_bytes_max) {}
        int fd;
        bool guest;
        ipc::LineBuffer lines;
        std::string unsent;
        std::size_t sending = 0; ///< bytes that are on their way
        bool writing = false;
        bool broken = false; ///< the client does not read any more
        ring::TaskGroup requests;
        ring::TaskGroup writer;
        ring::OpWait* reading = nullptr;
        ring::OpWait* write_op = nullptr;
        std::optional<std::uint64_t> monitor; ///< the request that events are replies to
        std::uint64_t events_lost = 0;        ///< and it was not told of yet
    };

    IpcServer(Daemon& daemon, int fd, std::string path) : daemon_(daemon), fd_(fd), path_(std::move(path)) {}
    ring::Task<void> accept_clients();
    bool has_room(bool guest) const;
    ring::Task<void> serve(int fd, bool guest);
    ring::Task<void> read_requests(Client& client);
    bool take_lines(Client& client);
    void take_line(Client& client, std::string_view line);
    ring::Task<void> answer(Client& client, std::uint64_t id, ipc::Request request);
    void send(Client& client, const std::string& line);
    void give_up(Client& client);
    ring::Task<void> write(Client& client);
    void begin_monitoring(Client& client, std::uint64_t id);
    void end_monitoring(Client& client);
    void publish(const ipc::EventReply& event);
    void tell_of_lost_events(Client& client);

    Daemon& daemon_;
    int fd_;
    std::string path_; ///< empty: not this object's to remove
    bool stopping_ = false;
    ring::OpWait* accepting_ = nullptr;
    ring::TaskGroup accepting_clients_;
    std::list<Client*> clients_;
    ring::TaskGroup tasks_;
};

} // namespace iscsi::control

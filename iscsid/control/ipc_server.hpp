// The request socket: clients that may ask (root, or the daemon's own user), one JSON line a request, each
// answered when it is done. Control's thread.
#pragma once

#include "base/result.hpp"
#include "control/daemon.hpp"
#include "ipc/line_buffer.hpp"
#include "ring/await.hpp"

#include <list>
#include <memory>
#include <string>

namespace iscsi::control {

class IpcServer {
public:
    /// Makes the socket, mode 0600, in a directory of mode 0700. Errors: Errc::busy when another daemon
    /// answers on it.
    static base::Result<std::unique_ptr<IpcServer>> listen(Daemon& daemon);
    ~IpcServer();

    void start() { tasks_.spawn(accept_clients()); }
    /// No new clients; the socket's file is gone.
    void stop_accepting();
    /// Waits until every request was answered, then ends the clients.
    ring::Task<void> close();

private:
    struct Client {
        explicit Client(int descriptor) : fd(descriptor) {}
        int fd;
        ipc::LineBuffer lines;
        std::string unsent;
        bool writing = false;
        bool broken = false; ///< the client does not read any more
        ring::TaskGroup requests;
        ring::TaskGroup writer;
        ring::OpWait* reading = nullptr;
    };

    IpcServer(Daemon& daemon, int fd, std::string path) : daemon_(daemon), fd_(fd), path_(std::move(path)) {}
    ring::Task<void> accept_clients();
    ring::Task<void> serve(int fd);
    ring::Task<void> read_requests(Client& client);
    bool take_lines(Client& client);
    ring::Task<void> answer(Client& client, std::uint64_t id, ipc::Request request);
    void send(Client& client, const std::string& line);
    void give_up(Client& client);
    ring::Task<void> write(Client& client);

    Daemon& daemon_;
    int fd_;
    std::string path_;
    bool stopping_ = false;
    ring::OpWait* accepting_ = nullptr;
    std::list<Client*> clients_;
    ring::TaskGroup tasks_;
};

} // namespace iscsi::control

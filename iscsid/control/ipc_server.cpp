#include "control/ipc_server.hpp"

#include "base/limits.hpp"
#include "control/log.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

namespace iscsi::control {
namespace {

base::Result<sockaddr_un> address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        return base::fail(base::Errc::invalid, "the path of the request socket is too long: " + path);
    }
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    return address;
}

/// True when a daemon answers on the socket. For a moment after a daemon was killed its socket still takes
/// connections, because the kernel takes an io_uring down after the process has ended: who listens is asked.
bool somebody_listens(const sockaddr_un& address) {
    int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool listens = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    ucred listener{};
    socklen_t bytes = sizeof listener;
    if (listens && ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &listener, &bytes) == 0 && listener.pid > 0) {
        listens = ::kill(listener.pid, 0) == 0 || errno != ESRCH;
    }
    ::close(fd);
    return listens;
}

/// Root, or whoever runs this daemon.
bool may_ask(int fd) {
    ucred peer{};
    socklen_t bytes = sizeof peer;
    return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 &&
           (peer.uid == 0 || peer.uid == ::geteuid());
}

tl::unexpected<base::Error> call_failed(const std::string& what) {
    return base::fail(base::Errc::internal, what + ": " + std::strerror(errno));
}

} // namespace

base::Result<std::unique_ptr<IpcServer>> IpcServer::listen(Daemon& daemon) {
    std::string path = daemon.paths().ipc_socket();
    auto address = address_of(path);
    if (!address) {
        return base::fail(std::move(address.error()));
    }
    if (somebody_listens(*address)) {
        return base::fail(base::Errc::busy, "another iscsid is running");
    }
    ::unlink(path.c_str());
    int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return call_failed("socket");
    }
    std::unique_ptr<IpcServer> server(new IpcServer(daemon, fd, path));
    mode_t before = ::umask(0177);
    int bound = ::bind(fd, reinterpret_cast<const sockaddr*>(&*address), sizeof *address);
    ::umask(before);
    constexpr int backlog = 128;
    if (bound != 0 || ::listen(fd, backlog) != 0) {
        return call_failed(path);
    }
    return server;
}

IpcServer::~IpcServer() {
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

void IpcServer::stop_accepting() {
    stopping_ = true;
    ::unlink(path_.c_str());
    if (accepting_ != nullptr) {
        accepting_->cancel();
    }
}

ring::Task<void> IpcServer::close() {
    for (Client* client : clients_) {
        if (client->reading != nullptr) {
            client->reading->cancel();
        }
    }
    co_await tasks_.join();
}

ring::Task<void> IpcServer::accept_clients() {
    while (!stopping_) {
        ring::OpWait accepting(daemon_.loop());
        io_uring_prep_accept(accepting.sqe(), fd_, nullptr, nullptr, SOCK_CLOEXEC);
        accepting_ = &accepting;
        int fd = co_await accepting;
        accepting_ = nullptr;
        if (fd < 0) {
            if (!stopping_) {
                // Out of descriptors, most likely: not in a busy loop.
                ring::Sleep pause(daemon_.loop(), daemon_.loop().now() + std::chrono::milliseconds(100));
                co_await pause;
            }
            continue;
        }
        if (stopping_ || clients_.size() >= base::limits::ipc_clients_max) {
            ::close(fd);
            continue;
        }
        tasks_.spawn(serve(fd));
    }
}

ring::Task<void> IpcServer::serve(int fd) {
    Client client(fd);
    clients_.push_back(&client);
    co_await read_requests(client);
    co_await client.requests.join();
    co_await client.writer.join();
    clients_.remove(&client);
    ::close(fd);
}

ring::Task<void> IpcServer::read_requests(Client& client) {
    bool allowed = may_ask(client.fd);
    std::array<char, 16384> buffer;
    while (!stopping_ && !client.broken) {
        ring::OpWait reading(daemon_.loop());
        io_uring_prep_recv(reading.sqe(), client.fd, buffer.data(), buffer.size(), 0);
        client.reading = &reading;
        int received = co_await reading;
        client.reading = nullptr;
        if (received <= 0) {
            co_return;
        }
        if (!allowed) {
            ipc::ErrorReply denied;
            denied.error.code = base::Errc::access_denied;
            std::string_view line(buffer.data(), static_cast<std::size_t>(received));
            send(client,
                 ipc::encode(ipc::id_of(line.substr(0, line.find('\n'))), ipc::Reply(std::move(denied))));
            co_return;
        }
        client.lines.append({buffer.data(), static_cast<std::size_t>(received)});
        if (!take_lines(client)) {
            co_return;
        }
    }
}

bool IpcServer::take_lines(Client& client) {
    for (;;) {
        auto line = client.lines.next();
        if (!line) {
            log::warning("a client's request is too long");
            return false;
        }
        if (!*line) {
            return true;
        }
        auto decoded = ipc::decode_request(**line);
        if (!decoded) {
            ipc::ErrorReply refused{std::move(decoded.error())};
            send(client, ipc::encode(ipc::id_of(**line), ipc::Reply(std::move(refused))));
            continue;
        }
        client.requests.spawn(answer(client, decoded->id, std::move(decoded->request)));
    }
}

ring::Task<void> IpcServer::answer(Client& client, std::uint64_t id, ipc::Request request) {
    ipc::Reply reply = co_await daemon_.handle(std::move(request));
    send(client, ipc::encode(id, reply));
}

void IpcServer::send(Client& client, const std::string& line) {
    if (client.unsent.size() > base::limits::ipc_line_bytes_max) {
        give_up(client); // asks and does not read
    }
    if (client.broken) {
        return;
    }
    client.unsent += line;
    if (!client.writing) {
        client.writing = true;
        client.writer.spawn(write(client));
    }
}

/// Nothing more is written to the client or read from it; its requests end by themselves.
void IpcServer::give_up(Client& client) {
    client.broken = true;
    client.unsent.clear();
    if (client.reading != nullptr) {
        client.reading->cancel();
    }
}

ring::Task<void> IpcServer::write(Client& client) {
    while (!client.unsent.empty() && !client.broken) {
        std::string sending = std::exchange(client.unsent, {});
        for (std::size_t sent = 0; sent < sending.size();) {
            ring::OpWait writing(daemon_.loop());
            io_uring_prep_send(writing.sqe(), client.fd, sending.data() + sent, sending.size() - sent,
                               MSG_NOSIGNAL);
            // A client that asks and never reads must not keep the daemon from stopping.
            writing.expire_at(daemon_.loop().now() + std::chrono::seconds(30));
            int taken = co_await writing;
            if (taken <= 0) {
                give_up(client);
                break;
            }
            sent += static_cast<std::size_t>(taken);
        }
    }
    client.writing = false;
}

} // namespace iscsi::control

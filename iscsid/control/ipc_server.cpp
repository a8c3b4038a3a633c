#include "control/ipc_server.hpp"

#include "base/limits.hpp"
#include "base/wiped.hpp"
#include "control/log.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
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

/// For a moment after a daemon was killed its socket still takes connections, because the kernel takes an
/// io_uring down after the process has ended: who listens is asked.
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

/// How long a guest may take for its request.
constexpr base::Duration guest_time = std::chrono::seconds(10);

/// Neither root nor whoever runs this daemon.
bool is_guest(int fd) {
    ucred peer{};
    socklen_t bytes = sizeof peer;
    return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0 ||
           (peer.uid != 0 && peer.uid != ::geteuid());
}

tl::unexpected<base::Error> call_failed(const std::string& what) {
    return base::fail(base::Errc::internal, what + ": " + std::strerror(errno));
}

} // namespace

void take_secrets_out(ipc::Reply& reply) {
    if (auto* list = std::get_if<ipc::SessionsReply>(&reply)) {
        for (ipc::SessionSnapshot& session : list->sessions) {
            session.chap = {};
            session.last_error.clear(); // may name the file of a secret
            for (ipc::QueueSnapshot& queue : session.queues) {
                queue.last_error.clear();
            }
        }
    }
}

base::Result<std::unique_ptr<IpcServer>> IpcServer::listen(Daemon& daemon, std::optional<int> listening) {
    if (listening) {
        std::unique_ptr<IpcServer> server(new IpcServer(daemon, *listening, {}));
        // At one that does not block the ring would not wait for clients.
        const int flags = ::fcntl(*listening, F_GETFL);
        if (flags < 0 || ::fcntl(*listening, F_SETFL, flags & ~O_NONBLOCK) != 0) {
            return call_failed("fcntl");
        }
        return server;
    }
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
    // Not by the umask, which other threads would create files with.
    if (bound != 0 || ::chmod(path.c_str(), 0666) != 0 || ::listen(fd, backlog) != 0) {
        return call_failed(path);
    }
    return server;
}

bool IpcServer::is_answered(const std::string& path) {
    auto address = address_of(path);
    return address && somebody_listens(*address);
}

IpcServer::~IpcServer() {
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

ring::Task<void> IpcServer::stop_accepting() {
    stopping_ = true;
    if (!path_.empty()) {
        ::unlink(path_.c_str());
    }
    if (accepting_ != nullptr) {
        accepting_->cancel();
    }
    co_await accepting_clients_.join();
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
        bool guest = is_guest(fd);
        if (stopping_ || !has_room(guest)) {
            ::close(fd);
            continue;
        }
        tasks_.spawn(serve(fd, guest));
    }
}

bool IpcServer::has_room(bool guest) const {
    auto present = std::ranges::count(clients_, guest, &Client::guest);
    return std::cmp_less(present, guest ? base::limits::ipc_guests_max : base::limits::ipc_clients_max);
}

ring::Task<void> IpcServer::serve(int fd, bool guest) {
    Client client(fd, guest);
    clients_.push_back(&client);
    co_await read_requests(client);
    end_monitoring(client);
    co_await client.requests.join();
    co_await client.writer.join();
    clients_.remove(&client);
    ::close(fd);
}

ring::Task<void> IpcServer::read_requests(Client& client) {
    std::array<char, 16384> buffer;
    const base::TimePoint guests_end = daemon_.loop().now() + guest_time;
    while (!stopping_ && !client.broken) {
        ring::OpWait reading(daemon_.loop());
        io_uring_prep_recv(reading.sqe(), client.fd, buffer.data(), buffer.size(), 0);
        if (client.guest) {
            reading.expire_at(guests_end);
        }
        client.reading = &reading;
        int received = co_await reading;
        client.reading = nullptr;
        if (received <= 0) {
            co_return;
        }
        client.lines.append({buffer.data(), static_cast<std::size_t>(received)});
        base::wipe(std::as_writable_bytes(std::span(buffer).first(static_cast<std::size_t>(received))));
        if (!take_lines(client)) {
            co_return;
        }
    }
}

bool IpcServer::take_lines(Client& client) {
    for (;;) {
        auto line = client.lines.next();
        if (!line) {
            if (!client.guest) { // who could fill the log
                log::warning("a client's request is too long");
            }
            return false;
        }
        if (!*line) {
            return true;
        }
        take_line(client, **line);
        if (client.guest) {
            return false;
        }
    }
}

void IpcServer::take_line(Client& client, std::string_view line) {
    auto decoded = ipc::decode_request(line);
    if (!decoded) {
        ipc::ErrorReply refused{std::move(decoded.error())};
        send(client, ipc::encode(ipc::id_of(line), ipc::Reply(std::move(refused))));
        return;
    }
    if (client.guest && !std::holds_alternative<ipc::Sessions>(decoded->request)) {
        ipc::ErrorReply denied;
        denied.error.code = base::Errc::access_denied;
        // Without the request's id: it is the answer to all that came with it, too.
        send(client, ipc::encode(0, ipc::Reply(std::move(denied))));
        return;
    }
    if (std::holds_alternative<ipc::Monitor>(decoded->request)) {
        begin_monitoring(client, decoded->id);
        return;
    }
    client.requests.spawn(answer(client, decoded->id, std::move(decoded->request)));
}

ring::Task<void> IpcServer::answer(Client& client, std::uint64_t id, ipc::Request request) {
    ipc::Reply reply = co_await daemon_.handle(std::move(request));
    if (client.guest) {
        take_secrets_out(reply);
    }
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
            client.sending = sending.size() - sent;
            ring::OpWait writing(daemon_.loop());
            io_uring_prep_send(writing.sqe(), client.fd, sending.data() + sent, client.sending, MSG_NOSIGNAL);
            // A client that asks and never reads must not keep the daemon from stopping. One that monitors
            // may stop for as long as it likes: at the end it is not waited for.
            if (!client.monitor) {
                writing.expire_at(daemon_.loop().now() + std::chrono::seconds(30));
            }
            client.write_op = &writing;
            int taken = co_await writing;
            client.write_op = nullptr;
            if (taken <= 0) {
                give_up(client);
                break;
            }
            sent += static_cast<std::size_t>(taken);
        }
        client.sending = 0;
        tell_of_lost_events(client);
    }
    client.writing = false;
}

void IpcServer::begin_monitoring(Client& client, std::uint64_t id) {
    const auto monitors =
        std::ranges::count_if(clients_, [](const Client* other) { return other->monitor.has_value(); });
    if (!client.monitor && std::cmp_greater_equal(monitors, base::limits::ipc_monitors_max)) {
        ipc::ErrorReply refused{{base::Errc::busy, "there are as many monitors as there may be"}};
        send(client, ipc::encode(id, ipc::Reply(std::move(refused))));
        return;
    }
    client.monitor = id;
    log::set_listener([this](const ipc::EventReply& event) { publish(event); });
    const std::string words = fmt::format("iscsid {}, pid {}", ISCSI_VERSION, ::getpid());
    const log::About about{ipc::Event::monitoring};
    send(client, ipc::encode(id, ipc::Reply(log::event_of(log::Level::info, about, words))));
}

/// What is on its way to it is not waited for.
void IpcServer::end_monitoring(Client& client) {
    if (!std::exchange(client.monitor, std::nullopt)) {
        return;
    }
    if (client.write_op != nullptr) {
        client.write_op->cancel();
        give_up(client);
    }
    if (std::ranges::none_of(clients_, [](const Client* other) { return other->monitor.has_value(); })) {
        log::set_listener({});
    }
}

void IpcServer::publish(const ipc::EventReply& event) {
    for (Client* client : clients_) {
        if (!client->monitor) {
            continue;
        }
        const bool has_room =
            client->unsent.size() + client->sending < base::limits::ipc_monitor_backlog_bytes;
        // What comes behind a gap waits until the gap was told of.
        if (client->events_lost != 0 || !has_room) {
            ++client->events_lost;
            continue;
        }
        send(*client, ipc::encode(*client->monitor, ipc::Reply(event)));
    }
}

/// Once all that was kept for it is read.
void IpcServer::tell_of_lost_events(Client& client) {
    if (!client.monitor || client.events_lost == 0 || !client.unsent.empty()) {
        return;
    }
    const std::uint64_t lost = std::exchange(client.events_lost, 0);
    const log::About about{ipc::Event::events_lost};
    auto event = log::event_of(log::Level::warning, about, fmt::format("{} events were left out", lost));
    event.lost = lost;
    client.unsent += ipc::encode(*client.monitor, ipc::Reply(std::move(event)));
}

} // namespace iscsi::control

#include "client.hpp"

#include "messages.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace iscsi::adm {
namespace {

base::Error error_of_connect(int error_number) {
    switch (error_number) {
    case ENOENT:
    case ENOTDIR:
    case ECONNREFUSED:
        return base::Error{base::Errc::daemon_not_running, {}};
    case EACCES:
    case EPERM:
        return base::Error{base::Errc::access_denied, {}};
    default:
        return base::Error{base::Errc::daemon_communication,
                           fmt::format("can not connect to iSCSI daemon ({})!", error_number)};
    }
}

base::Error broken_connection(std::string_view what) {
    return base::Error{base::Errc::daemon_communication, fmt::format("the connection to iscsid {}", what)};
}

/// After the startup command has ended, the daemon may still be on its way to its socket.
base::Result<Client> connect_patiently(const records::Paths& paths) {
    constexpr int attempts = 6;
    auto pause = std::chrono::milliseconds(50);
    for (int attempt = 1;; ++attempt) {
        auto client = Client::connect(paths);
        if (client || client.error().code != base::Errc::daemon_not_running || attempt == attempts) {
            return client;
        }
        std::this_thread::sleep_for(pause);
        pause *= 2;
    }
}

/// Runs a shell command to its end; stdout, which belongs to our own results, is stderr for it.
bool runs_well(const std::string& command) {
    constexpr const char* shell = "/bin/sh";
    std::string script = command;
    std::array<char*, 4> words{const_cast<char*>("sh"), const_cast<char*>("-c"), script.data(), nullptr};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
    pid_t child = -1;
    int failed = posix_spawn(&child, shell, &actions, nullptr, words.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    int status = -1;
    while (failed == 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return failed == 0 && status == 0;
}

} // namespace

base::Error no_answer_for(std::chrono::seconds within) {
    return base::Error{base::Errc::request_timed_out,
                       fmt::format("iscsid has not answered for {} s", within.count())};
}

Client::Client(Client&& other) noexcept {
    *this = std::move(other);
}

Client& Client::operator=(Client&& other) noexcept {
    std::swap(socket_, other.socket_);
    std::swap(last_id_, other.last_id_);
    std::swap(unsent_, other.unsent_);
    std::swap(sent_, other.sent_);
    std::swap(received_, other.received_);
    std::swap(replies_, other.replies_);
    std::swap(output_, other.output_);
    std::swap(closed_, other.closed_);
    std::swap(broken_, other.broken_);
    return *this;
}

Client::~Client() {
    if (socket_ != -1) {
        close(socket_);
    }
}

base::Result<Client> Client::connect(const records::Paths& paths,
                                     std::optional<std::chrono::seconds> within) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::string path = paths.ipc_socket();
    if (path.size() >= sizeof address.sun_path) {
        return base::fail(base::Errc::daemon_communication,
                          fmt::format("{} is too long for the name of a socket", path));
    }
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket == -1) {
        return base::fail(error_of_connect(errno));
    }
    Client client(socket);
    if (within) {
        const timeval longest{within->count(), 0};
        if (setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &longest, sizeof longest) != 0) {
            return base::fail(error_of_connect(errno));
        }
    }
    // Blocking, so that a full backlog waits its turn; non-blocking from then on.
    if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return base::fail(within && errno == EAGAIN ? no_answer_for(*within) : error_of_connect(errno));
    }
    return client;
}

std::uint64_t Client::post(const ipc::Request& request) {
    unsent_ += ipc::encode(++last_id_, request);
    return last_id_;
}

base::Result<ipc::Reply> Client::wait(std::uint64_t id) {
    for (;;) {
        if (auto found = replies_.find(id); found != replies_.end()) {
            ipc::Reply reply = std::move(found->second.front());
            found->second.pop_front();
            if (found->second.empty()) {
                replies_.erase(found);
            }
            if (auto* error = std::get_if<ipc::ErrorReply>(&reply)) {
                return base::fail(std::move(error->error));
            }
            return reply;
        }
        if (broken_) {
            return base::fail(*broken_);
        }
        if (auto done = exchange(); !done) {
            broken_ = done.error();
        }
    }
}

std::optional<std::size_t> Client::wait_any(std::span<const std::uint64_t> ids,
                                            std::optional<std::chrono::steady_clock::time_point> deadline) {
    for (;;) {
        for (std::size_t i = 0; i < ids.size(); ++i) {
            if (broken_ || replies_.contains(ids[i])) {
                return i;
            }
        }
        int milliseconds = -1;
        if (deadline) {
            const auto left = *deadline - std::chrono::steady_clock::now();
            if (left <= left.zero()) {
                return std::nullopt;
            }
            milliseconds = static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(left).count());
        }
        if (auto done = exchange(milliseconds); !done) {
            broken_ = done.error();
        }
    }
}

std::size_t Client::successes() const {
    return static_cast<std::size_t>(std::ranges::count_if(replies_, [](const auto& entry) {
        return !std::holds_alternative<ipc::ErrorReply>(entry.second.front());
    }));
}

base::Result<void> Client::flush() {
    while (sent_ != unsent_.size()) {
        if (auto done = exchange(); !done) {
            return done;
        }
    }
    return {};
}

base::Result<void> Client::exchange(int milliseconds) {
    bool sending = sent_ != unsent_.size();
    // Without a descriptor poll() passes over the second.
    std::array<pollfd, 2> both{
        {{socket_, static_cast<short>(sending ? POLLIN | POLLOUT : POLLIN), 0}, {output_, 0, 0}}};
    const pollfd& waiting = both.front();
    if (poll(both.data(), both.size(), milliseconds) < 0 && errno != EINTR) {
        return base::fail(broken_connection("cannot be waited for"));
    }
    if ((both.back().revents & (POLLERR | POLLHUP | POLLNVAL)) != 0) {
        return base::fail(base::Errc::cancelled, "nobody reads the output any more");
    }
    if ((waiting.revents & POLLOUT) != 0) {
        if (auto sent = send_some(); !sent) {
            return sent;
        }
    }
    if ((waiting.revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
        return receive_some();
    }
    return {};
}

base::Result<void> Client::send_some() {
    ssize_t n = send(socket_, unsent_.data() + sent_, unsent_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
        // A daemon that refuses us answers before it hangs up: read that first.
        if (errno == EPIPE) {
            sent_ = unsent_.size();
            return {};
        }
        if (errno == EAGAIN || errno == EINTR) {
            return {};
        }
        return base::fail(broken_connection("broke while a request was sent"));
    }
    sent_ += static_cast<std::size_t>(n);
    if (sent_ == unsent_.size()) {
        unsent_.clear();
        sent_ = 0;
    }
    return {};
}

base::Result<void> Client::receive_some() {
    std::array<char, 65536> bytes;
    ssize_t n = recv(socket_, bytes.data(), bytes.size(), MSG_DONTWAIT);
    closed_ = n == 0 || (n < 0 && errno == ECONNRESET);
    if (n == 0) {
        return base::fail(broken_connection("was closed before the answer came"));
    }
    if (n < 0) {
        if (errno == EAGAIN || errno == EINTR) {
            return {};
        }
        return base::fail(broken_connection("broke before the answer came"));
    }
    received_.append(std::string_view(bytes.data(), static_cast<std::size_t>(n)));
    return take_lines();
}

base::Result<void> Client::take_lines() {
    for (;;) {
        auto line = received_.next();
        if (!line) {
            return base::fail(broken_connection("carried too long an answer"));
        }
        if (!*line) {
            return {};
        }
        auto reply = ipc::decode_reply(**line);
        if (!reply) {
            return base::fail(base::Errc::daemon_communication,
                              fmt::format("iscsid's answer cannot be read: {}", reply.error().message()));
        }
        // An error without a request's id is about the connection, and all that is to come.
        const auto* error = std::get_if<ipc::ErrorReply>(&reply->reply);
        if (reply->id == 0 && error != nullptr) {
            return base::fail(error->error);
        }
        replies_[reply->id].push_back(std::move(reply->reply));
    }
}

base::Result<Client> connect_or_start(const records::Store& store) {
    auto client = Client::connect(store.paths());
    if (!client && client.error().code == base::Errc::daemon_not_running && store.paths().root().empty()) {
        records::Warnings warnings;
        auto config = store.config(warnings);
        std::string command = config ? config->daemon.text(records::Key::daemon_startup) : "";
        if (!command.empty() && runs_well(command)) {
            client = connect_patiently(store.paths());
        }
    }
    if (!client && client.error().code == base::Errc::daemon_not_running) {
        complain("can not connect to iSCSI daemon ({})!", ECONNREFUSED);
    }
    return client;
}

base::Result<std::vector<ipc::SessionSnapshot>> fetch_sessions(const records::Paths& paths,
                                                               std::chrono::seconds within) {
    const auto give_up_at = std::chrono::steady_clock::now() + within;
    auto client = Client::connect(paths, within);
    if (!client) {
        if (client.error().code == base::Errc::daemon_not_running) {
            return std::vector<ipc::SessionSnapshot>{};
        }
        return base::fail(client.error());
    }
    const std::array ids{client->post(ipc::Sessions{})};
    if (!client->wait_any(ids, give_up_at)) {
        return base::fail(no_answer_for(within));
    }
    auto reply = expect<ipc::SessionsReply>(client->wait(ids[0]));
    if (!reply) {
        return base::fail(reply.error());
    }
    return std::move(reply->sessions);
}

} // namespace iscsi::adm

#include "exporter_listen.hpp"

#include "base/text.hpp"
#include "records/names.hpp"

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>
#include <utility>

namespace iscsi::tools {
namespace {

constexpr int backlog = 16;
constexpr std::uint32_t loopback_net = 127;
constexpr unsigned net_shift = 24;

tl::unexpected<base::Error> invalid(std::string what) {
    return base::fail(base::Errc::invalid, std::move(what));
}

tl::unexpected<base::Error> cannot_listen(std::string_view where) {
    return invalid(fmt::format("cannot listen at {}: {}", base::printable(where), std::strerror(errno)));
}

bool is_loopback(const in_addr& address) {
    return ntohl(address.s_addr) >> net_shift == loopback_net;
}

/// An address of any family.
struct Address {
    sockaddr_storage storage{};
    socklen_t bytes = 0;

    sockaddr* generic() { return reinterpret_cast<sockaddr*>(&storage); }
    sockaddr_in* v4() { return reinterpret_cast<sockaddr_in*>(&storage); }
    sockaddr_in6* v6() { return reinterpret_cast<sockaddr_in6*>(&storage); }

    bool is_of_this_machine() {
        switch (storage.ss_family) {
        case AF_UNIX:
            return true;
        case AF_INET:
            return is_loopback(v4()->sin_addr);
        case AF_INET6:
            return IN6_IS_ADDR_LOOPBACK(&v6()->sin6_addr);
        default:
            return false;
        }
    }
};

/// None: the text is no numeric address of loopback.
Address loopback_address(const records::Portal& portal) {
    Address made;
    if (::inet_pton(AF_INET, portal.address.c_str(), &made.v4()->sin_addr) == 1) {
        made.storage.ss_family = AF_INET;
        made.v4()->sin_port = htons(portal.port);
        made.bytes = sizeof(sockaddr_in);
    } else if (::inet_pton(AF_INET6, portal.address.c_str(), &made.v6()->sin6_addr) == 1) {
        made.storage.ss_family = AF_INET6;
        made.v6()->sin6_port = htons(portal.port);
        made.bytes = sizeof(sockaddr_in6);
    }
    return made;
}

bool somebody_listens(const sockaddr_un& address) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const bool listens = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
                         errno == EAGAIN; // its backlog is full
    ::close(fd);
    return listens;
}

} // namespace

Listening::Listening(Listening&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::exchange(other.path_, {})) {}

Listening::~Listening() {
    if (!path_.empty()) {
        ::unlink(path_.c_str());
    }
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

base::Result<Listening> listen_at_path(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path) {
        return invalid("a socket's path has 1 to 107 bytes");
    }
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    struct stat there {};
    if (::lstat(path.c_str(), &there) == 0) {
        if (!S_ISSOCK(there.st_mode)) {
            return invalid(fmt::format("{} is no socket", base::printable(path)));
        }
        if (somebody_listens(address)) {
            return base::fail(base::Errc::busy,
                              fmt::format("somebody listens at {} already", base::printable(path)));
        }
        ::unlink(path.c_str());
    }
    Listening made(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (::bind(made.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return cannot_listen(path);
    }
    made.remove_at_end(path);
    if (::chmod(path.c_str(), 0666) != 0 || ::listen(made.fd(), backlog) != 0) {
        return cannot_listen(path);
    }
    return made;
}

base::Result<Listening> listen_at_loopback(std::string_view text) {
    auto portal = records::parse_portal(text, 0);
    Address address = portal ? loopback_address(*portal) : Address();
    if (!portal || portal->port == 0 || portal->tpgt != records::tpgt_unknown ||
        !address.is_of_this_machine()) {
        return invalid(
            fmt::format("{} is not a loopback address and a port, as 127.0.0.1:9891 or [::1]:9891 are",
                        base::printable(text)));
    }
    Listening made(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int on = 1;
    if (made.fd() < 0 || ::setsockopt(made.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        ::bind(made.fd(), address.generic(), address.bytes) != 0 || ::listen(made.fd(), backlog) != 0) {
        return cannot_listen(text);
    }
    return made;
}

base::Result<std::vector<Listening>> given_by_service_manager() {
    constexpr int take_out_of_environment = 1;
    const int count = ::sd_listen_fds(take_out_of_environment); // which makes them close-on-exec, too
    if (count < 0) {
        return invalid(fmt::format("LISTEN_FDS or LISTEN_PID: {}", std::strerror(-count)));
    }
    std::vector<Listening> given;
    for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + count; ++fd) {
        given.emplace_back(fd);
        Address address;
        address.bytes = sizeof address.storage;
        if (::sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0 ||
            ::getsockname(fd, address.generic(), &address.bytes) != 0 || !address.is_of_this_machine()) {
            return invalid(
                "what the service manager gave is neither a Unix socket nor one of a loopback address "
                "that listens");
        }
    }
    return given;
}

} // namespace iscsi::tools

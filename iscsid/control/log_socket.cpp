#include "control/log_socket.hpp"

#include <cerrno>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

namespace iscsi::control {

LogSocket::~LogSocket() {
    close();
}

void LogSocket::close() {
    if (fd_ >= 0) {
        ::close(std::exchange(fd_, -1));
    }
}

bool LogSocket::connect() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path_.size() >= sizeof address.sun_path) {
        return false;
    }
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    fd_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd_ >= 0 && ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        close();
    }
    return fd_ >= 0;
}

bool LogSocket::is_there() {
    return fd_ >= 0 || connect();
}

LogSocket::Outcome LogSocket::send(std::string_view datagram) {
    for (int tries = 0; tries < 2; ++tries) {
        if (fd_ < 0 && !connect()) {
            return Outcome::gone;
        }
        if (::send(fd_, datagram.data(), datagram.size(), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
            return Outcome::sent;
        }
        if (errno == EAGAIN || errno == ENOBUFS || errno == EMSGSIZE) {
            return Outcome::full;
        }
        close(); // a logger that was started anew
    }
    return Outcome::gone;
}

} // namespace iscsi::control

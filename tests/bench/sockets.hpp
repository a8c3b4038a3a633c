// Blocking TCP sockets of the null target and the loops. A Socket closes what it holds. Functions that
// set up die on failure; those that move bytes tell of it. Any thread.
#pragma once

#include "base/bytes.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <sys/uio.h>
#include <utility>

namespace iscsi::bench {

class Socket {
public:
    explicit Socket(int fd) : fd_(fd) {}
    Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Socket& operator=(Socket&&) = delete;
    ~Socket();
    int fd() const { return fd_; }
    /// Gives the descriptor away.
    int release() { return std::exchange(fd_, -1); }

private:
    int fd_;
};

Socket connect_to(const std::string& address, std::uint16_t port);
/// 127.0.0.1 and no other address; port 0 lets the kernel pick.
Socket listen_on_loopback(std::uint16_t port);
Socket accept_from(int listener);
std::uint16_t local_port(int fd);

/// Waits for bytes and gives how many came; 0 when there will be none.
std::size_t receive_some(int fd, base::MutableBytes place);
/// Sends everything, changing the iovecs as it goes; false when the connection is gone.
bool send_all(int fd, std::span<iovec> pieces);

} // namespace iscsi::bench

// Where NBD clients of a test come to.
#pragma once

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace iscsi::test {

/// A listening socket in the abstract name space, and how to connect to it.
class NbdListener {
public:
    NbdListener() : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        address_.sun_family = AF_UNIX;
        REQUIRE(::bind(fd_, reinterpret_cast<sockaddr*>(&address_), sizeof address_.sun_family) ==
                0); // autobind
        REQUIRE(::getsockname(fd_, reinterpret_cast<sockaddr*>(&address_), &length_) == 0);
        REQUIRE(::listen(fd_, 128) == 0);
    }
    int fd() const { return fd_; }
    int connect() const {
        const int client = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (::connect(client, reinterpret_cast<const sockaddr*>(&address_), length_) != 0) {
            ::close(client);
            return -1;
        }
        ::fcntl(client, F_SETFL, O_NONBLOCK);
        return client;
    }

private:
    int fd_;
    sockaddr_un address_{};
    socklen_t length_ = sizeof address_;
};

} // namespace iscsi::test

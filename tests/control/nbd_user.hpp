// A user of an export of the daemon under test: see UnitsBench. Owns its connection; the test's thread.
#pragma once

#include "base/endian.hpp"
#include "control/units_bench.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

namespace iscsi::test {

/// An NBD client without a thread: one request of a block at a time, at the beginning of the unit.
class NbdUser {
public:
    enum class Type : std::uint16_t { read = 0, write = 1, flush = 3 };

    NbdUser(UnitsBench& bench, const std::string& uri)
        : bench_(bench), fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        uri.copy(address.sun_path, sizeof address.sun_path - 1, uri.find("socket=") + 7);
        REQUIRE(::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
        take(18);
        put(base::Be32(3));
        put(base::Be64(0x49484156454f5054));
        put(base::Be32(1)); // NBD_OPT_EXPORT_NAME
        put(base::Be32(0));
        take(10);
    }
    ~NbdUser() { ::close(fd_); }
    NbdUser(const NbdUser&) = delete;
    NbdUser& operator=(const NbdUser&) = delete;

    void start(Type type) {
        type_ = type;
        put(base::Be32(0x25609513));
        put(base::Be16(0));
        put(base::Be16(static_cast<std::uint16_t>(type)));
        put(base::Be64(7));
        put(base::Be64(0));
        put(base::Be32(type == Type::flush ? 0 : 512));
        if (type == Type::write) {
            const std::array<char, 512> block{42};
            put(block);
        }
    }
    bool answered() const {
        char byte = 0;
        return ::recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
    }
    /// The error in the answer.
    int finish() {
        const std::string head = take(16);
        const int error_number = std::to_integer<int>(std::byte(head[7]));
        if (error_number == 0 && type_ == Type::read) {
            take(512);
        }
        return error_number;
    }
    int execute(Type type) {
        start(type);
        return finish();
    }

private:
    void put(const auto& what) { REQUIRE(::send(fd_, &what, sizeof what, MSG_NOSIGNAL) == sizeof what); }
    std::string take(std::size_t bytes) {
        std::string all(bytes, '\0');
        std::size_t got = 0;
        bench_.fixture.run_until([&] {
            const ssize_t n = ::recv(fd_, all.data() + got, bytes - got, MSG_DONTWAIT);
            got += static_cast<std::size_t>(std::max<ssize_t>(n, 0));
            return got == bytes;
        });
        return all;
    }

    UnitsBench& bench_;
    int fd_;
    Type type_ = Type::read; ///< of the last request
};

} // namespace iscsi::test

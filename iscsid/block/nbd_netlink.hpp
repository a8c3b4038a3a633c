// The kernel's nbd driver, asked over generic netlink: what to connect, to change and to disconnect. Every
// call blocks, and some wait for I/O in progress while they hold a lock of the whole machine's generic
// netlink (a new size, Linux 6.9 and later): call them on a thread of their own (ring::Aside), never on one
// that serves I/O. One thread at a time. Source: Linux 6.1 and 6.12, drivers/block/nbd.c.
#pragma once

#include "base/result.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

struct nl_sock;

namespace iscsi::block {

class NbdNetlink {
public:
    /// A device that is to be.
    struct Connection {
        std::uint32_t index = 0;
        std::uint64_t size_bytes = 0;
        std::uint32_t block_bytes = 512;
        std::uint64_t server_flags = 0;
        std::chrono::seconds dead_timeout{
            0};              ///< how long requests wait for give_socket() when the socket died
        std::string backend; ///< the mark that the kernel keeps, and asks for, as long as the device is
        int socket = -1;     ///< the kernel's end; the caller still closes its descriptor
    };
    struct Status {
        std::uint32_t index = 0;
        bool connected = false; ///< or merely open
    };

    /// Errors: not_supported (no driver, or none that can be reached from here), access_denied.
    static base::Result<NbdNetlink> open();

    NbdNetlink(NbdNetlink&&) noexcept;
    NbdNetlink& operator=(NbdNetlink&&) noexcept;
    ~NbdNetlink();

    /// Makes /dev/nbdN where there is none, and its users may begin. It goes with its disconnection. Requests
    /// never time out. Errors: busy (that index is in use), invalid (it is just going away), access_denied.
    base::Result<void> connect(const Connection& connection);
    /// Takes the device from its users; what is in progress fails. Whose device it is is not asked.
    base::Result<void> disconnect(std::uint32_t index);
    /// Serves the device with another socket, if the one before has died; no error if it has not, the socket
    /// is just dropped then. Errors: invalid (not connected, or another backend).
    base::Result<void> give_socket(std::uint32_t index, const std::string& backend,
                                   std::chrono::seconds dead_timeout, int socket);
    /// How long a request may take (0: for ever), and how long requests wait for give_socket(). Sets the
    /// device's queue/io_timeout in sysfs, too: to `request_timeout`, or to 30 s for 0. Errors: as above.
    base::Result<void> set_timeouts(std::uint32_t index, const std::string& backend,
                                    std::chrono::seconds request_timeout, std::chrono::seconds dead_timeout);
    /// Waits until no request is in progress: see nbd_resize.hpp. Errors: as above.
    base::Result<void> resize(std::uint32_t index, const std::string& backend, std::uint64_t size_bytes);
    /// The same, and when it is done set_timeouts(0, `dead_timeout`), all in one: even if the caller is
    /// killed meanwhile. After an error the timeouts are what they were.
    base::Result<void> resize(std::uint32_t index, const std::string& backend, std::uint64_t size_bytes,
                              std::chrono::seconds dead_timeout);
    /// All devices that the driver has now.
    base::Result<std::vector<Status>> status();

    /// From here on wait_for_dead_link() knows of links that die.
    base::Result<void> watch_links();
    /// Waits until the socket of a device dies; false when that does not happen within `patience`.
    bool wait_for_dead_link(std::uint32_t index, std::chrono::milliseconds patience);

private:
    struct Free {
        void operator()(nl_sock* socket) const;
    };
    using Socket = std::unique_ptr<nl_sock, Free>;

    NbdNetlink(Socket socket, int family);
    static base::Result<Socket> open_socket();
    static base::Result<Socket> open_socket_here();

    Socket socket_;
    Socket notices_;
    int family_ = 0;
};

} // namespace iscsi::block

// What a record says of the socket of a connection, and how it is put into effect. Thread of the caller.
#pragma once

#include "base/result.hpp"
#include "base/time.hpp"

#include <string>
#include <sys/socket.h>

namespace iscsi::shard {

/// Socket settings of a record. A hardware address goes before the name of a device, as with open-iscsi.
struct TcpOptions {
    int window_bytes = 0;   ///< SO_RCVBUF and SO_SNDBUF; 0 = the system's
    std::string net_device; ///< SO_BINDTODEVICE; empty = not bound
    /// The interface with this hardware address, whatever its name is when the connection is made: six to
    /// twenty bytes in hexadecimal, with colons. SO_BINDTODEVICE; empty = not bound.
    std::string hardware_address;
    std::string local_address;      ///< numeric: where the connection comes from; empty = as the route has it
    std::string congestion_control; ///< TCP_CONGESTION; empty = the system's
    /// TCP_USER_TIMEOUT: the connection ends when what was sent is not acknowledged for so long, or the peer
    /// takes no more bytes for so long. In force once it is made; 0 = the system's, in whole milliseconds.
    base::Duration user_timeout{};
};

/// The name of the network interface with that hardware address: of several (a bond and its links, a VLAN and
/// what it is on) one that is up, and of those the topmost. Looked up in `folder`, /sys/class/net: unlike
/// netlink that needs no lock of the kernel's which somebody may hold who waits for a disk of ours.
/// Errc::transport when there is none.
base::Result<std::string> device_of(const std::string& hardware_address,
                                    const std::string& folder = "/sys/class/net");

/// The options with the device that the hardware address means now in its place. Errors: those of
/// device_of().
base::Result<TcpOptions> with_device(TcpOptions options);
/// Before the connection to an address of `family` is begun: everything but the user timeout; a hardware
/// address was looked up before. Errors: Errc::transport with what was refused.
base::Result<void> apply_before_connect(int fd, int family, const TcpOptions& options);
/// Once it is made, which has a time of its own. Errors as above.
base::Result<void> apply_user_timeout(int fd, const TcpOptions& options);

} // namespace iscsi::shard

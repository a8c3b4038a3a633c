// Numbers of the nbd driver's generic netlink family, version 1 (Linux uapi/linux/nbd-netlink.h, the same
// from 6.1 to 7.3; our own, because a distribution's header may lack the newest). Values only; any thread.
#pragma once

#include <cstdint>

namespace iscsi::block::nbd_netlink {

inline constexpr const char* family_name = "nbd";
inline constexpr const char* notices_group = "nbd_mc_group";
inline constexpr std::uint8_t family_version = 1;

enum class Command : std::uint8_t { connect = 1, disconnect = 2, reconfigure = 3, link_dead = 4, status = 5 };

/// All numbers are in the machine's byte order. Times are in seconds.
enum Attribute : int {
    index = 1,            ///< u32: N of /dev/nbdN
    size_bytes = 2,       ///< u64
    block_size_bytes = 3, ///< u64
    timeout = 4,          ///< u64, of one request; 0 = never
    server_flags = 5,     ///< u64: the protocol's transmission flags
    client_flags = 6,     ///< u64
    sockets = 7,          ///< nest of socket_item
    dead_timeout = 8,     ///< u64: how long requests wait for a new socket
    device_list = 9,      ///< nest of device_item
    backend = 10,         ///< string: whoever changes the device must know it
    attribute_max = backend,
};

/// In sockets; a nest of socket_fd.
inline constexpr int socket_item = 1;
inline constexpr int socket_fd = 1; ///< u32: a descriptor of the calling thread

/// In device_list; a nest of the two behind it.
inline constexpr int device_item = 1;
inline constexpr int device_index = 1;     ///< u32
inline constexpr int device_connected = 2; ///< u8
inline constexpr int device_attribute_max = device_connected;

/// Client flag: /dev/nbdN goes when it is disconnected.
inline constexpr std::uint64_t destroy_on_disconnect = 1U << 0;

/// 20 bits of minor numbers, of which a device takes 32 at the usual max_part.
inline constexpr std::uint32_t index_max = (1U << 15) - 1;

} // namespace iscsi::block::nbd_netlink

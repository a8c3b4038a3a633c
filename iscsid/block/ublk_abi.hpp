// Numbers and structs of the ublk driver, our own because the distribution's header knows too few of them:
// control commands on /dev/ublk-control, I/O commands and descriptors of /dev/ublkcN. The machine's byte
// order. Source: Linux 6.12 to 7.2, include/uapi/linux/ublk_cmd.h. Values only; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace iscsi::block::ublk {

/// The number of a command of the driver: direction (1 = the kernel reads the argument, 2 = it writes it),
/// size of the argument, the driver's letter and the command's own number (asm-generic/ioctl.h).
constexpr std::uint32_t command(std::uint32_t direction, std::uint32_t argument_bytes, std::uint32_t number) {
    return direction << 30 | argument_bytes << 16 | std::uint32_t{'u'} << 8 | number;
}
inline constexpr std::uint32_t reads = 2;      ///< _IOR
inline constexpr std::uint32_t read_write = 3; ///< _IOWR

/// Where the argument of a command lies in its submission slot; a control command's reaches into the second
/// half of a wide one.
inline constexpr std::size_t argument_offset = 48;

// Control commands; the argument of all is a ControlCommand.
inline constexpr std::uint32_t get_dev_info = command(reads, 32, 0x02);
inline constexpr std::uint32_t add_dev = command(read_write, 32, 0x04);
inline constexpr std::uint32_t del_dev = command(read_write, 32, 0x05);
inline constexpr std::uint32_t start_dev = command(read_write, 32, 0x06);
inline constexpr std::uint32_t stop_dev = command(read_write, 32, 0x07);
inline constexpr std::uint32_t set_params = command(read_write, 32, 0x08);
inline constexpr std::uint32_t start_user_recovery = command(read_write, 32, 0x10);
inline constexpr std::uint32_t end_user_recovery = command(read_write, 32, 0x11);
inline constexpr std::uint32_t get_features = command(reads, 32, 0x13);
inline constexpr std::uint32_t del_dev_async = command(reads, 32, 0x14);
inline constexpr std::uint32_t update_size = command(read_write, 32, 0x15); ///< Linux 6.16
inline constexpr std::uint32_t quiesce_dev = command(read_write, 32, 0x16); ///< Linux 6.16

// Features: what GET_FEATURES offers, what ADD_DEV asks for. The driver clears those that it does not know
// and says so in what ADD_DEV gives back.
inline constexpr std::uint64_t feature_zero_copy = 1U << 0; ///< beside USER_COPY from Linux 6.15 on
inline constexpr std::uint64_t feature_user_recovery = 1U << 3;
inline constexpr std::uint64_t feature_user_recovery_reissue = 1U << 4;
inline constexpr std::uint64_t feature_user_copy = 1U << 7;
inline constexpr std::uint64_t feature_update_size = 1U << 10;
inline constexpr std::uint64_t feature_quiesce = 1U << 12;

inline constexpr std::uint32_t any_device = UINT32_MAX; ///< ADD_DEV: the driver chooses the number
inline constexpr std::uint16_t no_queue = UINT16_MAX;   ///< the command is not about one queue
inline constexpr unsigned queue_depth_max = 4096;

struct ControlCommand {
    std::uint32_t dev_id = any_device;
    std::uint16_t queue_id = no_queue;
    std::uint16_t length = 0;  ///< bytes at `address`
    std::uint64_t address = 0; ///< what the command reads or writes beside this
    std::uint64_t data = 0;    ///< START_DEV: process id; UPDATE_SIZE: sectors; QUIESCE_DEV: milliseconds
    std::uint16_t path_length = 0;
    std::uint16_t pad = 0;
    std::uint32_t reserved = 0;
};
static_assert(sizeof(ControlCommand) == 32);
static_assert(offsetof(ControlCommand, address) == 8);
static_assert(offsetof(ControlCommand, path_length) == 24);

enum class State : std::uint16_t { dead = 0, live = 1, quiesced = 2, fail_io = 3 };

struct DeviceInfo {
    std::uint16_t queues = 0;
    std::uint16_t queue_depth = 0;
    State state = State::dead;
    std::uint16_t descriptor_bytes = 0; ///< zero before Linux 7.3
    std::uint32_t io_bytes_max = 0;
    std::uint32_t dev_id = any_device;
    std::int32_t server_pid = 0;
    std::uint32_t pad = 0;
    std::uint64_t features = 0;
    std::uint64_t cookie = 0; ///< the driver keeps it and never looks at it
    std::uint32_t owner_uid = 0;
    std::uint32_t owner_gid = 0;
    std::uint64_t reserved1 = 0;
    std::uint64_t reserved2 = 0;
};
static_assert(sizeof(DeviceInfo) == 64);
static_assert(offsetof(DeviceInfo, state) == 4);
static_assert(offsetof(DeviceInfo, dev_id) == 12);
static_assert(offsetof(DeviceInfo, features) == 24);
static_assert(offsetof(DeviceInfo, owner_uid) == 40);

// Parameters: attributes.
inline constexpr std::uint32_t attribute_read_only = 1U << 0;
inline constexpr std::uint32_t attribute_rotational = 1U << 1;
inline constexpr std::uint32_t attribute_volatile_cache = 1U << 2;
inline constexpr std::uint32_t attribute_fua = 1U << 3; ///< looked at only beside a volatile cache

// Parameters: which parts of the struct are meant.
inline constexpr std::uint32_t has_basic = 1U << 0;
inline constexpr std::uint32_t has_discard = 1U << 1;

struct BasicParameters {
    std::uint32_t attributes = 0;
    std::uint8_t logical_block_shift = 9;
    std::uint8_t physical_block_shift = 9;
    std::uint8_t io_opt_shift = 9;
    std::uint8_t io_min_shift = 9;
    std::uint32_t max_sectors = 0;
    std::uint32_t chunk_sectors = 0;
    std::uint64_t sectors = 0;
    std::uint64_t virtual_boundary_mask = 0;
};
static_assert(sizeof(BasicParameters) == 32);

struct DiscardParameters {
    std::uint32_t alignment = 0;
    std::uint32_t granularity_bytes = 0;
    std::uint32_t max_discard_sectors = 0;
    std::uint32_t max_write_zeroes_sectors = 0;
    std::uint16_t max_discard_segments = 0;
    std::uint16_t reserved = 0;
};
static_assert(sizeof(DiscardParameters) == 20);

/// `length` says how much of it there is; later kernels have more behind.
struct Parameters {
    std::uint32_t length = 60;
    std::uint32_t types = 0;
    BasicParameters basic;
    DiscardParameters discard;
    std::uint32_t pad = 0;
};
static_assert(offsetof(Parameters, basic) == 8);
static_assert(offsetof(Parameters, discard) == 40);
static_assert(sizeof(Parameters) == 64);

// I/O commands, on the ring of the queue's thread.
inline constexpr std::uint32_t fetch_req = command(read_write, 16, 0x20);
inline constexpr std::uint32_t commit_and_fetch_req = command(read_write, 16, 0x21);
inline constexpr std::uint32_t register_io_buf = command(read_write, 16, 0x23);   ///< Linux 6.15
inline constexpr std::uint32_t unregister_io_buf = command(read_write, 16, 0x24); ///< Linux 6.15

struct IoCommand {
    std::uint16_t queue_id = 0;
    std::uint16_t tag = 0;
    std::int32_t result = 0;   ///< commit: bytes, or a negative errno
    std::uint64_t address = 0; ///< zero with USER_COPY; of the commands for buffers, the place in the table
};
static_assert(sizeof(IoCommand) == 16);

enum class Operation : std::uint8_t { read = 0, write = 1, flush = 2, discard = 3, write_zeroes = 5 };

// Flags of a descriptor, above its operation.
inline constexpr std::uint32_t operation_mask = 0xff;
inline constexpr std::uint32_t io_fua = 1U << 13;
inline constexpr std::uint32_t io_no_unmap = 1U << 15;

inline constexpr std::uint32_t sector_bytes = 512; ///< the driver's, whatever the logical block

struct IoDescriptor {
    std::uint32_t operation = 0;
    std::uint32_t sectors = 0;
    std::uint64_t start_sector = 0;
    std::uint64_t address = 0;
};
static_assert(sizeof(IoDescriptor) == 24);
static_assert(offsetof(IoDescriptor, start_sector) == 8);

/// Where the data of a tag of a queue lies in /dev/ublkcN: pread() gives a write's data, pwrite() takes a
/// read's.
constexpr std::uint64_t data_offset(unsigned tag, unsigned queue = 0) {
    return 0x80000000U + (std::uint64_t{tag} << 25) + (std::uint64_t{queue} << 41);
}
inline constexpr std::uint32_t data_bytes_max = 1U << 25; ///< of one request

} // namespace iscsi::block::ublk

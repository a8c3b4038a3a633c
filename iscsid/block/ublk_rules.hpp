// What the ublk driver is told about a device, what its descriptors mean and what its requests end with, as
// pure functions. Any thread. Source: Linux 6.12 drivers/block/ublk_drv.c (ublk_validate_params,
// ublk_dev_param_basic_apply), block/blk-core.c (the meaning of an errno).
#pragma once

#include "block/block.hpp"
#include "block/ublk_abi.hpp"

#include <cstdint>

namespace iscsi::block::ublk {

/// The longest read or write that we ask the driver for; what is longer it cuts.
inline constexpr std::uint32_t io_bytes_max = 1U << 20;

/// Of a device that outlives its server.
inline constexpr std::uint64_t features_to_outlive =
    feature_user_recovery | feature_user_recovery_reissue | feature_user_copy;

/// The device's parameters. Sizes that the driver cannot be told (an optimal size that is no power of two)
/// are left out.
Parameters parameters(const Attributes& attributes);

/// Fills verb, flags, offset and length of `request` from what the driver wants done; false when it is
/// nothing that we do, or longer than `io_bytes_max`.
bool describe(const IoDescriptor& descriptor, Request& request);

/// Whether requests of this verb carry data.
constexpr bool has_data(Verb verb) {
    return verb == Verb::read || verb == Verb::write;
}

/// Reads up to here take no memory of the pool: what arrives goes to the kernel out of the receive staging.
/// It saves a copy of what has arrived there; longer ones are mostly received in their places, and one call
/// for each costs less than one for each staging full (1 MiB, by count: 3 to 10 %).
inline constexpr std::uint64_t sink_bytes_max = std::uint64_t{64} * 1024;

/// Whether a request of this verb and length needs memory that its data lie in while the handler has it.
constexpr bool needs_memory(const Request& request) {
    return request.verb == Verb::write ||
           (request.verb == Verb::read && request.length_bytes > sink_bytes_max);
}

/// What a request is committed with when it ended with `error_number` (0, or a positive errno).
std::int32_t commit_result(const Request& request, int error_number);

} // namespace iscsi::block::ublk

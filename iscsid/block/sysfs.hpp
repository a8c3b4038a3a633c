// What the kernel says of its block devices in /sys; an error is never taken for "there is none". Any thread.
// Source: Linux, Documentation/ABI/stable/sysfs-block, the same from 6.1 to 7.0.
#pragma once

#include "base/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::block {

/// The size that the kernel has for the device `name` ("ublkb0", "nbd3"), in bytes; 0 for a device that has
/// none yet. None: there is no such device, or it cannot be read.
std::optional<std::uint64_t> kernel_size_bytes(std::string_view name);

/// The first line of a file; none when it, or the device that it belongs to, is not there. Errors: internal.
base::Result<std::optional<std::string>> read_attribute(const std::string& path);

/// The numbers behind `prefix` in the names of a folder that begin with it and have nothing but a decimal
/// number behind it; no order. None when the folder is not there. Errors: internal.
base::Result<std::vector<std::uint32_t>> device_numbers(const std::string& folder, std::string_view prefix);

} // namespace iscsi::block

// The two forms of text that we share with udev: the file of KEY=value lines that our rules import, and an
// entry of its database. Private to the room. Pure functions; any thread.
// Source: systemd 252, src/udev/udev-rules.c (import) and src/libsystemd/sd-device/sd-device.c (database).
#pragma once

#include "base/result.hpp"
#include "block/kernel_device.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::block {

/// The property that says whose device it is, and its value.
inline constexpr std::string_view udev_cookie_key = "ISCSI_COOKIE";
std::string udev_cookie_text(std::uint64_t cookie);

/// The file: a line for each property, the cookie last so that no other can take its place. A value that
/// would be more than one line, or read by udev as something else, has '_' there. Errors: invalid, for a key
/// that is none.
base::Result<std::string> udev_file_text(std::uint64_t cookie, const UdevProperties& properties);

/// Whether a file is that of the device with `cookie`.
bool is_udev_file_of(std::string_view text, std::uint64_t cookie);

/// What we read of a device's entry in udev's database.
struct UdevEntry {
    std::string cookie;             ///< "" when the device is not ours
    std::vector<std::string> links; ///< absolute paths
};

UdevEntry parse_udev_entry(std::string_view text);

} // namespace iscsi::block

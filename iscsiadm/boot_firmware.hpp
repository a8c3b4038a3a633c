// The tables of this machine's boot firmware that say what to log in to: iBFT and those of adapters, which
// the kernel shows in /sys/firmware (modules iscsi_ibft and the adapters' drivers), and Open Firmware's boot
// path. Only known files are read, and of each no more than fits into a page. Reads files; any thread.
#pragma once

#include "base/error.hpp"
#include "boot_table.hpp"

#include <string>
#include <string_view>

namespace iscsi::adm {

/// What the tables below `root` (empty: this machine's own) say: Open Firmware's first, then ibft, then
/// iscsi_bootN in the order of their names. Nothing at all when there are none.
BootTargets read_boot_firmware(const std::string& root);

/// The name of this machine's interface with a MAC address (hexadecimal with colons); empty when there is
/// none. Of several it is the first, which is the device itself: those above it came later.
std::string device_with_mac(std::string_view mac);

/// The initiator name of the first table that has one, as it is there; empty when none has.
std::string boot_initiator_name(const std::string& root);

/// What it is when there is no usable target: not_found, and sysfs_lookup where the kernel shows nothing of
/// firmware at all (open-iscsi's exit codes 21 and 22).
base::Errc no_boot_firmware(const std::string& root);

/// The unusable ones in one line: the first, and how many more. Not empty.
std::string text_of_unusable(const BootTargets& targets);

} // namespace iscsi::adm

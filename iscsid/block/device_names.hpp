// The names by which people and tools find a LUN's block device: udev's by-path name, and a file name made
// from it that fits where a file name has to fit. Portal and target come from a peer or from an operator:
// each name is checked here, whoever checked it before. Pure functions; any thread.
#pragma once

#include "base/result.hpp"
#include "base/units.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace iscsi::block {

struct DeviceIdentity {
    std::string address; ///< of the portal as recorded; IPv6 without brackets
    std::uint16_t port = 3260;
    std::string target; ///< the target's iSCSI name
    base::Lun lun;
    /// Tells apart what several sessions with one portal show, the same after every start: part of a file
    /// name, no part of the by-path name. Empty for the only session through the default interface.
    std::string session = {};
    std::string unit = {}; ///< what the unit says that it is (scsi::identity); empty = nothing
};

/// A LUN as udev's path_id writes it: decimal below 256, else 0x and sixteen hexadecimal digits.
std::string lun_text(base::Lun lun);

/// `ip-<address>:<port>-iscsi-<target>-lun-<n>`, in full. Errors: invalid, when a part is empty, too long or
/// holds a '/', a blank or a control character.
base::Result<std::string> by_path_name(const DeviceIdentity& identity);

/// by_path_name in at most `bytes_max` bytes: where it is longer, the target's end gives way to "~" and
/// sixteen hexadecimal digits that stand for the whole target name, the same each time. If even that does not
/// fit, the target is only those digits, and the result is longer than `bytes_max`. Errors: as above.
base::Result<std::string> by_path_file_name(const DeviceIdentity& identity, std::size_t bytes_max);

} // namespace iscsi::block

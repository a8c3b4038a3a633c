// The checks that every value of boot firmware passes, wherever it was read. Each gives Errc::invalid with
// the value's name and what is wrong with it; an empty text is a value that is not there. Pure functions; any
// thread.
#pragma once

#include "base/result.hpp"
#include "boot_table.hpp"

#include <string>
#include <string_view>

namespace iscsi::adm {

/// One line of at most record_value_bytes_max bytes.
base::Result<void> check_boot_text(std::string_view name, std::string_view text);
/// An IPv4 or IPv6 address, or nothing.
base::Result<void> check_boot_address(std::string_view name, std::string_view text);
base::Result<std::uint16_t> boot_number(std::string_view name, std::string_view text, std::uint16_t most);
/// The name of a network interface, which becomes part of paths, of lines and of words that a shell quotes.
base::Result<void> check_device_name(std::string_view name);
/// Whether all parts fit together and into a record.
base::Result<void> check_boot_target(const BootTarget& target);

} // namespace iscsi::adm

// The native protocol of systemd's journal: a datagram with an entry's fields, so that `journalctl
// ISCSI_SESSION=1` finds what a text would have to be searched for. Source:
// https://systemd.io/JOURNAL_NATIVE_PROTOCOL. Pure functions but for is_journal(); any thread.
#pragma once

#include "control/log.hpp"

#include <string>
#include <string_view>

namespace iscsi::control {

/// A field: "NAME=value", or where the value has a newline its length before it, 64 bits, least significant
/// byte first.
std::string journal_field(std::string_view name, std::string_view value);

/// The fields of a line: MESSAGE, PRIORITY, SYSLOG_*, and those of what it is about that are known, ISCSI_*.
std::string journal_entry(ipc::Level level, const log::About& about, std::string_view line);

/// syslog's number of it, 0 to 7.
int syslog_priority(ipc::Level level);

/// Whether `fd` is a stream to the journal, as `journal_stream` (the JOURNAL_STREAM of systemd.exec(5):
/// "device:inode"; may be null) says; a program that has redirected it since is not meant.
bool is_journal(const char* journal_stream, int fd);

} // namespace iscsi::control

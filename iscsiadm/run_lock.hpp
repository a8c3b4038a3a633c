// Who holds the lock that a running iscsid has on its directory, without touching the lock. Any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace iscsi::adm {

/// The process that has the flock(2) on `directory`; empty when there is none, or the kernel does not say.
std::optional<pid_t> lock_holder(const std::string& directory);

/// The same from the text of /proc/locks (proc(5)), where files have device numbers and an inode.
std::optional<pid_t> lock_holder_in(std::string_view locks, dev_t device, ino_t inode);

} // namespace iscsi::adm

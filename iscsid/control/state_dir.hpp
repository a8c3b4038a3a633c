// The directory of the state files: one a session, <sid>.json, of mode 0600 because it holds secrets,
// replaced in one step and removed at the session's end. It lives in /run: a tmpfs, where what is written is
// there and fsync does nothing, and which a reboot empties, as it ends the kernel devices. Only files that
// nobody but root or the daemon's own user can have written are believed. Control's thread; nothing here
// waits for a disk.
#pragma once

#include "base/result.hpp"
#include "control/state_text.hpp"
#include "records/store_files.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace iscsi::control {

class StateDir {
public:
    /// `dir` is an absolute path; it is made with the first write.
    explicit StateDir(std::string dir) : path_(std::move(dir)) {}

    /// Puts `state` in place of what was known of the session, or leaves that as it was. Errors: database
    /// with the reason, access_denied when the directory is somebody else's, invalid as check_state().
    base::Result<void> write(const SessionState& state);

    /// The session has ended. No error when nothing was known of it.
    base::Result<void> forget(std::uint32_t sid);

    /// Every session whose file is whole and ours, by sid; `warnings` gets a line for each other file, which
    /// stays where it is. Removes what a crash left half written: before the first write.
    std::vector<SessionState> read_all(std::vector<std::string>& warnings) const;

    /// The sessions that there are files of, readable or not: write() would replace them.
    std::vector<std::uint32_t> sids() const;

private:
    std::string path_;
};

} // namespace iscsi::control

// Runs something in a child under ptrace: sees every system call by which it changes files, in order, and can
// end it with SIGKILL at the door of any of them, or have them fail. The child is gone when run() returns.
// Linux 5.3 or later, one thread.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::test {

/// One call that changes files or makes a change durable. Paths are whole.
struct FileCall {
    enum class Kind { create, write, sync, rename, unlink, mkdir, symlink, link, flock };
    Kind kind;
    std::string path; ///< what is made, written, synced or removed; the old name of a rename
    std::string to =
        {}; ///< the new name of a rename or hard link; the text of a symbolic link; what is written
    bool failed = false; ///< it was refused: nothing has changed
};

std::string describe(const FileCall& call);

struct Traced {
    std::vector<FileCall> calls;       ///< those that were let through, and the one it was killed at
    std::optional<int> exit_code = {}; ///< empty when it was killed
    bool forbidden = false;            ///< this machine lets nobody trace
};

/// What happens at a call.
struct Cut {
    enum class How {
        kill,     ///< the child ends before it
        fail,     ///< it fails with EIO and changes nothing
        fail_on,  ///< so do all after it
        no_space, ///< from it on whatever needs space below `full` fails with ENOSPC
    };
    std::size_t at = 0; ///< from 1; 0 or more than there are: nothing happens
    How how = How::kill;
    std::string_view full = {}; ///< a directory
};

/// `what` gives the exit code.
Traced run_traced(const std::function<int()>& what, Cut cut = {});

} // namespace iscsi::test

// A child process that is not like its parent. clone(2) with CLONE_VM and CLONE_VFORK as posix_spawn() does
// it, but with our own steps before the exec: nothing of this process's memory is copied, so no page of a
// buffer that I/O runs through becomes a copy-on-write one, as fork() would make it. The child has none of
// the rights of an I/O flusher (see process.hpp), no file of ours but the one it is given. Any thread; blocks
// until the child has become another program.
#pragma once

#include "base/result.hpp"

#include <string>
#include <vector>

namespace iscsi::ring {

struct Program {
    std::vector<std::string> paths; ///< the first that is there is run
    std::vector<std::string> argv;
    int standard_input = -1; ///< a descriptor of ours; -1: /dev/null. Output and errors go to /dev/null.
};

/// Gives the child's pidfd; whoever has it reaps the child. The environment is a plain PATH. Errors:
/// not_found, no_memory, internal.
base::Result<int> start_child(const Program& program);

/// The status of a child that has ended, 128 + the number for the end by a signal; waits for the end.
base::Result<int> reap_child(int pidfd);

} // namespace iscsi::ring

// Something that changes the whole process, done in a child of its own. For tests of one thread.
#pragma once

#include <catch2/catch.hpp>
#include <sys/wait.h>
#include <unistd.h>

namespace iscsi::test {

/// Runs `what` in a fork; gives the number it returns (0..127), or 128 + the signal that ended it. No
/// assertions inside: they would end in nothing.
template <class What>
int in_child(What what) {
    pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::_exit(what());
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

} // namespace iscsi::test

// Descriptors 0, 1 and 2 of a program that was started without one of them: what it opens next would get that
// number, and what is written to stdout would go into a socket. Called first in main(), by its one thread. In
// the header alone: it is the programs that open something here, not this library.
#pragma once

#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <initializer_list>
#include <unistd.h>

namespace iscsi::base {

/// What becomes of text for an stdout or stderr that was closed.
enum class ClosedOutput : std::uint8_t {
    swallowed, ///< nobody misses it
    refused,   ///< to write it fails, so that the program can say that it did not get out
};

/// Puts /dev/null where a standard descriptor is closed; one that is open stays as it is.
inline void fill_standard_descriptors(ClosedOutput output) {
    for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) {
            continue;
        }
        const bool refuses = output == ClosedOutput::refused && fd != STDIN_FILENO;
        // Gets the lowest number that is free, which is this one. Programs that are started get it, too.
        [[maybe_unused]] int null = ::open("/dev/null", refuses ? O_RDONLY : O_RDWR);
    }
}

} // namespace iscsi::base

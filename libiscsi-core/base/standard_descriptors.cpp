#include "base/standard_descriptors.hpp"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace iscsi::base {

void fill_standard_descriptors(ClosedOutput output) {
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

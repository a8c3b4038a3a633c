// A disk that is slow at times: preloaded into tgtd or istgt, it lets whoever writes to the file that
// ISCSI_SLOW_FILE names wait first, for as many milliseconds as are written in the file of that name with
// ".ms" behind it. There is no such file: no wait. Any thread of that program.
#include "faults/preload.hpp"

#include <chrono>
#include <cstdio>
#include <sys/types.h>
#include <thread>

namespace {

using iscsi::faults::next;

long milliseconds_in(const std::string& path) {
    long value = 0;
    if (std::FILE* file = std::fopen(path.c_str(), "re")) {
        if (std::fscanf(file, "%ld", &value) != 1) {
            value = 0;
        }
        std::fclose(file);
    }
    return value;
}

void wait_before(int fd) {
    static const char* const path = std::getenv("ISCSI_SLOW_FILE");
    if (iscsi::faults::is_open_file(fd, path)) {
        std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds_in(path + std::string(".ms"))));
    }
}

} // namespace

extern "C" {

/// tgtd
ssize_t pwrite64(int fd, const void* from, std::size_t count, off64_t offset) {
    wait_before(fd);
    return next<decltype(pwrite64)>("pwrite64")(fd, from, count, offset);
}

/// istgt
ssize_t write(int fd, const void* from, std::size_t count) {
    wait_before(fd);
    return next<decltype(write)>("write")(fd, from, count);
}
}

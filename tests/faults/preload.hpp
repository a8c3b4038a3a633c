// For libraries that are preloaded into a target: the function that they stand before, and which file a
// descriptor is of. Any thread.
#pragma once

#include <cstdlib>
#include <dlfcn.h>
#include <string>
#include <string_view>
#include <unistd.h>

namespace iscsi::faults {

/// The function of that name that would be called without the library.
template <class F>
F* next(const char* name) {
    return reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
}

/// Whether `fd` is of the file at `path`; of none when that is null.
inline bool is_open_file(int fd, const char* path) {
    char found[4096];
    const ssize_t length = readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), found, sizeof found);
    return path != nullptr && length > 0 && std::string_view(found, static_cast<std::size_t>(length)) == path;
}

} // namespace iscsi::faults

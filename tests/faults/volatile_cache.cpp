// A volatile write cache for a target that has none: preloaded into tgtd, it keeps what is written to the
// file that ISCSI_CACHED_FILE names in memory until it is flushed. A part of it goes to the file early, as in
// a real cache. When the program is killed the rest is gone. Any thread of that program.
#include "faults/preload.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <random>
#include <sys/stat.h>
#include <sys/types.h>
#include <vector>

namespace {

constexpr std::size_t block = 512;

using iscsi::faults::next;

class Cache {
public:
    ssize_t read(int fd, void* to, std::size_t count, off_t offset) {
        const std::lock_guard lock(mutex_);
        fill(fd);
        if (static_cast<std::size_t>(offset) >= content_.size()) {
            return 0;
        }
        count = std::min(count, content_.size() - static_cast<std::size_t>(offset));
        std::memcpy(to, content_.data() + offset, count);
        return static_cast<ssize_t>(count);
    }

    ssize_t write(int fd, const void* from, std::size_t count, off_t offset) {
        const std::lock_guard lock(mutex_);
        fill(fd);
        count =
            std::min(count, content_.size() - std::min(content_.size(), static_cast<std::size_t>(offset)));
        std::memcpy(content_.data() + offset, from, count);
        const std::size_t first = static_cast<std::size_t>(offset) / block;
        for (std::size_t at = first; at * block < static_cast<std::size_t>(offset) + count; ++at) {
            dirty_[at] = true;
            if (chance_() % 4 == 0) {
                write_back(fd, at);
            }
        }
        return static_cast<ssize_t>(count);
    }

    void flush(int fd) {
        const std::lock_guard lock(mutex_);
        for (std::size_t at = 0; at < dirty_.size(); ++at) {
            if (dirty_[at]) {
                write_back(fd, at);
            }
        }
    }

private:
    void fill(int fd) {
        struct stat what {};
        if (content_.empty() && fstat(fd, &what) == 0) {
            content_.resize(static_cast<std::size_t>(what.st_size));
            dirty_.resize(content_.size() / block + 1);
            for (std::size_t at = 0; at < content_.size();) {
                const ssize_t got =
                    pread_(fd, content_.data() + at, content_.size() - at, static_cast<off_t>(at));
                if (got <= 0) {
                    abort();
                }
                at += static_cast<std::size_t>(got);
            }
        }
    }

    void write_back(int fd, std::size_t at) {
        dirty_[at] = false;
        const std::size_t length = std::min(block, content_.size() - at * block);
        if (pwrite_(fd, content_.data() + at * block, length, static_cast<off_t>(at * block)) !=
            static_cast<ssize_t>(length)) {
            abort();
        }
    }

    std::mutex mutex_;
    std::vector<char> content_;
    std::vector<bool> dirty_;
    std::minstd_rand chance_{static_cast<unsigned>(getpid())};
    decltype(::pread)* pread_ = next<decltype(::pread)>("pread64");
    decltype(::pwrite)* pwrite_ = next<decltype(::pwrite)>("pwrite64");
};

Cache& cache() {
    static Cache it;
    return it;
}

bool is_cached(int fd) {
    static const char* const path = getenv("ISCSI_CACHED_FILE");
    return iscsi::faults::is_open_file(fd, path);
}

} // namespace

extern "C" {

ssize_t pread64(int fd, void* to, std::size_t count, off64_t offset) {
    return is_cached(fd) ? cache().read(fd, to, count, offset)
                         : next<decltype(pread64)>("pread64")(fd, to, count, offset);
}

ssize_t pwrite64(int fd, const void* from, std::size_t count, off64_t offset) {
    return is_cached(fd) ? cache().write(fd, from, count, offset)
                         : next<decltype(pwrite64)>("pwrite64")(fd, from, count, offset);
}

int fdatasync(int fd) {
    if (is_cached(fd)) {
        cache().flush(fd);
    }
    return next<decltype(fdatasync)>("fdatasync")(fd);
}

int fsync(int fd) {
    if (is_cached(fd)) {
        cache().flush(fd);
    }
    return next<decltype(fsync)>("fsync")(fd);
}
}

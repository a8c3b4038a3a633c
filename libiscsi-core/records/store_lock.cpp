#include "records/store_lock.hpp"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace iscsi::records {
namespace {

using base::Errc;
using base::fail;
using base::Result;
using Clock = std::chrono::steady_clock;

constexpr const char* flock_name = "lock";        // open-iscsi's file too; it does not flock it
constexpr const char* write_name = "lock.write";  // the name that open-iscsi competes for
constexpr const char* source_name = "lock.flock"; // what our lock.write is a hard link to
constexpr mode_t file_mode = 0600;

/// Waits a little, longer each time; false when the time is over.
class Patience {
public:
    explicit Patience(std::chrono::milliseconds wait) : end_(Clock::now() + wait) {}

    bool wait() {
        if (Clock::now() >= end_) {
            return false;
        }
        std::this_thread::sleep_for(step_);
        step_ = std::min(step_ * 2, longest);
        return true;
    }

private:
    static constexpr std::chrono::microseconds longest{10000};
    Clock::time_point end_;
    std::chrono::microseconds step_{200};
};

std::string in(const Directory& directory, const char* name) {
    return fmt::format("{}/{}", directory.path(), name);
}

Result<Fd> open_in(const Directory& directory, const char* name) {
    Fd fd(::openat(directory.fd(), name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, file_mode));
    if (!fd) {
        return fail(Errc::database, system_error(in(directory, name), errno).detail);
    }
    return fd;
}

Result<void> wait_for_flock(const Directory& directory, const Fd& fd, Patience& patience) {
    while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR) {
            continue;
        }
        if (errno != EWOULDBLOCK) {
            return fail(Errc::database, system_error(in(directory, flock_name), errno).detail);
        }
        if (!patience.wait()) {
            return fail(Errc::database,
                        fmt::format("{}: another process has held the record database too long",
                                    in(directory, flock_name)));
        }
    }
    return {};
}

bool same_file(const Directory& directory, const char* a, const char* b) {
    struct stat first {};
    struct stat second {};
    return ::fstatat(directory.fd(), a, &first, AT_SYMLINK_NOFOLLOW) == 0 &&
           ::fstatat(directory.fd(), b, &second, AT_SYMLINK_NOFOLLOW) == 0 && first.st_ino == second.st_ino &&
           first.st_dev == second.st_dev;
}

/// With the flock held: makes lock.write ours.
Result<void> wait_for_link(const Directory& directory, Patience& patience) {
    Result<Fd> source = open_in(directory, source_name);
    if (!source) {
        return fail(source.error());
    }
    while (::linkat(directory.fd(), source_name, directory.fd(), write_name, 0) != 0) {
        if (errno != EEXIST) {
            return fail(Errc::database, system_error(in(directory, write_name), errno).detail);
        }
        if (same_file(directory, source_name, write_name)) {
            return {}; // left by one of us that was killed: nobody living holds it without the flock
        }
        if (!patience.wait()) {
            return fail(
                Errc::database,
                fmt::format("{}: another iscsiadm has held the record database too long, or died and left "
                            "this file; remove it when none is running",
                            in(directory, write_name)));
        }
    }
    return {};
}

} // namespace

Result<Lock> Lock::take(const std::string& lock_dir, std::chrono::milliseconds wait) {
    Result<Directory> directory = Directory::make(lock_dir);
    if (!directory) {
        return fail(Errc::database, directory.error().detail);
    }
    Result<Fd> flocked = open_in(*directory, flock_name);
    if (!flocked) {
        return fail(flocked.error());
    }
    Patience patience(wait);
    Result<void> held = wait_for_flock(*directory, *flocked, patience);
    if (!held) {
        return fail(held.error());
    }
    Lock lock(std::move(*directory), std::move(*flocked));
    Result<void> linked = wait_for_link(lock.directory_, patience);
    if (!linked) {
        return fail(linked.error());
    }
    lock.linked_ = true;
    return lock;
}

Lock::~Lock() {
    // open-iscsi's lister may have taken our link away (it unlinks after a timeout); then another's stays.
    if (flocked_ && linked_ && same_file(directory_, source_name, write_name)) {
        ::unlinkat(directory_.fd(), write_name, 0);
    }
}

} // namespace iscsi::records

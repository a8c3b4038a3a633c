#include "records/store_lock.hpp"

#include "base/text.hpp"
#include "records/paths.hpp"

#include <cerrno>
#include <ctime>
#include <fcntl.h>
#include <fmt/format.h>
#include <optional>
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

/// Errc::not_supported when the file system has no such lock.
Result<void> wait_for_flock(const std::string& path, int fd, Patience& patience) {
    while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR) {
            continue;
        }
        if (errno != EWOULDBLOCK) {
            // NFS has no such lock on what is open for reading only.
            bool has_none = errno == EBADF || errno == EOPNOTSUPP || errno == EINVAL || errno == ENOLCK;
            return fail(has_none ? Errc::not_supported : Errc::database, system_error(path, errno).detail);
        }
        if (!patience.wait()) {
            return fail(Errc::database,
                        fmt::format("{}: another process has held the record database too long", path));
        }
    }
    return {};
}

/// A directory that somebody else made, or can change, is one in which he can keep every writer waiting.
Result<void> check_owner(const Directory& directory) {
    struct stat info {};
    struct stat at_path {};
    if (::fstat(directory.fd(), &info) != 0 || ::lstat(directory.path().c_str(), &at_path) != 0) {
        return fail(Errc::database, system_error(directory.path(), errno).detail);
    }
    for (const auto& [owner, what] : {std::pair(info.st_uid, ""), std::pair(at_path.st_uid, "the link ")}) {
        if (owner != 0 && owner != ::geteuid()) {
            return fail(Errc::database, fmt::format("{}: {}belongs to user {}; remove it",
                                                    base::printable(directory.path()), what, owner));
        }
    }
    if ((info.st_mode & S_IWOTH) != 0) {
        return fail(Errc::database,
                    fmt::format("{}: every user may write it; remove it", base::printable(directory.path())));
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

std::chrono::nanoseconds duration_of(const timespec& time) {
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

std::chrono::nanoseconds clock_now(clockid_t clock) {
    timespec now{};
    ::clock_gettime(clock, &now);
    return duration_of(now);
}

/// How long the process has lived; empty when it is gone. /proc/<pid>/stat, proc(5): the 22nd field, counted
/// behind the name in parentheses.
std::optional<std::chrono::nanoseconds> age_of_process(const std::string& proc) {
    Result<std::string> stat = read_file(proc + "/stat");
    std::size_t name_end = stat ? stat->rfind(')') : std::string::npos;
    if (name_end == std::string::npos) {
        return std::nullopt;
    }
    std::vector<std::string_view> fields = base::split(std::string_view(*stat).substr(name_end), ' ');
    constexpr std::size_t start_time = 20;
    std::optional<std::uint64_t> ticks =
        fields.size() > start_time ? base::parse_decimal(fields[start_time]) : std::nullopt;
    if (!ticks) {
        return std::nullopt;
    }
    double seconds = static_cast<double>(*ticks) / static_cast<double>(::sysconf(_SC_CLK_TCK));
    return clock_now(CLOCK_BOOTTIME) -
           std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(seconds));
}

/// True when `path` is the file `file`, or when that cannot be known.
bool may_be(const std::string& path, const struct stat& file) {
    struct stat other {};
    if (::stat(path.c_str(), &other) != 0) {
        return errno != ENOENT && errno != ESRCH;
    }
    return other.st_dev == file.st_dev && other.st_ino == file.st_ino;
}

bool is_ours(const std::string& proc) {
    struct stat self {};
    struct stat other {};
    return ::stat("/proc/self/exe", &self) == 0 && ::stat((proc + "/exe").c_str(), &other) == 0 &&
           self.st_dev == other.st_dev && self.st_ino == other.st_ino;
}

/// Where the process behind `proc` sees open-iscsi's lock: in the world below its own root directory.
std::string lock_seen_by(const std::string& proc) {
    constexpr const char* root_of_process = "root";
    Paths its_own(fmt::format("{}/{}", proc, root_of_process));
    return fmt::format("{}/{}", its_own.lock_dir(), write_name);
}

/// True when the process behind `proc` can have made `link`: open-iscsi's iscsiadm (its daemon holds the lock
/// for a moment only), older than the link, which it sees where open-iscsi has it, and not one of ours.
bool may_hold(const std::string& proc, const struct stat& link) {
    Result<std::string> name = read_file(proc + "/comm");
    if (!name || *name != "iscsiadm\n" || is_ours(proc) || !may_be(lock_seen_by(proc), link)) {
        return false;
    }
    constexpr std::chrono::seconds slack{1}; // of clocks and ticks
    std::optional<std::chrono::nanoseconds> age = age_of_process(proc);
    return age && *age + slack >= clock_now(CLOCK_REALTIME) - duration_of(link.st_ctim);
}

bool has_living_holder(const struct stat& link) {
    Result<Directory> proc = Directory::open("/proc");
    Result<std::vector<Entry>> entries =
        proc ? proc->entries() : Result<std::vector<Entry>>(fail(proc.error()));
    if (!entries) {
        return true; // nobody can tell
    }
    for (const Entry& entry : *entries) {
        if (base::parse_decimal(entry.name) && may_hold(fmt::format("/proc/{}", entry.name), link)) {
            return true;
        }
    }
    return false;
}

/// Watches a link that is not ours and tells when it is nobody's: open-iscsi's lock has no owner in it and
/// stays when its process dies.
class Watch {
public:
    Watch(const Directory& directory, std::chrono::milliseconds stale_after)
        : directory_(directory), stale_after_(stale_after) {}

    /// Removes the link when it has been there for long and no living process can have made it. Only the
    /// holder of our flock asks. `last`: he does not ask again.
    void remove_if_abandoned(bool last) {
        struct stat link {};
        if (::fstatat(directory_.fd(), write_name, &link, AT_SYMLINK_NOFOLLOW) != 0) {
            return;
        }
        // Making and removing the link changes the inode's ctime: another ctime is another owner.
        if (duration_of(link.st_ctim) != seen_) {
            seen_ = duration_of(link.st_ctim);
            seen_at_ = Clock::now();
        }
        bool is_old =
            clock_now(CLOCK_REALTIME) - seen_ >= stale_after_ || Clock::now() - seen_at_ >= stale_after_;
        if (!is_old || (looks_++ % looks_per_search != 0 && !last) || has_living_holder(link)) {
            return;
        }
        struct stat now {};
        if (::fstatat(directory_.fd(), write_name, &now, AT_SYMLINK_NOFOLLOW) == 0 &&
            duration_of(now.st_ctim) == seen_) {
            ::unlinkat(directory_.fd(), write_name, 0);
        }
    }

private:
    static constexpr unsigned looks_per_search = 16;
    const Directory& directory_;
    std::chrono::milliseconds stale_after_;
    std::chrono::nanoseconds seen_{-1};
    Clock::time_point seen_at_;
    unsigned looks_ = 0;
};

/// With the flock held: makes lock.write ours.
Result<void> wait_for_link(const Directory& directory, Patience& patience,
                           std::chrono::milliseconds stale_after) {
    Result<Fd> source = open_in(directory, source_name);
    if (!source) {
        return fail(source.error());
    }
    Watch watch(directory, stale_after);
    bool last_try = false;
    while (::linkat(directory.fd(), source_name, directory.fd(), write_name, 0) != 0) {
        if (errno != EEXIST) {
            return fail(Errc::database, system_error(in(directory, write_name), errno).detail);
        }
        if (same_file(directory, source_name, write_name)) {
            return {}; // left by one of us that was killed: nobody living holds it without the flock
        }
        if (last_try) {
            return fail(
                Errc::database,
                fmt::format("{}: another iscsiadm has held the record database too long, or died and left "
                            "this file; remove it when none is running",
                            in(directory, write_name)));
        }
        last_try = !patience.wait();
        watch.remove_if_abandoned(last_try);
    }
    return {};
}

} // namespace

Result<Lock> Lock::take(const std::string& lock_dir, std::chrono::milliseconds wait,
                        std::chrono::milliseconds stale_after) {
    Result<Directory> directory = Directory::make(lock_dir);
    if (!directory) {
        return fail(Errc::database, directory.error().detail);
    }
    Result<void> sound = check_owner(*directory);
    Result<Fd> flocked = sound ? open_in(*directory, flock_name) : fail(sound.error());
    if (!flocked) {
        return fail(flocked.error());
    }
    Patience patience(wait);
    Result<void> held = wait_for_flock(in(*directory, flock_name), flocked->get(), patience);
    if (!held) {
        return fail(Errc::database, held.error().detail);
    }
    Lock lock(std::move(*directory), std::move(*flocked));
    Result<void> linked = wait_for_link(lock.directory_, patience, stale_after);
    if (!linked) {
        return fail(linked.error());
    }
    lock.linked_ = true;
    return lock;
}

Result<void> Lock::hold_also(const Directory& directory, std::chrono::milliseconds wait) const {
    Patience patience(wait);
    Result<void> held = wait_for_flock(directory.path(), directory.fd(), patience);
    return held || held.error().code == Errc::not_supported ? Result<void>() : held;
}

Lock::~Lock() {
    // open-iscsi's lister may have taken our link away (it unlinks after a timeout); then another's stays.
    if (flocked_ && linked_ && same_file(directory_, source_name, write_name)) {
        ::unlinkat(directory_.fd(), write_name, 0);
    }
}

} // namespace iscsi::records

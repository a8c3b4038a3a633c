// The memory of a process that serves the kernel's block devices. mlockall(2), prctl(2), mallopt(3),
// Documentation/filesystems/proc.rst (oom_score_adj).
#include "process.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <malloc.h>
#include <string_view>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace iscsi::process {
namespace {

using Warnings = std::vector<std::string>;

// linux/prctl.h since 5.6.
constexpr int set_io_flusher = 57;
constexpr int get_io_flusher = 58;

void warn(Warnings& warnings, std::string_view what) {
    warnings.push_back(fmt::format("{}: {}", what, std::strerror(errno)));
}

/// Allocations of this process and its threads then never wait for dirty pages to be written: they may be
/// waiting for us.
void become_io_flusher(Warnings& warnings) {
    if (::prctl(set_io_flusher, 1, 0, 0, 0) != 0 || ::prctl(get_io_flusher, 0, 0, 0, 0) != 1) {
        warn(warnings, "PR_SET_IO_FLUSHER: with little memory left, I/O may stand still");
    }
}

void leave_oom_list(Warnings& warnings) {
    constexpr std::string_view never = "-1000";
    int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || ::write(fd, never.data(), never.size()) != static_cast<ssize_t>(never.size())) {
        warn(warnings, "oom_score_adj: the daemon may be killed to make room");
    }
    if (fd >= 0) {
        ::close(fd);
    }
}

/// free() keeps what it has, so that what was faulted in once stays: a login again after a drop finds the
/// memory of the one before.
void keep_freed_memory() {
    // More than the tables, buffers and texts of thousands of units, once freed, come to.
    ::mallopt(M_TRIM_THRESHOLD, 64 << 20);
    // A larger piece has a mapping of its own, which free() gives back: only the longest answers and files
    // are, and they would otherwise stay locked for ever. Setting it also ends glibc's own tuning.
    ::mallopt(M_MMAP_THRESHOLD, 4 << 20);
}

/// True with CAP_IPC_LOCK, or when there is no bound.
bool may_lock_without_bound() {
    rlimit now{};
    if (::getrlimit(RLIMIT_MEMLOCK, &now) == 0 && now.rlim_cur == RLIM_INFINITY) {
        return true;
    }
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> rights{};
    return ::syscall(SYS_capget, &header, rights.data()) == 0 &&
           (rights[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK)) != 0;
}

/// In two steps: what is mapped now (program, libraries, heap) is read in and stays. What is mapped later is
/// locked a page at a time, as it is touched: whole at once, that would be 8 MiB for each thread's stack.
void lock_memory(Warnings& warnings) {
    rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
    if (::setrlimit(RLIMIT_MEMLOCK, &unlimited) != 0 && !may_lock_without_bound()) {
        // With a bound, mmap() would fail some day.
        warnings.push_back("RLIMIT_MEMLOCK has a bound: memory is not locked");
        return;
    }
    if (::mlockall(MCL_CURRENT) != 0 || ::mlockall(MCL_FUTURE | MCL_ONFAULT) != 0) {
        warn(warnings, "mlockall: memory is not locked");
    }
}

} // namespace

void share_heap() {
    ::mallopt(M_ARENA_MAX, 1);
    // It grows by this much, so in few steps.
    ::mallopt(M_TOP_PAD, 1 << 20);
}

std::vector<std::string> protect_memory() {
    Warnings warnings;
    become_io_flusher(warnings);
    leave_oom_list(warnings);
    keep_freed_memory();
    lock_memory(warnings);
    return warnings;
}

} // namespace iscsi::process

#include "ring/child.hpp"

#include "base/check.hpp"

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <sanitizer/asan_interface.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <tuple>
#include <unistd.h>

// glibc's clone() under its other name: ThreadSanitizer takes a call of the usual one for a fork, and with
// CLONE_VM would stop looking at the parent from then on.
// NOLINTNEXTLINE(bugprone-reserved-identifier)
extern "C" int __clone(int (*function)(void*), void* stack, int flags, void* argument, ...);

namespace iscsi::ring {
namespace {

constexpr int set_io_flusher = 57; // linux/prctl.h since 5.6
constexpr std::size_t stack_bytes = std::size_t{64} * 1024;

/// Made ready by the parent; the child only calls the kernel.
struct Plan {
    const std::vector<std::string>& paths;
    std::vector<char*> argv;
    std::array<char*, 3> environment{};
    int standard_input = -1;
    int error = 0; ///< written by the child: errno of the last exec
};

void become_ordinary() {
    // Both fail harmlessly where the parent is ordinary itself.
    ::prctl(set_io_flusher, 0, 0, 0, 0);
    int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        [[maybe_unused]] ssize_t written = ::write(fd, "0", 1);
        ::close(fd);
    }
    ::signal(SIGPIPE, SIG_DFL);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

void use_streams(int standard_input) {
    int null = ::open("/dev/null", O_RDWR);
    ::dup2(standard_input >= 0 ? standard_input : null, STDIN_FILENO);
    ::dup2(null, STDOUT_FILENO);
    ::dup2(null, STDERR_FILENO);
    ::close_range(STDERR_FILENO + 1, UINT_MAX, 0);
}

/// Runs on the parent's memory while the parent's thread stands still.
int be_child(void* argument) {
    Plan& plan = *static_cast<Plan*>(argument);
    become_ordinary();
    use_streams(plan.standard_input);
    for (const std::string& path : plan.paths) {
        plan.error = 0;
        ::execve(path.c_str(), plan.argv.data(), plan.environment.data());
        plan.error = errno;
        if (errno != ENOENT && errno != ENOTDIR) {
            break;
        }
    }
    ::_exit(127);
}

/// Gives the child's pidfd.
base::Result<int> clone_child(Plan& plan) {
    auto unmap = [](void* stack) {
        // The child's functions never return: what a sanitizer knows of their frames would outlive the stack.
        ASAN_UNPOISON_MEMORY_REGION(stack, stack_bytes);
        ::munmap(stack, stack_bytes);
    };
    void* mapped =
        ::mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (mapped == MAP_FAILED) {
        return base::fail(base::Errc::no_memory, "no stack for a program");
    }
    std::unique_ptr<void, decltype(unmap)> stack(mapped, unmap);
    int pidfd = -1;
    int pid = __clone(be_child, static_cast<char*>(mapped) + stack_bytes,
                      CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &plan, &pidfd);
    if (pid < 0) {
        return base::fail(base::Errc::internal, fmt::format("clone: {}", std::strerror(errno)));
    }
    return pidfd;
}

} // namespace

base::Result<int> start_child(const Program& program) {
    base::check(!program.argv.empty(), "a program has a name");
    Plan plan{program.paths, {}, {}, program.standard_input, 0};
    for (const std::string& word : program.argv) {
        plan.argv.push_back(const_cast<char*>(word.c_str())); // execve changes nothing
    }
    plan.argv.push_back(nullptr);
    std::string path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    std::string locale = "LC_ALL=C";
    plan.environment = {path.data(), locale.data(), nullptr};
    auto started = clone_child(plan);
    if (started && plan.error != 0) {
        std::ignore = reap_child(*started);
        ::close(*started);
        return base::fail(plan.error == ENOENT ? base::Errc::not_found : base::Errc::internal,
                          fmt::format("{}: {}", program.argv.front(), std::strerror(plan.error)));
    }
    return started;
}

base::Result<int> reap_child(int pidfd) {
    siginfo_t info{};
    while (::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED) != 0) {
        if (errno != EINTR) {
            return base::fail(base::Errc::internal, fmt::format("waitid: {}", std::strerror(errno)));
        }
    }
    return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

} // namespace iscsi::ring

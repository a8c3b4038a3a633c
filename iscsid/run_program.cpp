// A child that is not like its parent. clone(2) with CLONE_VM and CLONE_VFORK as posix_spawn() does it, but
// with our own steps before the exec: nothing of this process's memory is copied, so no page of a buffer that
// I/O runs through becomes a copy-on-write one, as fork() would make it.
#include "base/check.hpp"
#include "process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <poll.h>
#include <sched.h>
#include <string_view>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <tuple>
#include <unistd.h>

namespace iscsi::process {
namespace {

constexpr int set_io_flusher = 57; // linux/prctl.h since 5.6
constexpr std::size_t stack_bytes = std::size_t{64} * 1024;
constexpr std::chrono::milliseconds killed_time_max{1000};

/// Made ready by the parent; the child only calls the kernel.
struct Plan {
    std::vector<std::string> candidates; ///< paths of the program, in the order they are tried
    std::vector<char*> argv;
    std::array<char*, 3> environment{};
    int error = 0; ///< written by the child: errno of the last exec
};

class Descriptor {
public:
    explicit Descriptor(int fd) : fd_(fd) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (fd_ >= 0) {
            ::close(fd_);
        }
    }
    int get() const { return fd_; }

private:
    int fd_;
};

void become_ordinary() {
    // Both fail harmlessly where protect_memory() had failed.
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

void use_null_streams() {
    int null = ::open("/dev/null", O_RDWR);
    for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        ::dup2(null, fd);
    }
    ::close_range(STDERR_FILENO + 1, UINT_MAX, 0);
}

/// Runs on the parent's memory while the parent's thread stands still.
int be_child(void* argument) {
    Plan& plan = *static_cast<Plan*>(argument);
    become_ordinary();
    use_null_streams();
    for (const std::string& path : plan.candidates) {
        plan.error = 0;
        ::execve(path.c_str(), plan.argv.data(), plan.environment.data());
        plan.error = errno;
        if (errno != ENOENT && errno != ENOTDIR) {
            break;
        }
    }
    ::_exit(127);
}

std::vector<std::string> candidates(const std::string& name) {
    if (name.starts_with('/')) {
        return {name};
    }
    std::vector<std::string> paths;
    for (std::string_view directory : {"/usr/sbin", "/usr/bin", "/sbin", "/bin"}) {
        paths.push_back(fmt::format("{}/{}", directory, name));
    }
    return paths;
}

/// Gives the child's pidfd.
base::Result<int> start(Plan& plan) {
    auto unmap = [](void* stack) { ::munmap(stack, stack_bytes); };
    void* mapped =
        ::mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (mapped == MAP_FAILED) {
        return base::fail(base::Errc::no_memory, "no stack for a program");
    }
    std::unique_ptr<void, decltype(unmap)> stack(mapped, unmap);
    int pidfd = -1;
    int pid = ::clone(be_child, static_cast<char*>(mapped) + stack_bytes,
                      CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &plan, &pidfd);
    if (pid < 0) {
        return base::fail(base::Errc::internal, fmt::format("clone: {}", std::strerror(errno)));
    }
    return pidfd;
}

bool ends_within(int pidfd, std::chrono::milliseconds time_max) {
    pollfd wait{pidfd, POLLIN, 0};
    auto deadline = std::chrono::steady_clock::now() + time_max;
    for (;;) {
        auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
        int ready = ::poll(&wait, 1, static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, INT_MAX)));
        if (ready >= 0 || errno != EINTR) {
            return ready > 0;
        }
    }
}

/// The exit status of a program that has ended.
base::Result<int> reap(int pidfd) {
    siginfo_t info{};
    while (::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED) != 0) {
        if (errno != EINTR) {
            return base::fail(base::Errc::internal, fmt::format("waitid: {}", std::strerror(errno)));
        }
    }
    return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

} // namespace

base::Result<int> run_program(const std::vector<std::string>& argv, std::chrono::milliseconds time_max) {
    base::check(!argv.empty(), "a program has a name");
    Plan plan;
    plan.candidates = candidates(argv.front());
    for (const std::string& word : argv) {
        plan.argv.push_back(const_cast<char*>(word.c_str())); // execve changes nothing
    }
    plan.argv.push_back(nullptr);
    std::string path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    std::string locale = "LC_ALL=C";
    plan.environment = {path.data(), locale.data(), nullptr};
    auto started = start(plan);
    if (!started) {
        return started;
    }
    Descriptor child(*started);
    if (!ends_within(child.get(), time_max)) {
        // A program that stands in the kernel ends when the kernel lets it.
        ::syscall(SYS_pidfd_send_signal, child.get(), SIGKILL, nullptr, 0);
        if (ends_within(child.get(), killed_time_max)) {
            std::ignore = reap(child.get());
        }
        return base::fail(base::Errc::request_timed_out,
                          fmt::format("{} did not end within {} ms", argv.front(), time_max.count()));
    }
    auto status = reap(child.get());
    if (plan.error != 0) {
        return base::fail(plan.error == ENOENT ? base::Errc::not_found : base::Errc::internal,
                          fmt::format("{}: {}", argv.front(), std::strerror(plan.error)));
    }
    return status;
}

} // namespace iscsi::process

#include "base/check.hpp"
#include "process.hpp"
#include "ring/child.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <fmt/format.h>
#include <poll.h>
#include <string_view>
#include <sys/syscall.h>
#include <tuple>
#include <unistd.h>

namespace iscsi::process {
namespace {

constexpr std::chrono::milliseconds killed_time_max{1000};

class Descriptor {
public:
    explicit Descriptor(int fd) : fd_(fd) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() { ::close(fd_); }
    int get() const { return fd_; }

private:
    int fd_;
};

/// Paths of the program, in the order they are tried.
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

} // namespace

base::Result<int> run_program(const std::vector<std::string>& argv, std::chrono::milliseconds time_max) {
    base::check(!argv.empty(), "a program has a name");
    auto started = ring::start_child({candidates(argv.front()), argv});
    if (!started) {
        return started;
    }
    Descriptor child(*started);
    if (!ends_within(child.get(), time_max)) {
        // A program that stands in the kernel ends when the kernel lets it.
        ::syscall(SYS_pidfd_send_signal, child.get(), SIGKILL, nullptr, 0);
        if (ends_within(child.get(), killed_time_max)) {
            std::ignore = ring::reap_child(child.get());
        }
        return base::fail(base::Errc::request_timed_out,
                          fmt::format("{} did not end within {} ms", argv.front(), time_max.count()));
    }
    return ring::reap_child(child.get());
}

} // namespace iscsi::process

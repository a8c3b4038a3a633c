// The daemon of the initramfs and the one of the system, which takes its devices over. pidfd_open(2).
#include "process.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <limits>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace iscsi::process {
namespace {

constexpr std::chrono::seconds usual_end_max{30};
constexpr std::chrono::seconds killed_end_max{10};

std::string content_of(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// As the scripts of the initramfs start it; another program may have its number by now.
bool is_daemon(pid_t pid) {
    const std::string words = content_of(fmt::format("/proc/{}/cmdline", pid));
    constexpr std::string_view name("@iscsid\0", 8);
    return words.starts_with(name);
}

bool ends_within(int pidfd, std::chrono::seconds time_max) {
    pollfd wait{pidfd, POLLIN, 0};
    const auto deadline = std::chrono::steady_clock::now() + time_max;
    int ready = 0;
    do {
        auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
        ready = ::poll(&wait, 1, std::max(0, static_cast<int>(left.count())));
    } while (ready < 0 && errno == EINTR);
    return ready > 0;
}

base::Result<void> end(int pidfd, pid_t pid) {
    ::syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, nullptr, 0);
    if (ends_within(pidfd, usual_end_max)) {
        return {};
    }
    // Its devices outlive that as well.
    ::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0);
    if (ends_within(pidfd, killed_end_max)) {
        return {};
    }
    return base::fail(base::Errc::busy, fmt::format("the iscsid of the initramfs ({}) does not end", pid));
}

} // namespace

base::Result<bool> replace_daemon_of_initramfs(const records::Paths& paths) {
    const std::string path = paths.run_dir() + "/initramfs.pid";
    const std::string text = content_of(path);
    if (text.empty()) {
        return false;
    }
    const auto pid = base::parse_decimal(std::string_view(text).substr(0, text.find('\n')),
                                         std::numeric_limits<pid_t>::max());
    if (pid && std::cmp_equal(*pid, ::getpid())) {
        return false; // this is the one of the initramfs
    }
    bool replaced = false;
    if (pid && *pid > 1) {
        const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, static_cast<pid_t>(*pid), 0));
        if (pidfd >= 0 && is_daemon(static_cast<pid_t>(*pid))) {
            auto ended = end(pidfd, static_cast<pid_t>(*pid));
            if (!ended) {
                ::close(pidfd);
                return base::fail(std::move(ended.error()));
            }
            replaced = true;
        }
        if (pidfd >= 0) {
            ::close(pidfd);
        }
    }
    ::unlink(path.c_str());
    return replaced;
}

} // namespace iscsi::process

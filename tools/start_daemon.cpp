#include "start_daemon.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <spawn.h>
#include <string>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

extern char** environ;

namespace iscsi::tools {
namespace {

using base::Errc;
using base::fail;
using base::Result;

/// The iscsid that was installed with this program.
std::string daemon_path() {
    std::error_code error;
    std::filesystem::path own = std::filesystem::read_symlink("/proc/self/exe", error);
    return error ? "/sbin/iscsid" : (own.parent_path() / "iscsid").string();
}

/// A file without a name that a program writes to.
class Scratch {
public:
    Scratch() : fd_(::memfd_create("said", MFD_CLOEXEC)) {}
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() { ::close(fd_); }
    int fd() const { return fd_; }
    std::string text() const {
        std::array<char, 4096> bytes{};
        const ssize_t n = ::pread(fd_, bytes.data(), bytes.size(), 0);
        return n <= 0 ? std::string() : std::string(bytes.data(), static_cast<std::size_t>(n));
    }

private:
    int fd_;
};

/// Runs a program to its end; gives its wait status, or -1 with errno.
int run_to_end(std::vector<std::string>& words, int standard_error) {
    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (std::string& word : words) {
        arguments.push_back(word.data());
    }
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, standard_error, STDERR_FILENO);
    pid_t child = 0;
    errno = ::posix_spawn(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    int status = -1;
    if (errno == 0) {
        while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
    }
    return status;
}

/// Starts iscsid and waits until it serves requests. It goes to the background by itself. The error has what
/// it said, which is not shown before: another one may have been started at the same time, and serve.
Result<void> start_daemon(const StartOptions& options) {
    std::vector<std::string> words{daemon_path()};
    if (!options.config_file.empty()) {
        words.insert(words.end(), {"-c", options.config_file});
    }
    if (options.debug_level != 0) {
        words.insert(words.end(), {"-d", std::to_string(options.debug_level)});
    }
    const Scratch said;
    const int status = run_to_end(words, said.fd());
    if (status == 0) {
        return {};
    }
    const std::string why = status < 0 ? fmt::format(": {}", std::strerror(errno)) : "";
    return fail(Errc::daemon_not_running,
                fmt::format("{}{} could not be started{}", said.text(), words[0], why));
}

/// Whether a daemon lives that has written its pid file: one that other programs have just started too.
bool other_daemon_lives(const records::Paths& paths) {
    const int fd = ::open(paths.pid_file().c_str(), O_RDWR | O_CLOEXEC);
    const bool locked = fd >= 0 && ::lockf(fd, F_TEST, 0) != 0;
    if (fd >= 0) {
        ::close(fd);
    }
    return locked;
}

bool is_missing(const Result<adm::Client>& client) {
    return !client && client.error().code == Errc::daemon_not_running;
}

} // namespace

Result<adm::Client> daemon_for(const StartOptions& options, const records::Paths& paths) {
    constexpr auto pause = std::chrono::milliseconds(50);
    constexpr auto patience = std::chrono::seconds(20);
    auto client = adm::Client::connect(paths);
    if (!is_missing(client)) {
        return client;
    }
    auto started = start_daemon(options);
    client = adm::Client::connect(paths);
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!started && is_missing(client) && other_daemon_lives(paths) &&
           std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(pause);
        client = adm::Client::connect(paths);
    }
    return is_missing(client) && !started ? fail(std::move(started.error())) : std::move(client);
}

} // namespace iscsi::tools

#include "process.hpp"

#include "base/text.hpp"

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <getopt.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace iscsi::process {
namespace {

tl::unexpected<base::Error> call_failed(const std::string& what) {
    return base::fail(base::Errc::internal, fmt::format("{}: {}", what, std::strerror(errno)));
}

template <class Number>
base::Result<Number> number_option(const char* name, const char* text, std::uint64_t most) {
    auto value = base::parse_decimal(text, most);
    if (!value) {
        return base::fail(base::Errc::invalid,
                          fmt::format("{}: '{}' is not a number up to {}", name, text, most));
    }
    return static_cast<Number>(*value);
}

constexpr std::array<option, 11> long_options{{
    {"config", required_argument, nullptr, 'c'},
    {"initiatorname", required_argument, nullptr, 'i'},
    {"foreground", no_argument, nullptr, 'f'},
    {"debug", required_argument, nullptr, 'd'},
    {"uid", required_argument, nullptr, 'u'},
    {"gid", required_argument, nullptr, 'g'},
    {"no-pid-file", no_argument, nullptr, 'n'},
    {"pid", required_argument, nullptr, 'p'},
    {"help", no_argument, nullptr, 'h'},
    {"version", no_argument, nullptr, 'v'},
    {nullptr, 0, nullptr, 0},
}};

/// From where this process stands now: a daemon in the background stands elsewhere.
base::Result<void> take_path(const char* name, const char* argument, std::string& path) {
    std::error_code error;
    path = *argument == '\0' ? "" : std::filesystem::absolute(argument, error).string();
    return error ? base::fail(base::Errc::invalid,
                              fmt::format("{} {}: {}", name, base::printable(argument), error.message()))
                 : base::Result<void>();
}

base::Result<void> take_option(Options& options, int letter, const char* argument) {
    switch (letter) {
    case 'c':
        return take_path("-c", argument, options.config_file);
    case 'i':
        return take_path("-i", argument, options.initiator_name_file);
    case 'f':
        options.foreground = true;
        return {};
    case 'd':
        return number_option<int>("-d", argument, 8).map([&](int level) { options.debug_level = level; });
    case 'u':
        return number_option<uid_t>("-u", argument, UINT_MAX - 1).map([&](uid_t uid) { options.uid = uid; });
    case 'g':
        return number_option<gid_t>("-g", argument, UINT_MAX - 1).map([&](gid_t gid) { options.gid = gid; });
    case 'n':
        options.no_pid_file = true;
        return {};
    case 'p':
        return take_path("-p", argument, options.pid_file);
    case 'h':
        options.help = true;
        return {};
    case 'v':
        options.version = true;
        return {};
    default:
        return base::fail(base::Errc::invalid);
    }
}

} // namespace

base::Result<Options> parse_options(int argc, char** argv) {
    Options options;
    int letter = 0;
    while ((letter = ::getopt_long(argc, argv, "c:i:fd:u:g:np:hv", long_options.data(), nullptr)) != -1) {
        if (auto taken = take_option(options, letter, optarg); !taken) {
            return base::fail(std::move(taken.error()));
        }
    }
    if (::optind != argc) {
        return base::fail(base::Errc::invalid,
                          fmt::format("'{}' is not an option", base::printable(argv[::optind], 64)));
    }
    bool names_pid_file = !options.pid_file.empty();
    if (names_pid_file && (options.no_pid_file || options.foreground)) {
        return base::fail(base::Errc::invalid, "-p cannot be used together with -n or -f");
    }
    return options;
}

std::string usage() {
    return "Usage: iscsid [OPTION]\n"
           "The iSCSI initiator daemon.\n"
           "\n"
           "  -c, --config=FILE         configuration (default: /etc/iscsi/iscsid.conf)\n"
           "  -i, --initiatorname=FILE  initiator name (default: /etc/iscsi/initiatorname.iscsi)\n"
           "  -f, --foreground          stay in the foreground, log to standard error, no pid file\n"
           "  -d, --debug=LEVEL         log more: 0 to 8\n"
           "  -u, --uid=UID             run as this user\n"
           "  -g, --gid=GID             run as this group\n"
           "  -n, --no-pid-file         write no pid file\n"
           "  -p, --pid=FILE            pid file (default: /run/iscsid.pid)\n"
           "  -h, --help                this text\n"
           "  -v, --version             the version\n"
           "\n"
           "With ISCSI_ROOT=DIR in the environment the default files are looked for under DIR.\n";
}

base::Result<Files> read_files(const Options& options, const records::Paths& paths,
                               records::Warnings& warnings) {
    Files files;
    const bool names_config = !options.config_file.empty();
    auto config = names_config ? records::read_named_config(options.config_file, warnings)
                               : records::read_config(paths.config_file(), warnings);
    if (config) {
        files.config = std::move(*config);
    } else if (names_config) {
        return base::fail(std::move(config.error()));
    } else {
        warnings.push_back(config.error().message());
    }
    auto initiator = records::read_initiator_name(
        options.initiator_name_file.empty() ? paths.initiator_name_file() : options.initiator_name_file);
    if (initiator) {
        files.initiator = std::move(*initiator);
    } else {
        warnings.push_back(
            fmt::format("{}; no login is possible without an InitiatorName", initiator.error().message()));
    }
    return files;
}

Background::~Background() {
    if (ready_fd_ >= 0) {
        ::close(ready_fd_);
    }
}

base::Result<void> Background::enter() {
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) {
        return call_failed("pipe");
    }
    pid_t child = ::fork();
    if (child < 0) {
        return call_failed("fork");
    }
    if (child > 0) {
        ::close(pipe[1]);
        char said = 0;
        bool is_ready = ::read(pipe[0], &said, 1) == 1;
        ::_exit(is_ready ? 0 : 1);
    }
    ::close(pipe[0]);
    ready_fd_ = pipe[1];
    ::setsid();
    if (::chdir("/") != 0) {
        return call_failed("chdir");
    }
    return {};
}

void Background::ready() {
    if (ready_fd_ < 0) {
        return;
    }
    int null = ::open("/dev/null", O_RDWR);
    for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        ::dup2(null, fd);
    }
    ::close(null);
    [[maybe_unused]] ssize_t written = ::write(ready_fd_, "1", 1);
    ::close(std::exchange(ready_fd_, -1));
}

base::Result<void> PidFile::create(const std::string& path) {
    fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0) {
        return call_failed(path);
    }
    if (::lockf(fd_, F_TLOCK, 0) != 0) {
        ::close(std::exchange(fd_, -1));
        return base::fail(base::Errc::busy, fmt::format("{}: another iscsid is running", path));
    }
    path_ = path;
    std::string text = fmt::format("{}\n", ::getpid());
    if (::ftruncate(fd_, 0) != 0 ||
        ::write(fd_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
        return call_failed(path);
    }
    return {};
}

PidFile::~PidFile() {
    remove();
}

void PidFile::remove() {
    if (fd_ >= 0) {
        ::unlink(path_.c_str());
        ::close(std::exchange(fd_, -1));
    }
}

RunLock::~RunLock() {
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

base::Result<void> RunLock::take(const std::string& run_dir, std::chrono::seconds patience) {
    constexpr auto look_again = std::chrono::milliseconds(50);
    const auto give_up_at = std::chrono::steady_clock::now() + patience;
    fd_ = ::open(run_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd_ < 0) {
        return call_failed(run_dir);
    }
    while (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) {
            return call_failed(run_dir);
        }
        if (std::chrono::steady_clock::now() >= give_up_at) {
            return base::fail(base::Errc::busy, fmt::format("{}: another iscsid is running", run_dir));
        }
        std::this_thread::sleep_for(look_again);
    }
    return {};
}

base::Result<void> make_directories(const records::Paths& paths) {
    for (const std::string& directory :
         {paths.run_dir(), paths.luns_dir(), paths.by_path_dir(), paths.sessions_dir()}) {
        for (std::size_t slash = directory.find('/', 1);; slash = directory.find('/', slash + 1)) {
            std::string part = directory.substr(0, slash);
            mode_t mode = part.size() >= paths.run_dir().size() ? 0700 : 0755;
            if (::mkdir(part.c_str(), mode) != 0 && errno != EEXIST) {
                return call_failed(part);
            }
            if (slash == std::string::npos) {
                break;
            }
        }
        // Also where another program or version made them; everybody may go through the first, to the socket.
        mode_t mode = directory == paths.run_dir() ? 0711 : 0700;
        if (::chmod(directory.c_str(), mode) != 0) {
            return call_failed(directory);
        }
    }
    return {};
}

void set_limits() {
    rlimit descriptors{};
    if (::getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
        descriptors.rlim_cur = descriptors.rlim_max;
        ::setrlimit(RLIMIT_NOFILE, &descriptors);
    }
    rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    ::prctl(PR_SET_DUMPABLE, 0);
    ::umask(0077);
}

base::Result<void> become(const Options& options) {
    if (options.gid && (::setgroups(0, nullptr) != 0 || ::setgid(*options.gid) != 0)) {
        return call_failed("-g");
    }
    if (options.uid && ::setuid(*options.uid) != 0) {
        return call_failed("-u");
    }
    ::prctl(PR_SET_DUMPABLE, 0); // with other ids the kernel falls back to its own setting
    rlimit locked{};
    bool bounded = ::getrlimit(RLIMIT_MEMLOCK, &locked) != 0 || locked.rlim_cur != RLIM_INFINITY;
    if (options.uid && bounded) {
        ::munlockall(); // it held by a right that is gone; now each mmap() could fail for it
    }
    return {};
}

int signal_descriptor() {
    ::signal(SIGPIPE, SIG_IGN);
    // A blocked signal comes nevertheless. Programs that this one starts inherit it, and one that was sent to
    // all of the service's processes must not end the helper that removes a device.
    ::signal(SIGUSR1, SIG_IGN);
    sigset_t signals;
    ::sigemptyset(&signals);
    for (int number : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) {
        ::sigaddset(&signals, number);
    }
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    return ::signalfd(-1, &signals, SFD_CLOEXEC);
}

} // namespace iscsi::process

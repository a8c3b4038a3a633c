// iscsid's command line, and how it guards its memory.
#include "process.hpp"

#include "support/in_child.hpp"
#include "support/sanitized.hpp"
#include "support/temporary_directory.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <getopt.h>
#include <memory>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace iscsi;

namespace {

base::Result<process::Options> parse(std::vector<std::string> words) {
    words.insert(words.begin(), "iscsid");
    std::vector<char*> argv;
    for (std::string& word : words) {
        argv.push_back(word.data());
    }
    argv.push_back(nullptr);
    ::optind = 0;
    ::opterr = 0;
    return process::parse_options(static_cast<int>(words.size()), argv.data());
}

constexpr int get_io_flusher = 58;
constexpr auto enough = std::chrono::seconds(20);

std::string first_line(const std::string& path) {
    std::string line;
    std::getline(std::ifstream(path) >> std::ws, line);
    return line;
}

/// Kilobytes that /proc/self/status gives for `key`.
long status_kb(const std::string& key) {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with(key + ":")) {
            return std::atol(line.c_str() + key.size() + 1);
        }
    }
    return -1;
}

/// Protects this process, a child made for it; true when nothing that begins with `what` was refused.
bool protects(std::string_view what = "") {
    auto refused = process::protect_memory();
    return std::ranges::none_of(refused, [what](const std::string& text) { return text.starts_with(what); });
}

/// Whether this user can, which not even root can in every container.
bool can_protect(std::string_view what) {
    bool can = test::in_child([what] { return protects(what) ? 0 : 1; }) == 0;
    if (!can) {
        WARN("refused here: " << what);
    }
    return can;
}

bool can_lock() {
    return !test::sanitized && can_protect("RLIMIT_MEMLOCK") && can_protect("mlockall");
}

/// What a program writes to the file $0 when it is run with `script`.
std::string says(const std::string& script) {
    test::TemporaryDirectory directory;
    const std::string file = directory.path() + "/said";
    auto status = process::run_program({"sh", "-c", script, file}, enough);
    return status && *status == 0 ? first_line(file) : "it failed";
}

} // namespace

TEST_CASE("iscsid takes open-iscsi's options, short and long") {
    auto brief = parse({"-f", "-d", "8", "-c", "/a", "-i", "/b", "-u", "7", "-g", "8"});
    REQUIRE(brief);
    CHECK(brief->foreground);
    CHECK(brief->debug_level == 8);
    CHECK(brief->config_file == "/a");
    CHECK(brief->initiator_name_file == "/b");
    CHECK(brief->uid == 7U);
    CHECK(brief->gid == 8U);
    auto lengthy = parse({"--no-pid-file", "--debug=3", "--config", "/x"});
    REQUIRE(lengthy);
    CHECK(lengthy->no_pid_file);
    CHECK(lengthy->debug_level == 3);
    CHECK(lengthy->config_file == "/x");
    REQUIRE(parse({"--version"}));
    CHECK(parse({"--version"})->version);
    CHECK(parse({"-h"})->help);
    CHECK_FALSE(parse({})->foreground);
}

TEST_CASE("numbers that are none, options that are none and options that exclude each other are refused") {
    for (const std::vector<std::string>& words :
         std::vector<std::vector<std::string>>{{"-d", "9"},
                                               {"-d", "x"},
                                               {"-d", "-1"},
                                               {"-u", "4294967295"},
                                               {"-g", ""},
                                               {"-x"},
                                               {"-c"},
                                               {"-p", "/run/x", "-n"},
                                               {"-p", "/run/x", "-f"}}) {
        CAPTURE(words);
        auto refused = parse(words);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().code == base::Errc::invalid);
    }
}

TEST_CASE("what a user may not do to protect memory is a warning each, and nothing else happens") {
    if (::geteuid() != 0) {
        WARN("only root can become somebody else");
        return;
    }
    int ended = test::in_child([] {
        rlimit little{65536, 65536};
        ::setrlimit(RLIMIT_MEMLOCK, &little);
        if (::setuid(65534) != 0) {
            return 2;
        }
        std::vector<std::string> warnings = process::protect_memory();
        // Memory of any size can still be had: no bound was put on it.
        auto block = std::make_unique<std::array<char, 1U << 20>>();
        return warnings.size() == 3 && block != nullptr && status_kb("VmLck") == 0 ? 0 : 1;
    });
    CHECK(ended == 0);
}

TEST_CASE("a protected process is an I/O flusher, in threads too") {
    if (!can_protect("PR_SET_IO_FLUSHER")) {
        return;
    }
    int ended = test::in_child([] {
        bool before = ::prctl(get_io_flusher, 0, 0, 0, 0) == 0;
        process::protect_memory();
        bool flushes = ::prctl(get_io_flusher, 0, 0, 0, 0) == 1;
        bool thread_flushes = false;
        std::thread([&] { thread_flushes = ::prctl(get_io_flusher, 0, 0, 0, 0) == 1; }).join();
        return before && flushes && thread_flushes ? 0 : 1;
    });
    CHECK(ended == 0);
}

TEST_CASE("a protected process is not killed to make room") {
    if (!can_protect("oom_score_adj")) {
        return;
    }
    int ended = test::in_child([] {
        process::protect_memory();
        return first_line("/proc/self/oom_score_adj") == "-1000" ? 0 : 1;
    });
    CHECK(ended == 0);
}

TEST_CASE("memory is locked as it is touched, and not before") {
    if (!can_lock()) {
        return;
    }
    constexpr std::size_t bytes = std::size_t{64} << 20;
    int ended = test::in_child([] {
        process::protect_memory();
        if (status_kb("VmLck") < 1024) {
            return 2; // the program itself
        }
        const long resident = status_kb("VmRSS");
        void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED || status_kb("VmRSS") > resident + 1024) {
            return 3;
        }
        std::thread([] {}).join(); // 8 MiB of stack; what is touched may be huge pages
        if (status_kb("VmRSS") > resident + 6 * 1024) {
            return 4;
        }
        const long locked = status_kb("VmLck");
        ::munmap(memory, bytes);
        return locked - status_kb("VmLck") == static_cast<long>(bytes / 1024) ? 0 : 5;
    });
    CHECK(ended == 0);
}

TEST_CASE("freed memory is kept and not faulted in again") {
    if (!can_lock()) {
        return;
    }
    int ended = test::in_child([] {
        process::protect_memory();
        auto faults = [] {
            rusage usage{};
            ::getrusage(RUSAGE_SELF, &usage);
            return usage.ru_minflt;
        };
        auto use = [] {
            constexpr std::size_t piece = std::size_t{1} << 20;
            std::vector<std::unique_ptr<char[]>> pieces;
            for (int i = 0; i < 32; ++i) {
                pieces.push_back(std::make_unique<char[]>(piece)); // zeroed: touched
            }
        };
        use();
        const long before = faults();
        use();
        return faults() - before < 100 ? 0 : 2;
    });
    CHECK(ended == 0);
}

TEST_CASE("no core of this process is ever written") {
    int ended = test::in_child([] {
        process::set_limits();
        rlimit core{1, 1};
        ::getrlimit(RLIMIT_CORE, &core);
        return core.rlim_cur == 0 && core.rlim_max == 0 && ::prctl(PR_GET_DUMPABLE) == 0 ? 0 : 1;
    });
    CHECK(ended == 0);
}

TEST_CASE("a program is run to its end and its status told") {
    auto ended = [](const std::vector<std::string>& argv) { return process::run_program(argv, enough); };
    CHECK(ended({"true"}) == 0);
    CHECK(ended({"/bin/false"}) == 1);
    CHECK(ended({"sh", "-c", "exit 42"}) == 42);
    CHECK(ended({"sh", "-c", "kill -9 $$"}) == 128 + SIGKILL);
}

TEST_CASE("a program that is not there, or is none, is an error with its name") {
    auto missing = process::run_program({"no-such-program"}, enough);
    REQUIRE_FALSE(missing);
    CHECK(missing.error().code == base::Errc::not_found);
    CHECK(missing.error().detail == "no-such-program: No such file or directory");
    CHECK(process::run_program({"/no/such"}, enough).error().code == base::Errc::not_found);
    CHECK(process::run_program({"/etc/passwd"}, enough).error().code == base::Errc::internal);
    CHECK(::waitpid(-1, nullptr, WNOHANG) == -1); // no child is left
}

TEST_CASE("a program that does not end in time is killed") {
    auto begun = std::chrono::steady_clock::now();
    auto late = process::run_program({"sleep", "1000"}, std::chrono::milliseconds(50));
    REQUIRE_FALSE(late);
    CHECK(late.error().code == base::Errc::request_timed_out);
    CHECK(late.error().detail == "sleep did not end within 50 ms");
    CHECK(std::chrono::steady_clock::now() - begun < std::chrono::seconds(20));
    CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
}

TEST_CASE("a program gets nothing of the daemon but a path") {
    constexpr int leaks = 57; // and not to be closed by an exec
    REQUIRE(::dup2(STDIN_FILENO, leaks) == leaks);
    ::setenv("ISCSI_TEST_LEAK", "yes", 1);
    CHECK(says("env | grep -v -e ^PWD= -e ^SHLVL= -e ^_= -e ^OLDPWD= | sort | tr '\\n' ' ' > $0") ==
          "LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin ");
    CHECK(says("for n in 0 1 2; do readlink /proc/$$/fd/$n; done | uniq -c > $0") == "3 /dev/null");
    CHECK(says("test -e /proc/$$/fd/57 && echo leaked > $0 || echo gone > $0") == "gone");
    ::unsetenv("ISCSI_TEST_LEAK");
    ::close(leaks);
}

TEST_CASE("a program that a protected daemon runs is an ordinary one") {
    sigset_t blocked;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGTERM);
    int ended = test::in_child([&] {
        ::signal(SIGHUP, SIG_DFL); // whoever runs the tests may have it ignored
        process::protect_memory();
        const std::string score = first_line("/proc/self/oom_score_adj");
        const int flusher = ::prctl(get_io_flusher, 0, 0, 0, 0);
        ::signal(SIGPIPE, SIG_IGN);
        ::pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
        bool victim = says("cat /proc/self/oom_score_adj > $0") == "0";
        bool unlocked = says("grep VmLck /proc/self/status | tr -d '\\t ' > $0") == "VmLck:0kB";
        bool signals = says("grep -c -e 'SigBlk:.0000000000000000' -e 'SigIgn:.0000000000000000' "
                            "/proc/self/status > $0") == "2";
        // The daemon itself is what it was.
        bool same =
            first_line("/proc/self/oom_score_adj") == score && ::prctl(get_io_flusher, 0, 0, 0, 0) == flusher;
        sigset_t now;
        ::pthread_sigmask(SIG_BLOCK, nullptr, &now);
        return victim && unlocked && signals && same && ::sigismember(&now, SIGTERM) == 1 ? 0 : 1;
    });
    CHECK(ended == 0);
}

// iscsistart: one session from the command line, without the record database: for an initramfs. The session
// lives in iscsid, as every session does: the daemon that runs is asked, or one is started that stays when
// this program ends. A later iscsid takes the session and its devices over when that one is stopped
// (ARCHITECTURE: a restart). One thread.
#include "client.hpp"
#include "iscsistart_options.hpp"
#include "privacy.hpp"

#include "base/names.hpp"
#include "base/text.hpp"
#include "records/store.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <netdb.h>
#include <spawn.h>
#include <string>
#include <sys/mman.h>
#include <sys/socket.h>
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
using records::Key;

constexpr int exit_failed = 1;

void complain(std::string_view text) {
    for (std::string_view line : base::split(text, '\n')) {
        if (!line.empty()) {
            std::fprintf(stderr, "iscsistart: %.*s\n", static_cast<int>(line.size()), line.data());
        }
    }
}

int complain_of(const base::Error& error) {
    complain(error.message());
    return base::exit_code(error.code);
}

/// What a disk to boot from needs before the keys of the command line: no giving up early, and no NOPs that
/// would end the session while the system is not yet able to answer them in time.
Result<void> prepare_for_boot(records::Record& node) {
    constexpr std::array<std::pair<Key, std::string_view>, 4> values{{
        {Key::node_startup, "onboot"},
        {Key::session_initial_login_retry_max, "30"},
        {Key::conn_noop_out_interval, "0"},
        {Key::conn_noop_out_timeout, "0"},
    }};
    for (const auto& [key, value] : values) {
        if (auto set = node.set(key, value); !set) {
            return set;
        }
    }
    return {};
}

Result<void> set_chap(records::Record& node, const StartOptions& options) {
    const std::array<std::pair<Key, const std::string*>, 4> values{{
        {Key::session_username, &options.username},
        {Key::session_password, &options.password},
        {Key::session_username_in, &options.username_in},
        {Key::session_password_in, &options.password_in},
    }};
    for (const auto& [key, value] : values) {
        if (value->empty()) {
            continue;
        }
        if (auto set = node.set(key, *value); !set) {
            return set;
        }
    }
    return options.password.empty() ? Result<void>() : node.set(Key::session_authmethod, "CHAP");
}

/// Whether the names that were given have their secrets, which may come from elsewhere. No CHAP at all would
/// be a surprise.
Result<void> check_chap(const records::Record& node, const StartOptions& options) {
    if (!options.username.empty() && node.text(Key::session_password).empty()) {
        return fail(Errc::invalid, "-u has no secret: give it with -w");
    }
    if (!options.username_in.empty() && node.text(Key::session_password_in).empty()) {
        return fail(Errc::invalid, "-U has no secret: give it with -W");
    }
    return {};
}

Result<void> set_parameters(records::Record& node, const StartOptions& options) {
    for (const auto& [name, value] : options.parameters) {
        const records::Field* row = records::find_field(records::RecordKind::node, name);
        if (row == nullptr || row->has(records::read_only)) {
            return fail(Errc::invalid, fmt::format("Unknown parameter {}.", base::printable(name, 128)));
        }
        if (auto set = node.set(row->key, value); !set) {
            return set;
        }
    }
    return {};
}

/// The node record that the options describe, over what iscsid.conf says.
Result<records::Record> node_of(const StartOptions& options, const records::Store& store) {
    records::Warnings warnings;
    auto config = options.config_file.empty() ? store.config(warnings)
                                              : records::read_named_config(options.config_file, warnings);
    if (!config) {
        return fail(std::move(config.error()));
    }
    for (const std::string& warning : options.debug_level > 0 ? warnings : records::Warnings{}) {
        complain(warning);
    }
    if (auto named = base::check_iscsi_name(options.initiator); !named) {
        return fail(std::move(named.error()));
    }
    auto iface = records::make_iface("default");
    if (!iface) {
        return fail(std::move(iface.error()));
    }
    // The daemon may have read no initiatorname.iscsi: the name travels with the record.
    if (auto set = iface->set(Key::iface_initiatorname, options.initiator); !set) {
        return fail(std::move(set.error()));
    }
    records::Portal portal{options.address, options.port, *options.tpgt};
    auto node =
        records::make_node(config->node, options.target, portal, *iface, records::Origin{"fw", "", 0});
    if (!node) {
        return node;
    }
    for (auto* step : {+[](records::Record&record, const StartOptions&) { return prepare_for_boot(record); },
                       &set_chap, &set_parameters}) {
        if (auto done = step(*node, options); !done) {
            return fail(std::move(done.error()));
        }
    }
    if (auto complete = check_chap(*node, options); !complete) {
        return fail(std::move(complete.error()));
    }
    return node;
}

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

/// The daemon that runs, else one that is started here. When several programs start one at the same time only
/// one of them succeeds, and what it has started may not serve yet.
Result<adm::Client> connect(const StartOptions& options, const records::Paths& paths) {
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

/// A name that cannot be resolved now is refused now: the daemon would go on asking for it for as long as it
/// waits for a disk to boot from.
Result<void> check_address(const StartOptions& options) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int error = ::getaddrinfo(options.address.c_str(), nullptr, &hints, &found);
    if (error != 0) {
        return fail(Errc::transport,
                    fmt::format("cannot resolve '{}': {}", base::printable(options.address, 64),
                                ::gai_strerror(error)));
    }
    ::freeaddrinfo(found);
    return {};
}

int log_in(const StartOptions& options) {
    if (auto complete = check_complete(options); !complete) {
        return complain_of(complete.error());
    }
    auto paths = records::find_paths();
    if (!paths) {
        return complain_of(paths.error());
    }
    records::Store store(std::move(*paths));
    auto node = node_of(options, store);
    if (!node) {
        return complain_of(node.error());
    }
    if (auto resolved = check_address(options); !resolved) {
        complain_of(resolved.error());
        return exit_failed;
    }
    std::string place =
        fmt::format("{} {}", options.target, records::portal_text(records::node_id(*node).portal));
    std::printf("iscsistart: Logging into %s\n", place.c_str());
    std::fflush(stdout);
    auto client = connect(options, store.paths());
    if (!client) {
        complain_of(client.error());
        return exit_failed;
    }
    auto id = client->post(ipc::Login{std::move(*node), false});
    auto reply = adm::expect<ipc::LoginReply>(client->wait(id));
    if (!reply && reply.error().code == Errc::session_exists) {
        std::printf("iscsistart: there is a session with %s\n", place.c_str());
        return 0;
    }
    if (!reply) {
        complain(reply.error().detail);
        complain(fmt::format("initiator reported error ({} - {})", base::exit_code(reply.error().code),
                             base::text(reply.error().code)));
        return exit_failed;
    }
    for (const ipc::AttachedLun& lun : reply->luns) {
        const std::string& where = lun.device.empty() ? lun.state : lun.device;
        std::printf("iscsistart: LUN %llu: %s\n", static_cast<unsigned long long>(lun.number), where.c_str());
    }
    return 0;
}

/// Whether the kernel shows tables that boot firmware left for iSCSI (iBFT, or an adapter's own).
bool has_boot_firmware(const records::Paths& paths) {
    std::error_code error;
    for (const char* name : {"ibft", "iscsi_boot0", "iscsi_boot1", "iscsi_boot2", "iscsi_boot3"}) {
        if (std::filesystem::exists(paths.root() + "/sys/firmware/" + name, error)) {
            return true;
        }
    }
    return false;
}

/// -b, -N and -f. Without tables, what open-iscsi says; with tables we have to admit that we do not read
/// them.
int ask_firmware(Firmware what) {
    if (has_boot_firmware(records::Paths::from_environment())) {
        complain("the tables of this machine's boot firmware are not read by this version; "
                 "give the values with -i, -t, -g and -a");
        return base::exit_code(Errc::not_supported);
    }
    std::puts(what == Firmware::connect   ? "Could not get boot entry."
              : what == Firmware::network ? "Could not setup fw entries."
                                          : "Could not get list of targets from firmware.");
    return base::exit_code(Errc::not_found);
}

int run(int argc, char** argv) {
    auto options = parse_start_options(argc, argv);
    if (!options) {
        if (options.error().detail.empty()) {
            std::fputs("Try `iscsistart --help' for more information.\n", stderr);
        } else {
            complain(options.error().detail);
        }
        return base::exit_code(options.error().code);
    }
    if (options->help) {
        std::fputs(start_usage().c_str(), stdout);
        return 0;
    }
    if (options->version) {
        std::printf("iscsistart version %s\n", std::string(records::compat_version).c_str());
        return 0;
    }
    return options->firmware == Firmware::none ? log_in(*options) : ask_firmware(options->firmware);
}

} // namespace
} // namespace iscsi::tools

int main(int argc, char** argv) {
    iscsi::adm::make_private();
    return iscsi::tools::run(argc, argv);
}

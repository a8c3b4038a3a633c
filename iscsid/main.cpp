// iscsid: builds every object in order and runs; no logic.
#include "base/standard_descriptors.hpp"
#include "base/text.hpp"
#include "block/device_helper.hpp"
#include "control/daemon.hpp"
#include "control/ipc_server.hpp"
#include "control/log.hpp"
#include "process.hpp"
#include "records/fields.hpp"
#include "service_manager.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <sys/signalfd.h>
#include <thread>
#include <tuple>
#include <utility>

namespace {

using namespace iscsi;

unsigned shard_count(const records::Config& config) {
    constexpr unsigned shards_default_max = 4;
    auto wanted = config.daemon.number(records::Key::daemon_shards);
    if (wanted > 0) {
        return static_cast<unsigned>(wanted);
    }
    return std::clamp(std::thread::hardware_concurrency(), 1U, shards_default_max);
}

void load_module(const std::string& module) {
    constexpr auto time_max = std::chrono::seconds(30);
    std::ignore = process::run_program({"modprobe", "-q", module}, time_max);
}

/// SIGTERM ends the daemon; SIGINT only in the foreground; SIGUSR1 has its state logged; SIGHUP does nothing.
class SignalWatch {
public:
    SignalWatch(control::Daemon& daemon, bool foreground) : daemon_(daemon), foreground_(foreground) {}

    ring::Task<void> run(int fd) {
        while (!ended_) {
            signalfd_siginfo info{};
            ring::OpWait reading(daemon_.loop());
            io_uring_prep_read(reading.sqe(), fd, &info, sizeof info, 0);
            reading_ = &reading;
            int bytes = co_await reading;
            reading_ = nullptr;
            if (bytes <= 0) {
                co_return;
            }
            if (info.ssi_signo == SIGTERM || (info.ssi_signo == SIGINT && foreground_)) {
                control::log::event(control::log::About{control::log::Event::daemon_ending},
                                    "signal {}: stopping", info.ssi_signo);
                daemon_.stop_requested().set();
            } else if (info.ssi_signo == SIGUSR1) {
                daemon_.tell_state();
            }
        }
    }
    void end() {
        ended_ = true;
        if (reading_ != nullptr) {
            reading_->cancel();
        }
    }

private:
    control::Daemon& daemon_;
    bool foreground_;
    bool ended_ = false;
    ring::OpWait* reading_ = nullptr;
};

/// What runs beside the daemon from its start to its end.
struct Watches {
    Watches(control::Daemon& daemon, bool foreground, const process::ServiceManager& manager)
        : signals(daemon, foreground) {
        if (auto time = manager.watchdog_time()) {
            watchdog.emplace(daemon.loop(), daemon.shard_loops(), *time,
                             [&manager] { return manager.say_alive(); });
        }
    }
    void start(int signal_descriptor) {
        running.spawn(signals.run(signal_descriptor));
        if (watchdog) {
            running.spawn(watchdog->run());
        }
    }
    void end() {
        signals.end();
        if (watchdog) {
            watchdog->end();
        }
    }

    SignalWatch signals;
    std::optional<process::Watchdog> watchdog;
    ring::TaskGroup running;
};

ring::Task<void> tell_ready(control::Daemon& daemon, const process::ServiceManager& manager) {
    while (!manager.say_ready() && !daemon.stop_requested().is_set()) {
        const base::TimePoint again_at = daemon.loop().now() + process::say_again_pause;
        ring::EventOrDeadline pause(daemon.loop(), daemon.stop_requested(), again_at);
        co_await pause;
    }
}

ring::Task<void> run_until_stopped(control::Daemon& daemon, control::IpcServer& server, Watches& watches,
                                   process::Background& background, const process::ServiceManager& manager) {
    co_await daemon.begin();
    server.start();
    control::log::event(control::log::About{control::log::Event::daemon_started}, "iscsid {} is ready",
                        ISCSI_VERSION);
    background.ready();
    co_await tell_ready(daemon, manager);
    ring::Event& stop = daemon.stop_requested();
    co_await stop;
    manager.say_stopping();
    co_await server.stop_accepting();
    co_await daemon.end_sessions();
    if (!daemon.leaves_devices()) {
        co_await server.close();
        watches.end();
        co_await watches.running.join();
    }
    daemon.loop().stop();
}

/// By its configuration, or because a daemon before it did.
bool may_serve_kernel_devices(const records::Config& config, const records::Paths& paths) {
    std::error_code error;
    const bool no_state = std::filesystem::is_empty(paths.sessions_dir(), error) || error;
    return config.daemon.text(records::Key::daemon_block) != "socket" || !no_state;
}

control::DaemonConfig daemon_config(process::Files files, const records::Paths& paths,
                                    const process::Options& options) {
    const records::Record& settings = files.config.daemon;
    control::DaemonConfig config;
    config.paths = paths;
    const std::string& db_dir = settings.text(records::Key::daemon_db_dir);
    if (!paths.db_dir_is_chosen() && db_dir.starts_with('/')) {
        config.paths = records::Paths(paths.root(), db_dir);
    }
    config.config_file = options.config_file;
    config.shards = shard_count(files.config);
    config.queues = static_cast<unsigned>(settings.number(records::Key::daemon_queues));
    config.initiator = std::move(files.initiator);
    config.block = settings.text(records::Key::daemon_block);
    const auto zero_copy_min_kb = settings.number(records::Key::daemon_ublk_zero_copy_min_kb);
    config.ublk_zero_copy_bytes_min = static_cast<std::uint32_t>(zero_copy_min_kb) * 1024;
    config.safe_logout = settings.boolean(records::Key::daemon_safe_logout);
    config.load_module = load_module;
    return config;
}

/// The server of requests, once no other daemon is there: the one of the initramfs is ended.
base::Result<std::unique_ptr<control::IpcServer>> listen_alone(control::Daemon& daemon,
                                                               const records::Paths& paths,
                                                               process::RunLock& lock,
                                                               process::ServiceManager& manager) {
    auto replaced = process::replace_daemon_of_initramfs(paths);
    if (!replaced) {
        return base::fail(std::move(replaced.error()));
    }
    if (*replaced) {
        control::log::info("the iscsid of the initramfs has ended; its devices are taken over");
    }
    const auto listening = manager.take_listening_socket();
    // Who answers at a socket is not ending; a service manager's says nothing of that.
    const bool is_another = !listening && control::IpcServer::is_answered(paths.ipc_socket());
    const std::chrono::seconds ending_time_max(is_another ? 0 : 10);
    if (auto taken = lock.take(paths.run_dir(), ending_time_max); !taken) {
        return base::fail(std::move(taken.error()));
    }
    return control::IpcServer::listen(daemon, listening);
}

/// Says why this daemon does not start: to the log, and to whoever waits for it to be in the background.
int fail_to_start(const process::Options& options, std::string_view why) {
    control::log::error("{}", why);
    if (!options.foreground) {
        std::fprintf(stderr, "iscsid: %s\n", base::printable(why).c_str());
    }
    return 1;
}

int run(const process::Options& options, const records::Paths& paths, process::Background& background,
        process::ServiceManager& manager) {
    records::Warnings warnings;
    auto files = process::read_files(options, paths, warnings);
    if (!files) {
        return fail_to_start(options, files.error().message());
    }
    for (const std::string& warning : warnings) {
        control::log::warning("{}", warning);
    }
    process::share_heap();
    if (may_serve_kernel_devices(files->config, paths)) {
        for (const std::string& warning : process::protect_memory()) {
            control::log::warning("{}", warning);
        }
    }
    if (auto made = process::make_directories(paths); !made) {
        return fail_to_start(options, made.error().message());
    }
    process::PidFile pid_file;
    if (!options.foreground && !options.no_pid_file) {
        const std::string& path = options.pid_file.empty() ? paths.pid_file() : options.pid_file;
        if (auto created = pid_file.create(path); !created) {
            return fail_to_start(options, created.error().message());
        }
    }
    int signals = process::signal_descriptor();
    if (signals < 0) {
        return fail_to_start(options, "signalfd failed");
    }
    auto daemon = control::Daemon::create(daemon_config(std::move(*files), paths, options));
    if (!daemon) {
        return fail_to_start(options, daemon.error().message());
    }
    process::RunLock run_lock;
    auto server = listen_alone(**daemon, paths, run_lock, manager);
    if (!server) {
        return fail_to_start(options, server.error().message());
    }
    if (auto became = process::become(options); !became) {
        return fail_to_start(options, became.error().message());
    }
    Watches watches(**daemon, options.foreground, manager);
    ring::TaskGroup running;
    watches.start(signals);
    running.spawn(run_until_stopped(**daemon, **server, watches, background, manager));
    (*daemon)->loop().run();
    if ((*daemon)->leaves_devices()) {
        control::log::info("stopped; block devices wait for the next iscsid");
        pid_file.remove();
        std::_Exit(0);
    }
    (*daemon)->stop_shards();
    control::log::info("stopped");
    return 0;
}

} // namespace

int main(int argc, char** argv) {
    base::fill_standard_descriptors(base::ClosedOutput::swallowed);
    // Before anything of the daemon's is made.
    if (block::is_device_helper(argc, argv)) {
        return block::device_helper_main();
    }
    auto options = process::parse_options(argc, argv);
    if (!options) {
        if (!options.error().detail.empty()) {
            std::fprintf(stderr, "iscsid: %s\n", options.error().detail.c_str());
        }
        std::fprintf(stderr, "Try `iscsid --help' for more information.\n");
        return 1;
    }
    if (options->help) {
        std::fputs(process::usage().c_str(), stdout);
        return 0;
    }
    if (options->version) {
        std::printf("iscsid version %s\n", ISCSI_VERSION);
        return 0;
    }
    process::set_limits();
    records::Paths paths = records::Paths::from_environment();
    control::log::open(control::log::Sink::standard_error, options->debug_level);
    auto manager = process::ServiceManager::from_environment(paths.ipc_socket());
    if (!manager) {
        control::log::error("{}", manager.error().message());
        return 1;
    }
    process::Background background;
    if (!options->foreground) {
        if (auto entered = background.enter(); !entered) {
            control::log::error("{}", entered.error().message());
            return 1;
        }
        control::log::open(control::log::Sink::syslog, options->debug_level);
    }
    return run(*options, paths, background, *manager);
}

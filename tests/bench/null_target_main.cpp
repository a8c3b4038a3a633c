// The null target's sockets: listens on the IPv4 loopback address only, a thread for every connection. It
// ends with its parent, or when its time is over.
#include "base/text.hpp"
#include "bench/loop.hpp"
#include "bench/null_target.hpp"
#include "bench/sockets.hpp"

#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fmt/core.h>
#include <getopt.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace iscsi::bench {
namespace {

constexpr std::size_t staging_bytes = std::size_t{512} * 1024;
static_assert(staging_bytes > NullConnection::whole_pdu_bytes_max);

struct TargetOptions {
    std::uint16_t port = 0;
    std::uint32_t block_bytes = 512;
    std::uint64_t capacity_bytes = std::uint64_t{16} << 30;
    std::uint32_t luns = 1;
    std::uint32_t command_window = NullTargetConfig().command_window;
    int cpu = -1;
    unsigned seconds = 3600;
};

constexpr std::array long_options{
    option{"port", required_argument, nullptr, 'p'},
    option{"block-bytes", required_argument, nullptr, 'b'},
    option{"capacity-bytes", required_argument, nullptr, 'r'},
    option{"luns", required_argument, nullptr, 'l'},
    option{"window", required_argument, nullptr, 'w'},
    option{"cpu", required_argument, nullptr, 'c'},
    option{"seconds", required_argument, nullptr, 's'},
    option{nullptr, 0, nullptr, 0},
};

std::uint64_t number(std::uint64_t max) {
    auto value = base::parse_decimal(optarg, max);
    if (!value) {
        die(fmt::format("not a number between 0 and {}: {}", max, optarg));
    }
    return *value;
}

TargetOptions parse_target_options(int argc, char** argv) {
    TargetOptions options;
    int key = 0;
    while ((key = getopt_long(argc, argv, "", long_options.data(), nullptr)) != -1) {
        switch (key) {
        case 'p':
            options.port = static_cast<std::uint16_t>(number(65535));
            break;
        case 'b':
            options.block_bytes = static_cast<std::uint32_t>(number(65536));
            break;
        case 'r':
            options.capacity_bytes = number(std::uint64_t{1} << 60);
            break;
        case 'l':
            options.luns = static_cast<std::uint32_t>(number(256));
            break;
        case 'w':
            options.command_window = static_cast<std::uint32_t>(number(UINT16_MAX));
            break;
        case 'c':
            options.cpu = static_cast<int>(number(1023));
            break;
        case 's':
            options.seconds = static_cast<unsigned>(number(86400));
            break;
        default:
            die("usage: [--port P] [--block-bytes N] [--capacity-bytes N] [--luns N] [--window COMMANDS] "
                "[--cpu N] [--seconds N, 0 = no limit]");
        }
    }
    if (options.block_bytes == 0 || options.capacity_bytes < options.block_bytes) {
        die("the capacity must be a block at least");
    }
    if (options.luns == 0 || options.command_window == 0) {
        die("--luns and --window want numbers above 0");
    }
    return options;
}

/// Serves one connection to its end. Replies leave after every batch of requests, in one send.
void serve(Socket socket, const NullTargetConfig& config, std::uint16_t tsih) {
    NullConnection connection(config, tsih);
    std::vector<std::byte> staging(staging_bytes);
    std::size_t filled = 0;
    while (!connection.ended()) {
        std::size_t received = receive_some(socket.fd(), base::MutableBytes(staging).subspan(filled));
        if (received == 0) {
            return;
        }
        filled += received;
        std::size_t used = 0;
        std::size_t taken = 0;
        do {
            taken = connection.take(base::Bytes(staging).subspan(used, filled - used));
            used += taken;
            if (!send_all(socket.fd(), connection.replies())) {
                return;
            }
            connection.sent();
        } while (taken > 0 && used < filled && !connection.ended());
        filled -= used;
        std::memmove(staging.data(), staging.data() + used, filled);
    }
}

/// A benchmark that is killed leaves no target behind.
void end_with_parent_or_after(unsigned seconds) {
    pid_t parent = getppid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        die("the parent is gone");
    }
    alarm(seconds);
}

[[noreturn]] void run(const TargetOptions& options) {
    Socket listener = listen_on_loopback(options.port);
    NullTargetConfig config{.geometry = {.block_bytes = options.block_bytes,
                                         .blocks = options.capacity_bytes / options.block_bytes,
                                         .luns = options.luns},
                            .command_window = options.command_window,
                            .portal = fmt::format("127.0.0.1:{}", local_port(listener.fd()))};
    fmt::print("{} {}\n", config.portal, null_target_name);
    std::fflush(stdout);
    for (std::uint16_t tsih = 1;; tsih = tsih == UINT16_MAX ? 1 : tsih + 1) {
        Socket socket = accept_from(listener.fd());
        std::thread([socket = std::move(socket), &config, tsih]() mutable {
            serve(std::move(socket), config, tsih);
        }).detach();
    }
}

} // namespace
} // namespace iscsi::bench

int main(int argc, char** argv) {
    auto options = iscsi::bench::parse_target_options(argc, argv);
    iscsi::bench::end_with_parent_or_after(options.seconds);
    if (options.cpu >= 0) {
        iscsi::bench::pin_to_cpu(options.cpu);
    }
    iscsi::bench::run(options);
}

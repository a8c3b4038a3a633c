// iscsi-exporter: what iscsid counts, for Prometheus. A program of its own, because HTTP has no place in the
// one that serves disks; it asks iscsid as iscsiadm does, and needs no rights for that.
#include "base/standard_descriptors.hpp"
#include "base/text.hpp"
#include "exporter_listen.hpp"
#include "exporter_scraper.hpp"
#include "exporter_server.hpp"
#include "records/paths.hpp"

#include <csignal>
#include <cstdio>
#include <fmt/format.h>
#include <getopt.h>
#include <optional>
#include <string>
#include <vector>

namespace iscsi::tools {
namespace {

constexpr int exit_wrong = 1;
constexpr std::size_t listening_max = 8;

struct Options {
    std::optional<std::string> path;
    std::vector<std::string> loopback;
};

void print_usage(const records::Paths& paths) {
    std::fputs(
        fmt::format("Usage: iscsi-exporter [OPTION]...\n"
                    "Answers GET /metrics with what iscsid counts, in the text format of Prometheus.\n"
                    "\n"
                    "  -s, --socket=PATH      the Unix socket to listen at\n"
                    "  -l, --listen=ADDRESS   listen at a loopback address and port, too: 127.0.0.1:9891\n"
                    "  -v, --version          print the version\n"
                    "  -h, --help             this text\n"
                    "\n"
                    "-l may be given several times. Without -s it listens at {}.\n",
                    paths.run_dir() + "/metrics.sock")
            .c_str(),
        stdout);
}

int complain(const std::string& what) {
    std::fprintf(stderr, "iscsi-exporter: %s\n", what.c_str());
    return exit_wrong;
}

base::Result<std::vector<Listening>> listen(const Options& options, const records::Paths& paths) {
    auto all = given_by_service_manager();
    if (!all) {
        return all;
    }
    const std::size_t given = all->size();
    for (const std::string& text : options.loopback) {
        auto made = listen_at_loopback(text);
        if (!made) {
            return base::fail(std::move(made.error()));
        }
        all->push_back(std::move(*made));
    }
    if (given == 0 || options.path) { // the last: where its file is, all is listened at
        auto made = listen_at_path(options.path.value_or(paths.run_dir() + "/metrics.sock"));
        if (!made) {
            return base::fail(std::move(made.error()));
        }
        all->push_back(std::move(*made));
    }
    if (all->size() > listening_max) {
        return base::fail(base::Errc::invalid, fmt::format("{} sockets at most", listening_max));
    }
    return all;
}

int serve(const Options& options, const records::Paths& paths) {
    // Before there are threads, which take it over: the signals are for sigwait.
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    auto listening = listen(options, paths);
    if (!listening) {
        return complain(listening.error().message());
    }
    Scraper scraper(paths);
    std::vector<std::unique_ptr<HttpServer>> servers;
    for (const Listening& one : *listening) {
        auto server = HttpServer::start(scraper, one.fd());
        if (!server) {
            return complain(server.error().message());
        }
        servers.push_back(std::move(*server));
    }
    constexpr timespec between_looks{5, 0};
    while (::sigtimedwait(&ends, nullptr, &between_looks) < 0) {
        for (const auto& server : servers) {
            server->end_late();
        }
    }
    return 0;
}

int run(int argc, char** argv) {
    static constexpr option long_options[] = {
        {"socket", required_argument, nullptr, 's'},
        {"listen", required_argument, nullptr, 'l'},
        {"version", no_argument, nullptr, 'v'},
        {"help", no_argument, nullptr, 'h'},
        {nullptr, 0, nullptr, 0},
    };
    const records::Paths paths = records::Paths::from_environment();
    Options options;
    for (int letter = 0; (letter = ::getopt_long(argc, argv, "s:l:vh", long_options, nullptr)) != -1;) {
        switch (letter) {
        case 's':
            options.path = optarg;
            break;
        case 'l':
            options.loopback.emplace_back(optarg);
            break;
        case 'v':
            std::printf("iscsi-exporter version %s\n", ISCSI_VERSION);
            return 0;
        case 'h':
            print_usage(paths);
            return 0;
        default:
            return exit_wrong;
        }
    }
    if (optind != argc) {
        return complain(fmt::format("unknown argument: {}", base::printable(argv[optind])));
    }
    return serve(options, paths);
}

} // namespace
} // namespace iscsi::tools

int main(int argc, char** argv) {
    iscsi::base::fill_standard_descriptors(iscsi::base::ClosedOutput::swallowed);
    return iscsi::tools::run(argc, argv);
}

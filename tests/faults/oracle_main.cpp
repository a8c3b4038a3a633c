// The write oracle as a program: a load whose every sector says which write put it there, and a judge that
// knows which of them may be there. See usage below, history.hpp for what it finds, tests/faults/faultlab.py
// for the tests' side.
#include "faults/device_source.hpp"
#include "faults/load.hpp"
#include "faults/nbd_source.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <getopt.h>
#include <optional>
#include <random>
#include <stdexcept>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

using namespace iscsi::faults;
using Clock = Load::Clock;

constexpr const char* usage = R"(usage: write-oracle [options] NBD-URI | PATH

Writes stamped sectors to an NBD export or a block device and says when one holds what it may not.

  -t, --seconds N      fills the device, loads it for N seconds, verifies it, and ends: no control lines
  -s, --size BYTES     use only the beginning of the device
  -b, --sector BYTES   512 by default
  -d, --depth N        requests in progress at most (16)
      --seed N         where the load goes (1)
      --writes N, --flushes N, --zeroes N, --trims N, --through N
                       shares of the load in thousandths; what is left reads; --through: of the writes, past the cache
  -h, --help

Without --seconds it obeys lines on its standard input, and answers each with a line that begins with ok or error:
  fill         writes all of the device once; needed before go
  go           begins the mixed load
  pause [S]    no more requests; waits until none is in progress, at most S seconds (60)
  verify [S]   reads all of the device through the source and judges it, in at most S seconds (120)
  judge FILE   judges what the target keeps, past everything between; after pause
  flush        waits until a flush that is sent now has been answered; during the mixed load
  epoch        a fault comes: writes say from now on that they came after it
  cache-lost   what was not flushed may be gone
  stats        counts; gap_ms: the longest time without an answer since the last epoch, slowest_ms: that a
               request took since then
  quit         ends; so does the end of the input
Violations are lines that begin with "violation: ", at any time. Exit status: 0; 1 when there were violations, or with
--seconds also when requests failed; 2 when it could not run.
)";

struct Options {
    LoadOptions load;
    std::uint64_t size = 0;
    std::optional<int> seconds;
    std::string where;
};

/// The program: one source, one load, and the line that is being obeyed.
class Oracle {
public:
    Oracle(Source& source, const LoadOptions& options)
        : source_(source),
          load_(source, options, [](const std::string& what) { say("violation: " + what); }) {}

    int serve();
    int run_alone(int seconds);

private:
    static void say(const std::string& line) {
        std::fputs((line + "\n").c_str(), stdout);
        std::fflush(stdout);
    }
    void turn(bool listen);
    void read_lines();
    void obey(const std::string& line);
    bool settle(std::chrono::seconds most);
    bool judge(const std::string& path);
    bool flush();
    std::string stats();

    Source& source_;
    Load load_;
    std::vector<Answer> answers_;
    std::string input_;
    bool ended_ = false;
};

void Oracle::turn(bool listen) {
    load_.submit();
    pollfd both[] = {source_.waits_for(), {listen ? STDIN_FILENO : -1, POLLIN, 0}};
    // Requests that a source has only queued leave with progress().
    source_.progress(0, answers_);
    if (answers_.empty()) {
        both[0] = source_.waits_for();
        poll(both, 2, 10);
        source_.progress(both[0].revents, answers_);
        if (both[1].revents != 0) {
            read_lines();
        }
    }
    for (const Answer& answer : answers_) {
        load_.take(answer);
    }
    answers_.clear();
}

void Oracle::read_lines() {
    char some[512];
    const ssize_t got = read(STDIN_FILENO, some, sizeof some);
    if (got <= 0) {
        ended_ = true;
        return;
    }
    input_.append(some, static_cast<std::size_t>(got));
}

int Oracle::serve() {
    while (!ended_) {
        turn(true);
        while (!ended_ && input_.find('\n') != std::string::npos) {
            const std::string line = input_.substr(0, input_.find('\n'));
            input_.erase(0, line.size() + 1);
            obey(line);
        }
    }
    return load_.counts().violations > 0 ? 1 : 0;
}

bool Oracle::settle(std::chrono::seconds most) {
    const auto end = Clock::now() + most;
    while (!(load_.idle() && load_.in_progress() == 0) && Clock::now() < end) {
        turn(false);
    }
    const bool through = load_.idle() && load_.in_progress() == 0;
    load_.start(Load::Job::nothing);
    return through;
}

bool Oracle::judge(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    load_.judge([fd](std::uint64_t offset, iscsi::base::MutableBytes data) {
        const ssize_t got = pread(fd, data.data(), data.size(), static_cast<off_t>(offset));
        return got == static_cast<ssize_t>(data.size());
    });
    close(fd);
    return true;
}

bool Oracle::flush() {
    const Counts& counts = load_.counts();
    const std::uint64_t well = counts.flushes, badly = counts.flush_errors;
    load_.flush_next();
    const auto end = Clock::now() + std::chrono::seconds(30);
    while (counts.flushes == well && counts.flush_errors == badly && Clock::now() < end) {
        turn(false);
    }
    return counts.flushes > well;
}

std::string Oracle::stats() {
    const Counts& c = load_.counts();
    const auto now = Clock::now();
    return fmt::format(
        "reads={} writes={} flushes={} zeroes={} trims={} judged={} violations={} errors={} flush_errors={} "
        "last_error={} lost={} reconnects={} in_doubt={} epoch={} in_progress={} oldest_ms={} gap_ms={} "
        "slowest_ms={}",
        c.reads, c.writes, c.flushes, c.zeroes, c.trims, c.sectors_judged, c.violations, c.errors,
        c.flush_errors, c.last_error, c.lost, source_.reconnects(), load_.history().in_doubt(), load_.epoch(),
        load_.in_progress(), load_.oldest(now).count(), load_.longest_gap(now).count(),
        load_.slowest().count());
}

void Oracle::obey(const std::string& line) {
    const std::string verb = line.substr(0, line.find(' '));
    const std::string rest = verb.size() < line.size() ? line.substr(verb.size() + 1) : "";
    const auto seconds = [&rest](int otherwise) {
        return std::chrono::seconds(rest.empty() ? otherwise : std::atoi(rest.c_str()));
    };
    bool well = true;
    if (verb == "fill" || verb == "verify") {
        load_.start(verb == "fill" ? Load::Job::fill : Load::Job::verify);
        well = settle(seconds(120));
    } else if (verb == "go") {
        load_.start(Load::Job::mixed);
    } else if (verb == "pause") {
        load_.start(Load::Job::nothing);
        well = settle(seconds(60));
    } else if (verb == "flush") {
        well = load_.job() == Load::Job::mixed && flush();
    } else if (verb == "judge") {
        well = load_.in_progress() == 0 && judge(rest);
    } else if (verb == "epoch") {
        load_.next_epoch();
        load_.forget_gap();
        load_.forget_slowest();
    } else if (verb == "cache-lost") {
        load_.cache_lost();
    } else if (verb == "quit") {
        ended_ = true;
    } else if (verb != "stats") {
        say(fmt::format("error no such command: {}", verb));
        return;
    }
    say(fmt::format("{} {}", well ? "ok" : "error", stats()));
}

int Oracle::run_alone(int seconds) {
    load_.start(Load::Job::fill);
    bool well = settle(std::chrono::seconds(600));
    load_.start(Load::Job::mixed);
    for (const auto end = Clock::now() + std::chrono::seconds(seconds); well && Clock::now() < end;) {
        turn(false);
    }
    load_.start(Load::Job::nothing);
    well = well && settle(std::chrono::seconds(60));
    load_.start(Load::Job::verify);
    well = well && settle(std::chrono::seconds(600));
    const Counts& counts = load_.counts();
    well = well && counts.violations == 0 && counts.errors + counts.flush_errors == 0;
    say(fmt::format("{} {}", well ? "ok" : "error", stats()));
    return well ? 0 : 1;
}

std::uint64_t number(const char* text) {
    char* end = nullptr;
    const std::uint64_t value = std::strtoull(text, &end, 0);
    if (end == text || *end != '\0') {
        throw std::runtime_error(fmt::format("'{}' is no number", text));
    }
    return value;
}

enum Long { seed = 256, writes, flushes, zeroes, trims, through };

constexpr option names[] = {{"seconds", required_argument, nullptr, 't'},
                            {"size", required_argument, nullptr, 's'},
                            {"sector", required_argument, nullptr, 'b'},
                            {"depth", required_argument, nullptr, 'd'},
                            {"seed", required_argument, nullptr, seed},
                            {"writes", required_argument, nullptr, writes},
                            {"flushes", required_argument, nullptr, flushes},
                            {"zeroes", required_argument, nullptr, zeroes},
                            {"trims", required_argument, nullptr, trims},
                            {"through", required_argument, nullptr, through},
                            {"help", no_argument, nullptr, 'h'},
                            {}};

void take_share(LoadOptions& load, int which) {
    const auto share = static_cast<unsigned>(std::min<std::uint64_t>(number(optarg), 1000));
    (which == writes    ? load.writes
     : which == flushes ? load.flushes
     : which == zeroes  ? load.zeroes
     : which == trims   ? load.trims
                        : load.writes_through) = share;
}

/// Nothing when the options cannot be obeyed, or when help was asked for.
std::optional<Options> read_options(int argc, char** argv) {
    Options out;
    for (int which = 0; (which = getopt_long(argc, argv, "t:s:b:d:h", names, nullptr)) != -1;) {
        switch (which) {
        case 't':
            out.seconds = static_cast<int>(number(optarg));
            break;
        case 's':
            out.size = number(optarg);
            break;
        case 'b':
            out.load.sector_bytes = number(optarg);
            break;
        case 'd':
            out.load.depth = std::clamp<std::uint64_t>(number(optarg), 1, 1024);
            break;
        case seed:
            out.load.seed = number(optarg);
            break;
        case writes:
        case flushes:
        case zeroes:
        case trims:
        case through:
            take_share(out.load, which);
            break;
        default:
            return std::nullopt;
        }
    }
    if (optind + 1 != argc) {
        return std::nullopt;
    }
    out.where = argv[optind];
    return out;
}

int run(Options options) {
    std::unique_ptr<Source> source;
    if (options.where.starts_with("nbd")) {
        source = std::make_unique<NbdSource>(options.where, std::chrono::seconds(10));
    } else {
        source = std::make_unique<DeviceSource>(options.where, static_cast<unsigned>(options.load.depth));
    }
    LoadOptions& load = options.load;
    const std::uint64_t size =
        options.size != 0 ? std::min(options.size, source->size_bytes()) : source->size_bytes();
    load.sectors = size / load.sector_bytes;
    load.request_sectors_max = std::max<std::uint64_t>(65536 / load.sector_bytes, 1);
    // So that the disk of another oracle is known to be another one.
    load.device = std::random_device()() | std::uint64_t{std::random_device()()} << 32;
    Oracle oracle(*source, load);
    return options.seconds ? oracle.run_alone(*options.seconds) : oracle.serve();
}

} // namespace

int main(int argc, char** argv) {
    try {
        const std::optional<Options> options = read_options(argc, argv);
        if (!options) {
            std::fputs(usage, stdout);
            return 2;
        }
        return run(*options);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "write-oracle: %s\n", error.what());
        return 2;
    }
}

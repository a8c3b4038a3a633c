#include "bench/loop.hpp"

#include "base/text.hpp"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fmt/core.h>
#include <getopt.h>
#include <sched.h>
#include <sys/resource.h>

namespace iscsi::bench {
namespace {

constexpr std::uint32_t clock_interval_ios = 32;

#ifdef __OPTIMIZE__
constexpr bool optimized = true;
#else
constexpr bool optimized = false;
#endif

std::uint64_t now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

std::uint64_t number(const char* text, std::uint64_t max) {
    auto value = base::parse_decimal(text, max);
    if (!value) {
        die(fmt::format("not a number between 0 and {}: {}", max, text));
    }
    return *value;
}

double seconds_of(const char* text) {
    char* end = nullptr;
    double value = std::strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0 && value <= 3600)) {
        die(fmt::format("not a time in seconds: {}", text));
    }
    return value;
}

bool is_write(std::string_view op) {
    if (op != "read" && op != "write") {
        die(fmt::format("--op is read or write, not {}", op));
    }
    return op == "write";
}

void set_digests(LoopOptions& options, std::string_view word) {
    if (word != "none" && word != "header" && word != "both") {
        die(fmt::format("--digests is none, header or both, not {}", word));
    }
    options.header_digest = word != "none";
    options.data_digest = word == "both";
}

constexpr std::array long_options{
    option{"address", required_argument, nullptr, 'a'},
    option{"port", required_argument, nullptr, 'p'},
    option{"op", required_argument, nullptr, 'o'},
    option{"depth", required_argument, nullptr, 'd'},
    option{"io-bytes", required_argument, nullptr, 'i'},
    option{"block-bytes", required_argument, nullptr, 'b'},
    option{"span-bytes", required_argument, nullptr, 'r'},
    option{"count", required_argument, nullptr, 'n'},
    option{"seconds", required_argument, nullptr, 's'},
    option{"warm-up", required_argument, nullptr, 'w'},
    option{"digests", required_argument, nullptr, 'g'},
    option{"latency", no_argument, nullptr, 'l'},
    option{"cpu", required_argument, nullptr, 'c'},
    option{nullptr, 0, nullptr, 0},
};

void set_option(LoopOptions& options, int key, const char* value) {
    switch (key) {
    case 'a':
        options.address = value;
        break;
    case 'p':
        options.port = static_cast<std::uint16_t>(number(value, 65535));
        break;
    case 'o':
        options.write = is_write(value);
        break;
    case 'd':
        options.depth = static_cast<std::uint32_t>(number(value, 512));
        break;
    case 'i':
        options.io_bytes = static_cast<std::uint32_t>(number(value, 1U << 20));
        break;
    case 'b':
        options.block_bytes = static_cast<std::uint32_t>(number(value, 1U << 16));
        break;
    case 'r':
        options.span_bytes = number(value, std::uint64_t{1} << 50);
        break;
    case 'n':
        options.count = number(value, std::uint64_t{1} << 40);
        break;
    case 's':
        options.seconds = seconds_of(value);
        break;
    case 'w':
        options.warm_up_seconds = seconds_of(value);
        break;
    case 'g':
        set_digests(options, value);
        break;
    case 'l':
        options.latency = true;
        break;
    case 'c':
        options.cpu = static_cast<int>(number(value, CPU_SETSIZE - 1));
        break;
    default:
        die("usage: --port P [--op read|write] [--depth N] [--count N | --seconds S] [--cpu N] ...");
    }
}

void check_options(const LoopOptions& options) {
    if (options.port == 0 || options.depth == 0) {
        die("--port and --depth want numbers above 0");
    }
    if (options.block_bytes == 0 || options.io_bytes == 0 || options.io_bytes % options.block_bytes != 0) {
        die("--io-bytes must be a multiple of --block-bytes");
    }
    if (options.span_bytes < options.io_bytes) {
        die("--span-bytes is below --io-bytes");
    }
}

struct Usage {
    std::uint64_t at_ns = 0;
    double user_us = 0;
    double system_us = 0;
    double switches = 0;
};

double microseconds(timeval time) {
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
}

Usage usage() {
    rusage raw{};
    getrusage(RUSAGE_SELF, &raw);
    return {now_ns(), microseconds(raw.ru_utime), microseconds(raw.ru_stime),
            static_cast<double>(raw.ru_nvcsw + raw.ru_nivcsw)};
}

} // namespace

void die(std::string_view message) {
    fmt::print(stderr, "{}: {}\n", program_invocation_short_name, message);
    std::exit(1);
}

LoopOptions parse_loop_options(int argc, char** argv) {
    LoopOptions options;
    int key = 0;
    while ((key = getopt_long(argc, argv, "", long_options.data(), nullptr)) != -1) {
        set_option(options, key, optarg);
    }
    check_options(options);
    if (options.cpu >= 0) {
        pin_to_cpu(options.cpu);
    }
    return options;
}

void pin_to_cpu(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<unsigned>(cpu), &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        die(fmt::format("cannot run on CPU {}", cpu));
    }
}

Places::Places(const LoopOptions& options)
    : places_(options.span_bytes / options.io_bytes), blocks_per_io_(options.io_bytes / options.block_bytes) {
}

std::uint64_t Places::next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ % places_ * blocks_per_io_;
}

Budget Budget::of_count(std::uint64_t count) {
    Budget budget;
    budget.left_ = count;
    return budget;
}

Budget Budget::of_seconds(double seconds) {
    Budget budget;
    budget.end_ns_ = now_ns() + static_cast<std::uint64_t>(seconds * 1e9);
    return budget;
}

bool Budget::take() {
    if (left_ == 0) {
        if (end_ns_ == 0 || now_ns() >= end_ns_) {
            return false;
        }
        left_ = clock_interval_ios;
    }
    --left_;
    return true;
}

void measure(std::string_view program, const LoopOptions& options, Latencies& latencies,
             const std::function<std::uint64_t(Budget&)>& loop) {
    if (options.count == 0) {
        Budget warm_up = Budget::of_seconds(options.warm_up_seconds);
        loop(warm_up);
        latencies.clear();
    }
    Budget budget =
        options.count != 0 ? Budget::of_count(options.count) : Budget::of_seconds(options.seconds);
    Usage before = usage();
    std::uint64_t done = loop(budget);
    Usage after = usage();
    if (done == 0) {
        die("not one I/O was done");
    }
    auto ios = static_cast<double>(done);
    double seconds = static_cast<double>(after.at_ns - before.at_ns) / 1e9;
    double user_us = (after.user_us - before.user_us) / ios;
    double system_us = (after.system_us - before.system_us) / ios;
    fmt::print(R"({{"program": "{}", "op": "{}", "depth": {}, "io_bytes": {}, "optimized": {}, )", program,
               options.write ? "write" : "read", options.depth, options.io_bytes, optimized);
    fmt::print(R"("ios": {}, "seconds": {:.6f}, "iops": {:.1f}, "switches_per_io": {:.4f}, )", done, seconds,
               ios / seconds, (after.switches - before.switches) / ios);
    if (latencies.on()) {
        fmt::print(R"("p50_us": {:.3f}, "p99_us": {:.3f}, "p999_us": {:.3f}, )", latencies.quantile_us(0.5),
                   latencies.quantile_us(0.99), latencies.quantile_us(0.999));
    }
    fmt::print(R"("cpu_us_per_io": {:.4f}, "user_us_per_io": {:.4f}, "system_us_per_io": {:.4f}}})"
               "\n",
               user_us + system_us, user_us, system_us);
}

} // namespace iscsi::bench

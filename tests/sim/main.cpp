// Runs schedules: many of them on all cores, or one of them with a tale of what happened.
#include "sim/world.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <malloc.h>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unistd.h>

namespace iscsi::sim {
namespace {

thread_local std::uint64_t seed_under_way = 0;

/// The product's own checks abort; then nobody would know the seed.
void on_abort(int) {
    std::array<char, 64> text{};
    const auto end = fmt::format_to_n(text.data(), text.size(), "seed {} aborts\n", seed_under_way);
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), end.size);
}

struct Options {
    std::uint64_t first = 1;
    std::uint64_t last = 10000;
    unsigned threads = 0;
    std::uint64_t show = 0;
    bool verbose = false;
    bool twice = false;
    bool keep_going = false;
    std::string kept; ///< a file of seeds that run first
};

class Runner {
public:
    explicit Runner(const Options& options) : options_(options), next_(options.first) {}

    int run() {
        const auto began = std::chrono::steady_clock::now();
        if (!options_.kept.empty() && !run_kept()) {
            return 1;
        }
        std::vector<std::thread> threads;
        unsigned count =
            options_.threads != 0 ? options_.threads : std::max(1U, std::thread::hardware_concurrency());
        for (unsigned i = 0; i < count; ++i) {
            threads.emplace_back([this] { work(); });
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
        const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
        fmt::print("{} schedules, {} broken, {} happenings, {} requests failed; {:.1f} s, {:.0f} a second on "
                   "{} threads\n",
                   done_.load(), broken_.load(), happenings_.load(), failures_.load(), took,
                   static_cast<double>(done_) / took, count);
        return broken_ == 0 ? 0 : 1;
    }

private:
    bool run_kept() {
        std::ifstream file(options_.kept);
        if (!file) {
            fmt::print(stderr, "{} cannot be read\n", options_.kept);
            return false;
        }
        for (std::string line; std::getline(file, line);) {
            if (!line.empty() && line.front() != '#') {
                run_one(std::strtoull(line.c_str(), nullptr, 0));
            }
        }
        return broken_ == 0;
    }

    void work() {
        constexpr std::uint64_t batch = 64;
        std::uint64_t happenings = 0;
        std::uint64_t failures = 0;
        while (!stop_) {
            const std::uint64_t first = next_.fetch_add(batch);
            if (first > options_.last) {
                break;
            }
            const std::uint64_t last = std::min(first + batch - 1, options_.last);
            for (std::uint64_t seed = first; seed <= last && !stop_; ++seed) {
                const Verdict verdict = run_one(seed);
                happenings += verdict.happenings;
                failures += verdict.failures;
            }
        }
        happenings_ += happenings;
        failures_ += failures;
    }

    Verdict run_one(std::uint64_t seed) {
        seed_under_way = seed;
        Verdict verdict = run_schedule(seed, false);
        if (options_.twice && !verdict.broken && run_schedule(seed, false).digest != verdict.digest) {
            verdict.broken = true;
            verdict.finding = "two runs of it differ";
        }
        ++done_;
        if (verdict.broken) {
            ++broken_;
            stop_ = stop_ || !options_.keep_going;
            std::lock_guard lock(mutex_);
            fmt::print("seed {}: {}\n", seed, verdict.finding);
            std::fflush(stdout);
        }
        return verdict;
    }

    const Options options_;
    std::atomic<std::uint64_t> next_;
    std::atomic<std::uint64_t> done_ = 0;
    std::atomic<std::uint64_t> broken_ = 0;
    std::atomic<std::uint64_t> happenings_ = 0;
    std::atomic<std::uint64_t> failures_ = 0;
    std::atomic<bool> stop_ = false;
    std::mutex mutex_;
};

std::uint64_t number(std::string_view text) {
    return std::strtoull(std::string(text).c_str(), nullptr, 0);
}

int usage() {
    fmt::print(stderr, "usage: sim [--seeds A..B] [--threads N] [--twice] [--kept FILE] [--keep-going] | sim "
                       "--verbose SEED\n");
    return 2;
}

int run(int argc, char** argv) {
    Options options;
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        const std::string_view value = i + 1 < argc ? argv[i + 1] : "";
        if (word == "--seeds" && value.find("..") != std::string_view::npos) {
            options.first = number(value.substr(0, value.find("..")));
            options.last = number(value.substr(value.find("..") + 2));
            ++i;
        } else if (word == "--threads") {
            options.threads = static_cast<unsigned>(number(value));
            ++i;
        } else if (word == "--verbose") {
            options.show = number(value);
            options.verbose = true;
            ++i;
        } else if (word == "--kept") {
            options.kept = value;
            ++i;
        } else if (word == "--twice") {
            options.twice = true;
        } else if (word == "--keep-going") {
            options.keep_going = true;
        } else {
            return usage();
        }
    }
    // Sessions take and give back buffers of this size all the time.
    ::mallopt(M_MMAP_THRESHOLD, 1 << 28);
    ::mallopt(M_TRIM_THRESHOLD, 1 << 28);
    std::signal(SIGABRT, on_abort);
    if (!options.verbose) {
        return Runner(options).run();
    }
    seed_under_way = options.show;
    const Verdict verdict = run_schedule(options.show, true);
    fmt::print("seed {}: {}\n", options.show, verdict.broken ? verdict.finding : "nothing is broken");
    return verdict.broken ? 1 : 0;
}

} // namespace
} // namespace iscsi::sim

int main(int argc, char** argv) {
    return iscsi::sim::run(argc, argv);
}

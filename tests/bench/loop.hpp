// What the measured programs share: their options, the random places they touch, how long they go on, and the
// one line of JSON that each prints. A closed loop keeps `depth` I/Os in flight and starts the next one when
// one ends. One thread, which may end the program on any failure: a benchmark has nothing to save.
#pragma once

#include "base/bytes.hpp"
#include "bench/latencies.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace iscsi::bench {

struct LoopOptions {
    std::string address = "127.0.0.1";
    std::uint16_t port = 0;
    bool write = false;
    std::uint32_t depth = 32;
    std::uint32_t io_bytes = 4096;
    std::uint32_t block_bytes = 512;
    std::uint64_t span_bytes = std::uint64_t{1} << 30; ///< the I/Os fall into the first bytes of the LUN
    std::uint64_t count = 0;                           ///< I/Os to do; 0: go on for `seconds`
    double seconds = 1;
    double warm_up_seconds = 0.1; ///< not measured; only where `count` is 0
    bool header_digest = false;
    bool data_digest = false;
    bool latency = false; ///< print how long I/Os took, too
    int cpu = -1;         ///< run on this CPU only; -1: anywhere
};

/// Prints `message` behind the program's name and ends the program with status 1.
[[noreturn]] void die(std::string_view message);

/// The command line of a loop; dies on anything wrong. Pins the program to the CPU that was asked for.
LoopOptions parse_loop_options(int argc, char** argv);

/// Pins the calling thread; dies when that CPU does not exist.
void pin_to_cpu(int cpu);

/// Logical block addresses of I/Os, aligned to their size, the same sequence in every run.
class Places {
public:
    explicit Places(const LoopOptions& options);
    std::uint64_t next();

private:
    std::uint64_t state_ = 0x9e3779b97f4a7c15U;
    std::uint64_t places_;
    std::uint64_t blocks_per_io_;
};

/// How many more I/Os may start: a count, or as many as begin before the time is over. Looks at the clock
/// once in 32 I/Os.
class Budget {
public:
    static Budget of_count(std::uint64_t count);
    static Budget of_seconds(double seconds);
    bool take();

private:
    std::uint64_t left_ = 0;
    std::uint64_t end_ns_ = 0; ///< 0: there is no more after `left_`
};

/// Runs the loop (first to warm up, then measured) and prints its figures. `loop` does I/Os until the budget
/// is used up and all have ended, gives their number, and tells `latencies` of each where they are on.
void measure(std::string_view program, const LoopOptions& options, Latencies& latencies,
             const std::function<std::uint64_t(Budget&)>& loop);

} // namespace iscsi::bench

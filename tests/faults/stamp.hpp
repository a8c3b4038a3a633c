// What a sector of the write oracle holds: which device and place it was written for, by which write, in
// which epoch, and a check over all of it, so that a sector says by itself whose it is. Pure; any thread.
#pragma once

#include "base/bytes.hpp"

#include <cstdint>
#include <string>

namespace iscsi::faults {

/// What is written into every sector. Sequence numbers count from 1 and are given once in an oracle's life.
struct Stamp {
    std::uint64_t device = 0;
    std::uint64_t sector = 0; ///< in units of the oracle's sector size
    std::uint64_t sequence = 0;
    std::uint32_t epoch = 0; ///< how many faults the load had seen when it wrote
};

inline constexpr std::size_t sector_bytes_min = 512;

enum class Content {
    stamped,   ///< a stamp of this device and place
    zeros,     ///< nothing but zeros
    misplaced, ///< a whole stamp of this device, meant for another place
    foreign,   ///< a whole stamp of another device
    damaged,   ///< none of these
};

struct Reading {
    Content content = Content::damaged;
    Stamp stamp; ///< of stamped, misplaced and foreign sectors
};

/// Fills `sector` (at least sector_bytes_min bytes, a multiple of 8).
void write_stamp(const Stamp& stamp, base::MutableBytes sector);

/// What a sector says of itself, where one of `device` at `sector_number` was asked for.
Reading read_stamp(base::Bytes sector, std::uint64_t device, std::uint64_t sector_number);

/// A few words about what was read, for a person.
std::string describe(const Reading& reading);

} // namespace iscsi::faults

#include "faults/stamp.hpp"

#include "base/check.hpp"
#include "base/crc32c.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

namespace iscsi::faults {
namespace {

constexpr std::uint64_t magic = 0x45'4c'43'41'52'4f'57'31; // "1WORACLE" in a hex dump

/// As it stands on the disk, in the byte order of the machine: it never leaves it.
struct Head {
    std::uint64_t magic;
    std::uint64_t device;
    std::uint64_t sector;
    std::uint64_t sequence;
    std::uint32_t epoch;
    std::uint32_t crc; ///< of the whole sector, with 0 in this place
};
static_assert(sizeof(Head) == 40);

std::uint32_t crc_of(const Head& head, base::Bytes rest) {
    Head without = head;
    without.crc = 0;
    base::Crc32c crc;
    crc.add(base::bytes_of_object(without));
    crc.add(rest);
    return crc.value();
}

} // namespace

void write_stamp(const Stamp& stamp, base::MutableBytes sector) {
    base::check(sector.size() >= sector_bytes_min, "a sector has 512 bytes or more");
    Head head{magic, stamp.device, stamp.sector, stamp.sequence, stamp.epoch, 0};
    const base::MutableBytes rest = sector.subspan(sizeof head);
    // Not constant, so that pieces of two sectors do not fit together by chance.
    std::uint64_t word = stamp.device ^ stamp.sector * 0x9e37'79b9'7f4a'7c15U ^ stamp.sequence;
    for (std::size_t at = 0; at < rest.size(); at += sizeof word) {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        std::memcpy(&rest[at], &word, std::min(sizeof word, rest.size() - at));
    }
    head.crc = crc_of(head, rest);
    std::memcpy(sector.data(), &head, sizeof head);
}

Reading read_stamp(base::Bytes sector, std::uint64_t device, std::uint64_t sector_number) {
    const auto head = base::load<Head>(sector);
    if (head.magic != magic || head.crc != crc_of(head, sector.subspan(sizeof head))) {
        const bool empty = std::ranges::all_of(sector, [](std::byte byte) { return byte == std::byte{0}; });
        return {empty ? Content::zeros : Content::damaged, {}};
    }
    const Stamp stamp{head.device, head.sector, head.sequence, head.epoch};
    if (stamp.device != device) {
        return {Content::foreign, stamp};
    }
    return {stamp.sector == sector_number ? Content::stamped : Content::misplaced, stamp};
}

std::string describe(const Reading& reading) {
    const Stamp& stamp = reading.stamp;
    switch (reading.content) {
    case Content::stamped:
        return fmt::format("write {} of epoch {}", stamp.sequence, stamp.epoch);
    case Content::zeros:
        return "zeros";
    case Content::misplaced:
        return fmt::format("misplaced: what was written to sector {} by write {} of epoch {}", stamp.sector,
                           stamp.sequence, stamp.epoch);
    case Content::foreign:
        return fmt::format("foreign: a sector of device {:016x}, of which it was sector {}", stamp.device,
                           stamp.sector);
    case Content::damaged:
        return "damaged: no whole sector of an oracle";
    }
    return "?";
}

} // namespace iscsi::faults

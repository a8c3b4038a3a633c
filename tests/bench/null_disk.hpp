// The logical unit of the null target: what each CDB answers. It holds no data: reads give zeros, writes are
// forgotten. Only LUN 0 is there. Values and pure functions; any thread. SPC-4 and SBC-3.
#pragma once

#include "base/units.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace iscsi::bench {

struct DiskGeometry {
    std::uint32_t block_bytes = 512;
    std::uint64_t blocks = (std::uint64_t{16} << 30) / 512;
    std::uint32_t luns = 1; ///< such units, 1..256; their numbers begin at 0
};

using Cdb = std::array<std::byte, 16>;

struct DiskAnswer {
    std::uint8_t status = 0;        ///< SAM-5
    std::uint64_t zero_bytes = 0;   ///< data of a read: that many zeros
    std::vector<std::byte> data{};  ///< or these bytes
    std::vector<std::byte> sense{}; ///< fixed format, with CHECK CONDITION only
};

/// What the unit answers to `cdb`. A write's answer is that for data which arrived whole.
DiskAnswer disk_answer(const DiskGeometry& geometry, base::Lun lun, const Cdb& cdb);

} // namespace iscsi::bench

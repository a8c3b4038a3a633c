// READ CAPACITY and REPORT LUNS data, and logical unit numbers as people write them. The results own what
// they hold. Any thread; REPORT LUNS allocates. SBC-3 sections 5.15 and 5.16, SPC-4 section 6.33, SAM-5
// section 4.7.
#pragma once

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/units.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace iscsi::scsi {

/// The size of a disk. The whole of it, in bytes, fits a signed 64-bit number.
struct Capacity {
    base::BlockCount blocks;
    std::uint32_t block_bytes = 512;          ///< power of two, 512..65536
    std::uint32_t physical_block_bytes = 512; ///< power of two, block_bytes..65536
    std::uint64_t lowest_aligned_lba = 0;     ///< below the blocks of a physical block
    std::uint8_t protection_type = 0;         ///< 0: no protection information; 1..3
    bool provisioned = false;                 ///< LBPME: blocks can be unmapped
    bool reads_zeroes = false;                ///< LBPRZ: unmapped blocks read as zeroes
    bool needs_read_capacity16 = false;       ///< READ CAPACITY(10) could not say: `blocks` means nothing
};

/// Fails on short data and on a block size that is no power of two from 512 to 65536.
base::Result<Capacity> read_capacity10_data(base::Bytes data);
base::Result<Capacity> read_capacity16_data(base::Bytes data);

struct LunList {
    std::vector<base::Lun> luns;  ///< in the target's order, each once
    std::size_t needed_bytes = 8; ///< allocation that holds the whole list; at most 8 + 8 * limits::luns_max
    bool complete = true;         ///< false: the list went on behind the end of `data`; ask for needed_bytes
};

/// Fails on short data, a list length that is no multiple of eight, and more than limits::luns_max units.
base::Result<LunList> read_report_luns(base::Bytes data);

/// The number people know a logical unit by: what the Linux kernel shows in H:C:T:L and in by-path names.
/// Plain peripheral addressing gives the small number itself; other addressing methods keep their method
/// bits, so that no two units share a number (flat space unit 256 is 16640). Reversible for every value.
std::uint64_t lun_number(base::Lun lun);
base::Lun lun_from_number(std::uint64_t number);

/// ADDRESS METHOD of the first level (SAM-5 4.7.7).
enum class LunMethod : std::uint8_t { peripheral = 0, flat_space = 1, logical_unit = 2, extended = 3 };
LunMethod lun_method(base::Lun lun);

/// For logs: "5", "16640 (flat space 256)", "... (well known 1)".
std::string describe_lun(base::Lun lun);

} // namespace iscsi::scsi

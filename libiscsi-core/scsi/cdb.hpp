// Command descriptor blocks: one builder for each SCSI command that the suite sends, and the parameter list
// of UNMAP. A Cdb is a plain value of 16 bytes; unused bytes are zero, as is every field not named here
// (group number, control byte, DPO, protection). Any thread. SPC-4 section 6, SBC-3 section 5.
#pragma once

#include "base/bytes.hpp"
#include "base/units.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace iscsi::scsi {

struct Cdb {
    std::array<std::byte, 16> bytes{};
    std::uint8_t length = 0; ///< 6, 10, 12 or 16

    friend bool operator==(const Cdb&, const Cdb&) = default;
};

/// A run of logical blocks.
struct BlockRange {
    base::Lba lba;
    base::BlockCount count;
};

/// SELECT REPORT of REPORT LUNS (SPC-4 6.33).
enum class LunReport : std::uint8_t {
    addressable = 0x00, ///< every logical unit but the well known ones
    well_known = 0x01,
    all = 0x02,
};

/// Mode pages that are asked for (SPC-4 7.5, SBC-3 6.5).
enum class ModePage : std::uint8_t { caching = 0x08, control = 0x0a, all = 0x3f };

/// Whether a command changes nothing on the unit, however late it is executed. Unknown ones may.
bool only_reads(std::byte operation_code);

Cdb test_unit_ready();
/// `descriptor` asks for descriptor format sense data.
Cdb request_sense(std::uint8_t allocation_bytes, bool descriptor = false);
/// Standard INQUIRY data; ask for 36 first, old targets fail on more.
Cdb inquiry(std::uint16_t allocation_bytes);
/// A vital product data page.
Cdb inquiry_vpd(std::uint8_t page, std::uint16_t allocation_bytes);
/// `allocation_bytes` is at least 16 (SPC-4 6.33).
Cdb report_luns(LunReport select, std::uint32_t allocation_bytes);
Cdb report_target_port_groups(std::uint32_t allocation_bytes, bool extended_header);
Cdb mode_sense6(ModePage page, std::uint8_t allocation_bytes);
Cdb mode_sense10(ModePage page, std::uint16_t allocation_bytes);
/// Waits until the unit is started or stopped (IMMED = 0).
Cdb start_stop_unit(bool start);
Cdb read_capacity10();
Cdb read_capacity16(std::uint32_t allocation_bytes);

/// The (10) forms take an LBA below 2^32 and up to 65535 blocks; the (16) forms any LBA and up to 2^32-1
/// blocks. Asking for more is a fault of the caller (base::check).
Cdb read10(base::Lba lba, base::BlockCount blocks, bool fua);
Cdb read16(base::Lba lba, base::BlockCount blocks, bool fua);
Cdb write10(base::Lba lba, base::BlockCount blocks, bool fua);
Cdb write16(base::Lba lba, base::BlockCount blocks, bool fua);

/// The (10) form where the range fits it, which every disk has to support (SBC-3 5.10), else the (16) form.
Cdb read_blocks(base::Lba lba, base::BlockCount blocks, bool fua);
Cdb write_blocks(base::Lba lba, base::BlockCount blocks, bool fua);

/// The whole device, waiting for the medium (IMMED = 0).
Cdb synchronize_cache10();
Cdb synchronize_cache16();

/// Followed by a parameter list of `parameter_bytes` in the data-out buffer; see unmap_parameter_list.
Cdb unmap(std::uint16_t parameter_bytes);

/// What WRITE SAME does beyond writing the block of its data-out buffer.
struct WriteSameOptions {
    bool unmap = false; ///< the blocks may be deallocated if they then read as what would have been written
    bool ndob = false;  ///< no data-out buffer, zeroes are written; (16) only
};
/// A count of zero would mean "to the end of the device" and is a fault of the caller.
Cdb write_same10(base::Lba lba, base::BlockCount blocks, WriteSameOptions options);
Cdb write_same16(base::Lba lba, base::BlockCount blocks, WriteSameOptions options);

/// The most ranges that one UNMAP can carry: its length field has 16 bits.
inline constexpr std::size_t unmap_ranges_max = (0xffff - 8) / 16;

/// Bytes of the UNMAP parameter list of `ranges` ranges.
constexpr std::size_t unmap_parameter_bytes(std::size_t ranges) {
    return 8 + 16 * ranges;
}

/// Writes the UNMAP parameter list (SBC-3 5.28) into `out` and returns the part that was filled. `out` holds
/// at least unmap_parameter_bytes(ranges.size()); at most unmap_ranges_max ranges of at most 2^32-1 blocks.
base::MutableBytes unmap_parameter_list(std::span<const BlockRange> ranges, base::MutableBytes out);

/// What the command is called, for logs: "READ(16)"; "SCSI command" for an opcode not known here.
const char* command_name(base::Bytes cdb);

} // namespace iscsi::scsi

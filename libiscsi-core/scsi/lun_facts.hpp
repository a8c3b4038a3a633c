// Everything the scan learns about one logical unit, and the functions that fold one answer each into it: the
// scan sends commands and calls these. A malformed answer leaves the facts as they were. Owned by whoever
// scans; any thread; allocates.
#pragma once

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "base/units.hpp"
#include "scsi/capacity.hpp"
#include "scsi/inquiry.hpp"
#include "scsi/target_port_groups.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace iscsi::scsi {

/// How the unit is reached through the port that answered. True of the moment: it is not stored.
struct PortAccess {
    AccessState state = AccessState::active_optimized;
    bool preferred = false;
    std::uint8_t transition_s = 0; ///< IMPLICIT TRANSITION TIME; 0: not told

    friend bool operator==(const PortAccess&, const PortAccess&) = default;
};

struct LunFacts {
    base::Lun lun;

    // INQUIRY.
    std::uint8_t peripheral_type = peripheral::unknown;
    std::uint8_t peripheral_qualifier = 0;
    std::uint8_t scsi_version = 0;
    std::uint8_t target_port_groups = 0; ///< TPGS
    bool removable = false;
    std::string vendor, product, revision;

    // VPD 00, 80, 83.
    VpdPages vpd_pages;
    std::string serial; ///< "" if there is none
    DeviceIdentification identification;

    // READ CAPACITY.
    base::BlockCount blocks;
    std::uint32_t block_bytes = 0; ///< 0: capacity not read
    std::uint32_t physical_block_bytes = 0;
    std::uint64_t lowest_aligned_lba = 0;
    std::uint8_t protection_type = 0;
    bool provisioned = false; ///< LBPME
    bool lbprz = false;       ///< LBPRZ: unmapped blocks read as zeroes

    // MODE SENSE.
    bool read_only = false;   ///< WP or SWP
    bool write_cache = false; ///< WCE
    bool dpofua = false;
    bool descriptor_sense = false;
    bool software_write_protect = false; ///< SWP alone, a part of read_only

    // VPD 86.
    bool cache_survives = false; ///< the write cache is non-volatile, and there is no other

    // VPD B0, B1, B2.
    BlockLimits limits;
    bool provisioning_page = false; ///< the three below were told
    bool lbpu = false;
    bool lbpws = false;
    bool lbpws10 = false;
    bool rotational = true; ///< until page B1 says that it does not rotate
    std::uint8_t zoned = 0;

    // REPORT TARGET PORT GROUPS, where the unit has them.
    PortAccess access;

    friend bool operator==(const LunFacts&, const LunFacts&) = default;
};

base::Result<void> apply_inquiry(LunFacts& facts, base::Bytes data);
base::Result<void> apply_supported_pages(LunFacts& facts, base::Bytes data);
base::Result<void> apply_unit_serial_number(LunFacts& facts, base::Bytes data);
base::Result<void> apply_device_identification(LunFacts& facts, base::Bytes data);
base::Result<void> apply_extended_inquiry(LunFacts& facts, base::Bytes data);
base::Result<void> apply_block_limits(LunFacts& facts, base::Bytes data);
base::Result<void> apply_block_characteristics(LunFacts& facts, base::Bytes data);
base::Result<void> apply_logical_block_provisioning(LunFacts& facts, base::Bytes data);
/// Answers whether READ CAPACITY(16) is needed, because the size does not fit; the facts are then unchanged.
base::Result<bool> apply_read_capacity10(LunFacts& facts, base::Bytes data);
base::Result<void> apply_read_capacity16(LunFacts& facts, base::Bytes data);
base::Result<void> apply_mode_sense6(LunFacts& facts, base::Bytes data);
base::Result<void> apply_mode_sense10(LunFacts& facts, base::Bytes data);
/// What is said of the group of the port that answered, which page 83h has told.
base::Result<void> apply_target_port_groups(LunFacts& facts, base::Bytes data);

/// True for a device that can be served as a block device: a disk that is there, with a size. Host managed
/// zoned disks are none: they refuse writes that are not in order.
bool is_disk(const LunFacts& facts);

/// Programs whose ways, beyond what standards say, are known, by the vendor identification that their units
/// have where nobody gave them another one: those are not known, nor is any other target.
enum class TargetProgram : std::uint8_t { not_known, tgtd, lio, istgt };
TargetProgram target_program(const LunFacts& facts);

/// Writes may end before they are where a loss of power does not reach them.
bool has_volatile_cache(const LunFacts& facts);

/// What tells this logical unit from every other: "naa.6…", "eui.…", a SCSI name string, "uuid.…", "t10.…";
/// without designators "serial.VENDOR.PRODUCT.SERIAL"; "" when the unit has no name at all. Two equal,
/// non-empty identities are one unit.
std::string identity(const LunFacts& facts);

/// The identity as scsi_id prints it, for ID_SERIAL: '3' NAA, '2' EUI-64, '8' name string, '1' T10, or
/// 'S' vendor, model and serial; blanks are underscores. "" when there is none.
std::string udev_serial(const LunFacts& facts);

/// Hexadecimal digits of the NAA or EUI-64 designator for ID_WWN (which wants 0x in front); "" without one.
std::string world_wide_name(const LunFacts& facts);

/// True when `now` may be served in the place of `before` after a relogin: same identity, same serial number,
/// same block size. A unit without any name is compared by vendor, product and size. A named unit may have
/// grown or shrunk meanwhile: the caller looks at `blocks`.
bool same_unit(const LunFacts& before, const LunFacts& now);

/// A unit whose port answers inquiries only tells neither size nor modes: `now` with those of `before`.
/// Others are left as they are.
LunFacts with_known_size(LunFacts now, const LunFacts& before);

/// Which command deallocates blocks.
enum class DiscardMethod : std::uint8_t { none, unmap, write_same16, write_same10 };
DiscardMethod discard_method(const LunFacts& facts);

/// The most blocks that one command of discard_method may cover, one descriptor; 0 = no discard.
std::uint64_t max_discard_blocks(const LunFacts& facts);

/// The longest read or write in bytes: `wanted_bytes`, or what the unit takes if that is less; a multiple of
/// the block size and at least one block.
std::uint32_t max_transfer_bytes(const LunFacts& facts, std::uint32_t wanted_bytes);

} // namespace iscsi::scsi

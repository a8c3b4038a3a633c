// Standard INQUIRY data and the vital product data pages 00, 80, 83, B0, B1 and B2, read out of bytes that a
// target sent and may have cut short, padded or made up. The results own their text; nothing refers to the
// bytes. Text is trimmed and printable. Any thread; for the scan, allocates. SPC-4 sections 6.4 and 7.8,
// SBC-3 section 6.6.
#pragma once

#include "base/bytes.hpp"
#include "base/result.hpp"

#include <bitset>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace iscsi::scsi {

/// Peripheral device types that matter here (SPC-4 6.4.2).
namespace peripheral {
inline constexpr std::uint8_t disk = 0x00;
inline constexpr std::uint8_t storage_array = 0x0c;
inline constexpr std::uint8_t simplified_disk = 0x0e;
inline constexpr std::uint8_t zoned_disk = 0x14;
inline constexpr std::uint8_t well_known = 0x1e;
inline constexpr std::uint8_t unknown = 0x1f;

/// "disk", "tape"; "type 15h" is for a type without a name here.
std::string text(std::uint8_t type);
} // namespace peripheral

/// VPD page codes (SPC-4 7.8.1, SBC-3 6.6.1).
namespace vpd {
inline constexpr std::uint8_t supported_pages = 0x00;
inline constexpr std::uint8_t unit_serial_number = 0x80;
inline constexpr std::uint8_t device_identification = 0x83;
inline constexpr std::uint8_t extended_inquiry = 0x86;
inline constexpr std::uint8_t block_limits = 0xb0;
inline constexpr std::uint8_t block_characteristics = 0xb1;
inline constexpr std::uint8_t logical_block_provisioning = 0xb2;
} // namespace vpd

struct StandardInquiry {
    std::uint8_t peripheral_type = peripheral::unknown;
    std::uint8_t peripheral_qualifier = 0; ///< 0: there is a device; 1: could be, is not; 3: cannot be
    bool removable = false;
    std::uint8_t version = 0;            ///< 0 none, 2 SCSI-2, 3 SPC, 4 SPC-2, 5 SPC-3, 6 SPC-4
    std::uint8_t target_port_groups = 0; ///< TPGS: bit 0 implicit, bit 1 explicit asymmetric access
    bool protection = false;             ///< PROTECT
    std::size_t available_bytes = 0;     ///< what the target has, which may be more than was asked for
    std::string vendor, product, revision;
};

/// Fails below the five bytes that tell the length.
base::Result<StandardInquiry> read_standard_inquiry(base::Bytes data);

/// Which VPD pages there are.
using VpdPages = std::bitset<256>;

base::Result<VpdPages> read_supported_pages(base::Bytes data);

/// Page 80h; may be empty.
base::Result<std::string> read_unit_serial_number(base::Bytes data);

/// DESIGNATOR TYPE of page 83h (SPC-4 7.8.6).
enum class DesignatorType : std::uint8_t {
    vendor_specific = 0,
    t10_vendor = 1,
    eui64 = 2,
    naa = 3,
    relative_target_port = 4,
    target_port_group = 5,
    logical_unit_group = 6,
    md5 = 7,
    scsi_name = 8,
    protocol_specific_port = 9,
    uuid = 10,
};

enum class Association : std::uint8_t { logical_unit = 0, target_port = 1, target_device = 2 };

/// One designator: binary as lower-case hex, text as printable text.
struct Designator {
    DesignatorType type = DesignatorType::vendor_specific;
    Association association = Association::logical_unit;
    std::string value;

    friend bool operator==(const Designator&, const Designator&) = default;
};

struct DeviceIdentification {
    std::vector<Designator> unit; ///< of the logical unit, best first; only kinds that name it world-wide
    std::optional<std::uint16_t> target_port_group;    ///< of the port that answered
    std::optional<std::uint16_t> relative_target_port; ///< of the port that answered
    std::string target_port_name;                      ///< SCSI name string of the port, "" if none

    friend bool operator==(const DeviceIdentification&, const DeviceIdentification&) = default;
};

/// Page 83h. A designator that does not fit what its type promises is skipped; a page that ends inside one
/// gives those before it.
base::Result<DeviceIdentification> read_device_identification(base::Bytes data);

/// Page B0h. Zero means "not reported" unless said otherwise.
struct BlockLimits {
    bool wsnz = false;                            ///< WRITE SAME takes no count of zero
    std::uint16_t optimal_granularity_blocks = 0; ///< OPTIMAL TRANSFER LENGTH GRANULARITY
    std::uint32_t max_transfer_blocks = 0;
    std::uint32_t optimal_transfer_blocks = 0;
    std::uint32_t max_unmap_blocks = 0; ///< of one UNMAP, all descriptors; 0: no UNMAP; ffffffffh: no limit
    std::uint32_t max_unmap_descriptors = 0; ///< 0: no UNMAP; never above unmap_ranges_max
    std::uint32_t unmap_granularity_blocks = 0;
    std::uint32_t unmap_alignment_blocks = 0; ///< first aligned LBA, below the granularity
    std::uint64_t max_write_same_blocks = 0;  ///< 0: no limit told

    friend bool operator==(const BlockLimits&, const BlockLimits&) = default;
};

base::Result<BlockLimits> read_block_limits(base::Bytes data);

/// Page B1h.
struct BlockCharacteristics {
    std::uint16_t rotation_rate = 0; ///< 0: not reported; 1: does not rotate; else revolutions a minute
    std::uint8_t zoned = 0;          ///< 0: not reported or not; 1: host aware; 2: device managed
};

base::Result<BlockCharacteristics> read_block_characteristics(base::Bytes data);

/// Page 86h: the kinds of cache that the unit has (SPC-4 7.8.7, V_SUP and NV_SUP).
struct ExtendedInquiry {
    bool volatile_cache = false;
    bool nonvolatile_cache = false;
};

base::Result<ExtendedInquiry> read_extended_inquiry(base::Bytes data);

/// Page B2h.
struct LogicalBlockProvisioning {
    bool lbpu = false;                   ///< UNMAP works
    bool lbpws = false;                  ///< WRITE SAME(16) with UNMAP works
    bool lbpws10 = false;                ///< WRITE SAME(10) with UNMAP works
    bool lbprz = false;                  ///< unmapped blocks read as zeroes
    std::uint8_t provisioning_type = 0;  ///< 0: not told; 1: resource; 2: thin
    std::uint8_t threshold_exponent = 0; ///< a threshold counts 2^this blocks; 0: no thresholds
};

base::Result<LogicalBlockProvisioning> read_logical_block_provisioning(base::Bytes data);

} // namespace iscsi::scsi

#include "scsi/inquiry.hpp"

#include "base/text.hpp"
#include "scsi/cdb.hpp"
#include "scsi/designators.hpp"
#include "scsi/field.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace iscsi::scsi {
namespace {

constexpr std::size_t vpd_header_bytes = 4;

/// A text field: trimmed of blanks and NULs, and safe to print.
std::string text_field(base::Bytes bytes) {
    std::string_view text = base::text_of(bytes);
    text = text.substr(0, text.find_last_not_of('\0') + 1);
    return base::printable(base::trim(text));
}

/// The page of a VPD answer, header included and cut to the length it tells. Some targets answer an unknown
/// page with standard INQUIRY data, so the page code has to match.
base::Result<Fields> vpd_fields(base::Bytes data, std::uint8_t page) {
    Fields fields(data);
    if (fields.size() < vpd_header_bytes) {
        return base::fail(base::Errc::protocol,
                          fmt::format("VPD page {:02X}h: {} bytes are no page", page, data.size()));
    }
    if (fields.u8(1) != page) {
        return base::fail(base::Errc::protocol,
                          fmt::format("VPD page {:02X}h: the answer is page {:02X}h", page, fields.u8(1)));
    }
    fields.limit(vpd_header_bytes + fields.u16(2));
    return fields;
}

} // namespace

std::string peripheral::text(std::uint8_t type) {
    // By number (SPC-4 6.4.2).
    constexpr std::array<std::string_view, 21> names{"disk",
                                                     "tape",
                                                     "printer",
                                                     "processor",
                                                     "WORM",
                                                     "CD/DVD",
                                                     "scanner",
                                                     "optical disk",
                                                     "changer",
                                                     "communication",
                                                     "obsolete (0Ah)",
                                                     "obsolete (0Bh)",
                                                     "storage array controller",
                                                     "enclosure",
                                                     "simplified disk",
                                                     "optical card",
                                                     "bridge",
                                                     "object storage",
                                                     "automation",
                                                     "security manager",
                                                     "zoned disk"};
    if (type < names.size()) {
        return std::string(names[type]);
    }
    return type == well_known ? "well known unit"
           : type == unknown  ? "no device"
                              : fmt::format("type {:02X}h", type);
}

base::Result<StandardInquiry> read_standard_inquiry(base::Bytes data) {
    constexpr std::size_t length_offset = 4;
    constexpr std::size_t mandatory_bytes = 36;
    Fields fields(data);
    if (fields.size() <= length_offset) {
        return base::fail(base::Errc::protocol, fmt::format("INQUIRY: {} bytes are too few", data.size()));
    }
    StandardInquiry inquiry;
    inquiry.available_bytes = length_offset + 1 + fields.u8(length_offset);
    // Old targets tell a shorter length than the 36 bytes that they send and every target has.
    fields.limit(std::max(inquiry.available_bytes, mandatory_bytes));
    inquiry.peripheral_type = fields.u8(0) & 0x1f;
    inquiry.peripheral_qualifier = static_cast<std::uint8_t>(fields.u8(0) >> 5);
    inquiry.removable = fields.bit(1, 0x80);
    inquiry.version = fields.u8(2);
    inquiry.target_port_groups = (fields.u8(5) >> 4) & 0x03;
    inquiry.protection = fields.bit(5, 0x01);
    inquiry.vendor = text_field(fields.part(8, 8));
    inquiry.product = text_field(fields.part(16, 16));
    inquiry.revision = text_field(fields.part(32, 4));
    return inquiry;
}

base::Result<VpdPages> read_supported_pages(base::Bytes data) {
    return vpd_fields(data, vpd::supported_pages).map([](const Fields& fields) {
        VpdPages pages;
        for (std::byte page : fields.part(vpd_header_bytes, fields.size())) {
            pages.set(std::to_integer<std::size_t>(page));
        }
        return pages;
    });
}

base::Result<std::string> read_unit_serial_number(base::Bytes data) {
    return vpd_fields(data, vpd::unit_serial_number).map([](const Fields& fields) {
        return text_field(fields.part(vpd_header_bytes, fields.size()));
    });
}

base::Result<DeviceIdentification> read_device_identification(base::Bytes data) {
    return vpd_fields(data, vpd::device_identification).map([](const Fields& fields) {
        return read_designators(fields.part(vpd_header_bytes, fields.size()));
    });
}

base::Result<BlockLimits> read_block_limits(base::Bytes data) {
    auto page = vpd_fields(data, vpd::block_limits);
    if (!page) {
        return base::fail(page.error());
    }
    const Fields& fields = *page;
    constexpr std::uint32_t alignment_valid = 0x80000000U; // UGAVALID
    BlockLimits limits;
    limits.wsnz = fields.bit(4, 0x01);
    limits.optimal_granularity_blocks = fields.u16(6);
    limits.max_transfer_blocks = fields.u32(8);
    limits.optimal_transfer_blocks = fields.u32(12);
    limits.max_unmap_blocks = fields.u32(20);
    limits.max_unmap_descriptors =
        std::min<std::uint32_t>(fields.u32(24), static_cast<std::uint32_t>(unmap_ranges_max));
    limits.unmap_granularity_blocks = fields.u32(28);
    limits.max_write_same_blocks = fields.u64(36);
    // An optimum above the maximum is a mistake of the target's.
    if (limits.max_transfer_blocks != 0 && limits.optimal_transfer_blocks > limits.max_transfer_blocks) {
        limits.optimal_transfer_blocks = 0;
    }
    std::uint32_t alignment = fields.u32(32);
    if ((alignment & alignment_valid) != 0 && limits.unmap_granularity_blocks != 0) {
        limits.unmap_alignment_blocks = (alignment & ~alignment_valid) % limits.unmap_granularity_blocks;
    }
    return limits;
}

base::Result<BlockCharacteristics> read_block_characteristics(base::Bytes data) {
    return vpd_fields(data, vpd::block_characteristics).map([](const Fields& fields) {
        BlockCharacteristics characteristics;
        characteristics.rotation_rate = fields.u16(4);
        characteristics.zoned = (fields.u8(8) >> 4) & 0x03;
        return characteristics;
    });
}

base::Result<ExtendedInquiry> read_extended_inquiry(base::Bytes data) {
    return vpd_fields(data, vpd::extended_inquiry).map([](const Fields& fields) {
        ExtendedInquiry extended;
        extended.volatile_cache = fields.bit(6, 0x01);
        extended.nonvolatile_cache = fields.bit(6, 0x02);
        return extended;
    });
}

base::Result<LogicalBlockProvisioning> read_logical_block_provisioning(base::Bytes data) {
    return vpd_fields(data, vpd::logical_block_provisioning).map([](const Fields& fields) {
        LogicalBlockProvisioning provisioning;
        provisioning.threshold_exponent = fields.u8(4);
        provisioning.lbpu = fields.bit(5, 0x80);
        provisioning.lbpws = fields.bit(5, 0x40);
        provisioning.lbpws10 = fields.bit(5, 0x20);
        // LBPRZ has three bits; the lowest alone says zeroes (SBC-4), and was the whole field before (SBC-3).
        provisioning.lbprz = fields.bit(5, 0x04);
        provisioning.provisioning_type = fields.u8(6) & 0x07;
        return provisioning;
    });
}

} // namespace iscsi::scsi

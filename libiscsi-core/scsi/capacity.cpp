#include "scsi/capacity.hpp"

#include "base/limits.hpp"
#include "scsi/field.hpp"

#include <algorithm>
#include <bit>
#include <fmt/format.h>
#include <unordered_set>

namespace iscsi::scsi {
namespace {

constexpr std::uint32_t block_bytes_min = 512;
constexpr std::uint32_t block_bytes_max = 65536;
constexpr std::size_t lun_bytes = 8;

/// Block size and count, checked; the rest at its defaults.
base::Result<Capacity> sized(std::uint64_t last_lba, std::uint32_t block_bytes) {
    if (!std::has_single_bit(block_bytes) || block_bytes < block_bytes_min || block_bytes > block_bytes_max) {
        return base::fail(base::Errc::protocol,
                          fmt::format("READ CAPACITY: a block size of {} is not supported", block_bytes));
    }
    if (last_lba >= static_cast<std::uint64_t>(INT64_MAX) / block_bytes) {
        return base::fail(base::Errc::protocol,
                          fmt::format("READ CAPACITY: a last LBA of {} is not believed", last_lba));
    }
    Capacity capacity;
    capacity.blocks = base::BlockCount(last_lba + 1);
    capacity.block_bytes = block_bytes;
    capacity.physical_block_bytes = block_bytes;
    return capacity;
}

/// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT and LOWEST ALIGNED LOGICAL BLOCK ADDRESS; a physical block
/// beyond belief is ignored.
void apply_alignment(Capacity& capacity, unsigned exponent, std::uint64_t lowest_aligned_lba) {
    std::uint64_t physical = std::uint64_t{capacity.block_bytes} << exponent;
    if (physical > block_bytes_max) {
        return;
    }
    capacity.physical_block_bytes = static_cast<std::uint32_t>(physical);
    capacity.lowest_aligned_lba = lowest_aligned_lba & ((std::uint64_t{1} << exponent) - 1);
}

/// 16 bits of the first level at a time, the first level lowest: the kernel's scsilun_to_int order.
std::uint64_t swap_levels(std::uint64_t levels) {
    std::uint64_t swapped = 0;
    for (int level = 0; level < 4; ++level) {
        swapped = (swapped << 16) | (levels & 0xffff);
        levels >>= 16;
    }
    return swapped;
}

} // namespace

base::Result<Capacity> read_capacity10_data(base::Bytes data) {
    Fields fields(data);
    if (!fields.holds(0, 8)) {
        return base::fail(base::Errc::protocol,
                          fmt::format("READ CAPACITY(10): {} bytes are too few", data.size()));
    }
    constexpr std::uint32_t does_not_fit = 0xffffffffU;
    auto capacity = sized(fields.u32(0), fields.u32(4));
    if (capacity) {
        capacity->needs_read_capacity16 = fields.u32(0) == does_not_fit;
    }
    return capacity;
}

base::Result<Capacity> read_capacity16_data(base::Bytes data) {
    Fields fields(data);
    if (!fields.holds(0, 12)) {
        return base::fail(base::Errc::protocol,
                          fmt::format("READ CAPACITY(16): {} bytes are too few", data.size()));
    }
    auto capacity = sized(fields.u64(0), fields.u32(8));
    if (!capacity) {
        return capacity;
    }
    bool protection_enabled = fields.bit(12, 0x01);
    unsigned protection_field = (fields.u8(12) >> 1) & 0x07;
    capacity->protection_type =
        protection_enabled ? static_cast<std::uint8_t>(std::min(protection_field + 1, 3U)) : std::uint8_t{0};
    apply_alignment(*capacity, fields.u8(13) & 0x0f, fields.u16(14) & 0x3fff);
    capacity->provisioned = fields.bit(14, 0x80);
    capacity->reads_zeroes = fields.bit(14, 0x40);
    return capacity;
}

base::Result<LunList> read_report_luns(base::Bytes data) {
    constexpr std::size_t header_bytes = 8;
    Fields fields(data);
    if (!fields.holds(0, header_bytes)) {
        return base::fail(base::Errc::protocol,
                          fmt::format("REPORT LUNS: {} bytes are too few", data.size()));
    }
    std::size_t list_bytes = fields.u32(0);
    if (list_bytes % lun_bytes != 0) {
        return base::fail(base::Errc::protocol,
                          fmt::format("REPORT LUNS: a list of {} bytes holds no whole units", list_bytes));
    }
    if (list_bytes / lun_bytes > base::limits::luns_max) {
        return base::fail(base::Errc::protocol,
                          fmt::format("REPORT LUNS: {} units are more than the {} that are supported",
                                      list_bytes / lun_bytes, base::limits::luns_max));
    }
    LunList list;
    list.needed_bytes = header_bytes + list_bytes;
    list.complete = list.needed_bytes <= data.size();
    fields.limit(list.needed_bytes);
    list.luns.reserve((fields.size() - header_bytes) / lun_bytes);
    std::unordered_set<std::uint64_t> seen;
    for (std::size_t at = header_bytes; fields.holds(at, lun_bytes); at += lun_bytes) {
        if (seen.insert(fields.u64(at)).second) {
            list.luns.emplace_back(fields.u64(at));
        }
    }
    return list;
}

std::uint64_t lun_number(base::Lun lun) {
    return swap_levels(lun.value());
}

base::Lun lun_from_number(std::uint64_t number) {
    return base::Lun(swap_levels(number));
}

LunMethod lun_method(base::Lun lun) {
    return static_cast<LunMethod>(lun.value() >> 62);
}

std::string describe_lun(base::Lun lun) {
    std::uint64_t number = lun_number(lun);
    std::uint64_t first_level = lun.value() >> 48;
    bool single_level = (lun.value() & 0xffffffffffffULL) == 0;
    switch (lun_method(lun)) {
    case LunMethod::peripheral:
        if (!single_level || first_level > 0xff) {
            return fmt::format("{} (peripheral {:016x})", number, lun.value());
        }
        return fmt::format("{}", number);
    case LunMethod::flat_space:
        if (!single_level) {
            break;
        }
        return fmt::format("{} (flat space {})", number, first_level & 0x3fff);
    case LunMethod::logical_unit:
        return fmt::format("{} (target {} bus {} unit {})", number, (first_level >> 8) & 0x3f,
                           (first_level >> 5) & 0x07, first_level & 0x1f);
    case LunMethod::extended:
        // LENGTH and EXTENDED ADDRESS METHOD are in the first byte (SAM-5 4.7.7.5).
        if ((first_level >> 8) == 0xc1) {
            return fmt::format("{} (well known {})", number, first_level & 0xff);
        }
        if ((first_level >> 8) == 0xd2) {
            return fmt::format("{} (extended flat space {})", number, (lun.value() >> 32) & 0xffffff);
        }
        break;
    }
    return fmt::format("{} (LUN {:016x})", number, lun.value());
}

} // namespace iscsi::scsi

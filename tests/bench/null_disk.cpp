#include "bench/null_disk.hpp"

#include "base/bytes.hpp"
#include "base/endian.hpp"

#include <algorithm>
#include <fmt/core.h>
#include <string_view>

namespace iscsi::bench {
namespace {

using Data = std::vector<std::byte>;

constexpr std::uint8_t check_condition = 0x02;
constexpr std::uint8_t illegal_request = 0x05;
constexpr std::uint8_t invalid_opcode = 0x20;
constexpr std::uint8_t lba_out_of_range = 0x21;
constexpr std::uint8_t invalid_field_in_cdb = 0x24;
constexpr std::uint8_t lun_not_supported = 0x25;

template <class Field>
auto field(const Cdb& cdb, std::size_t offset) {
    return base::load<Field>(cdb, offset).get();
}

std::uint8_t byte_at(const Cdb& cdb, std::size_t offset) {
    return std::to_integer<std::uint8_t>(cdb[offset]);
}

template <class Field>
void put(Data& data, std::size_t offset, Field value) {
    std::ranges::copy(base::bytes_of_object(value), data.begin() + static_cast<std::ptrdiff_t>(offset));
}

void put_byte(Data& data, std::size_t offset, unsigned value) {
    data[offset] = static_cast<std::byte>(value);
}

void put_text(Data& data, std::size_t offset, std::string_view text) {
    std::ranges::copy(base::bytes_of(text), data.begin() + static_cast<std::ptrdiff_t>(offset));
}

DiskAnswer refuse(std::uint8_t additional_code) {
    DiskAnswer answer{.status = check_condition, .sense = Data(18)};
    put_byte(answer.sense, 0, 0x70);
    put_byte(answer.sense, 2, illegal_request);
    put_byte(answer.sense, 7, 10);
    put_byte(answer.sense, 12, additional_code);
    return answer;
}

/// Data, cut to what the initiator made room for.
DiskAnswer give(Data data, std::size_t allocation_length) {
    data.resize(std::min(data.size(), allocation_length));
    return {.data = std::move(data)};
}

struct Extent {
    std::uint64_t lba = 0;
    std::uint64_t blocks = 0;
};

bool fits(const DiskGeometry& geometry, Extent extent) {
    return extent.lba <= geometry.blocks && extent.blocks <= geometry.blocks - extent.lba;
}

DiskAnswer read(const DiskGeometry& geometry, Extent extent) {
    if (!fits(geometry, extent)) {
        return refuse(lba_out_of_range);
    }
    return {.zero_bytes = extent.blocks * geometry.block_bytes};
}

DiskAnswer write(const DiskGeometry& geometry, Extent extent) {
    return fits(geometry, extent) ? DiskAnswer{} : refuse(lba_out_of_range);
}

Extent extent6(const Cdb& cdb) {
    std::uint8_t blocks = byte_at(cdb, 4);
    return {field<base::Be24>(cdb, 1) & 0x1fffffU, blocks == 0 ? 256U : blocks};
}

Extent extent10(const Cdb& cdb) {
    return {field<base::Be32>(cdb, 2), field<base::Be16>(cdb, 7)};
}

Extent extent12(const Cdb& cdb) {
    return {field<base::Be32>(cdb, 2), field<base::Be32>(cdb, 6)};
}

Extent extent16(const Cdb& cdb) {
    return {field<base::Be64>(cdb, 2), field<base::Be32>(cdb, 10)};
}

/// A page of vital product data: its header and `length` zero bytes behind it.
Data vital_page(std::uint8_t code, std::uint8_t length) {
    Data page(4U + length);
    put_byte(page, 1, code);
    put_byte(page, 3, length);
    return page;
}

/// A LUN below 256 in peripheral device addressing (SAM-5 section 4.7.7.2), or more than there can be.
std::uint32_t number_of(base::Lun lun) {
    constexpr std::uint64_t unit = std::uint64_t{1} << 48;
    return lun.value() % unit == 0 && lun.value() / unit < 256
               ? static_cast<std::uint32_t>(lun.value() / unit)
               : UINT32_MAX;
}

DiskAnswer vital_product_data(std::uint32_t number, const Cdb& cdb) {
    std::uint8_t code = byte_at(cdb, 2);
    Data page;
    switch (code) {
    case 0x00: // supported pages
        page = vital_page(code, 6);
        put(page, 4, std::to_array<std::uint8_t>({0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2}));
        break;
    case 0x80: // unit serial number
        page = vital_page(code, 8);
        put_text(page, 4, fmt::format("NULL{:04}", number + 1));
        break;
    case 0x83: // identification: one T10 vendor designator
        page = vital_page(code, 20);
        put(page, 4, std::to_array<std::uint8_t>({0x02, 0x01, 0x00, 16}));
        put_text(page, 8, fmt::format("NULL    bench{:03}", number + 1));
        break;
    case 0xb0: // block limits: none reported
        page = vital_page(code, 0x3c);
        break;
    case 0xb1: // characteristics: not rotating
        page = vital_page(code, 0x3c);
        put_byte(page, 5, 1);
        break;
    case 0xb2: // provisioning: unmap and both write sames
        page = vital_page(code, 4);
        put_byte(page, 5, 0xe0);
        put_byte(page, 6, 0x02);
        break;
    default:
        return refuse(invalid_field_in_cdb);
    }
    return give(std::move(page), field<base::Be16>(cdb, 3));
}

DiskAnswer inquiry(const DiskGeometry& geometry, base::Lun lun, const Cdb& cdb) {
    const std::uint32_t number = number_of(lun);
    if ((byte_at(cdb, 1) & 1) != 0) {
        return number < geometry.luns ? vital_product_data(number, cdb) : refuse(lun_not_supported);
    }
    Data data(36);
    put_byte(data, 0, number < geometry.luns ? 0x00 : 0x7f);
    put_byte(data, 2, 6);
    put_byte(data, 3, 2);
    put_byte(data, 4, 31);
    put_byte(data, 7, 2);
    put_text(data, 8, "NULL    bench           0001");
    return give(std::move(data), field<base::Be16>(cdb, 3));
}

DiskAnswer report_luns(const DiskGeometry& geometry, const Cdb& cdb) {
    Data data(std::size_t{8} + geometry.luns * std::size_t{8});
    put(data, 0, base::Be32(geometry.luns * 8));
    for (std::uint32_t number = 0; number < geometry.luns; ++number) {
        put_byte(data, 8 + number * std::size_t{8} + 1, number);
    }
    return give(std::move(data), field<base::Be32>(cdb, 6));
}

DiskAnswer read_capacity10(const DiskGeometry& geometry) {
    Data data(8);
    put(data, 0,
        base::Be32(static_cast<std::uint32_t>(std::min<std::uint64_t>(geometry.blocks - 1, UINT32_MAX))));
    put(data, 4, base::Be32(geometry.block_bytes));
    return {.data = std::move(data)};
}

DiskAnswer read_capacity16(const DiskGeometry& geometry, const Cdb& cdb) {
    if ((byte_at(cdb, 1) & 0x1f) != 0x10) {
        return refuse(invalid_field_in_cdb);
    }
    Data data(32);
    put(data, 0, base::Be64(geometry.blocks - 1));
    put(data, 8, base::Be32(geometry.block_bytes));
    put_byte(data, 14, 0xc0); // unmapped blocks exist, and read as zeros
    return give(std::move(data), field<base::Be32>(cdb, 10));
}

/// The caching page, all zero: no write cache, so nothing needs flushing.
Data caching_page() {
    Data page(20);
    put_byte(page, 0, 0x08);
    put_byte(page, 1, 18);
    return page;
}

DiskAnswer mode_sense(const Cdb& cdb, std::size_t header_bytes, std::size_t allocation_length) {
    std::uint8_t page_code = byte_at(cdb, 2) & 0x3f;
    if (page_code != 0x08 && page_code != 0x3f) {
        return refuse(invalid_field_in_cdb);
    }
    Data data(header_bytes);
    Data page = caching_page();
    data.insert(data.end(), page.begin(), page.end());
    if (header_bytes == 4) {
        put_byte(data, 0, static_cast<unsigned>(data.size() - 1));
    } else {
        put(data, 0, base::Be16(static_cast<std::uint16_t>(data.size() - 2)));
    }
    return give(std::move(data), allocation_length);
}

DiskAnswer other_command(const DiskGeometry& geometry, const Cdb& cdb) {
    switch (byte_at(cdb, 0)) {
    case 0x00: // TEST UNIT READY
    case 0x1b: // START STOP UNIT
    case 0x35: // SYNCHRONIZE CACHE(10)
    case 0x91: // SYNCHRONIZE CACHE(16)
    case 0x42: // UNMAP
        return {};
    case 0x25:
        return read_capacity10(geometry);
    case 0x9e:
        return read_capacity16(geometry, cdb);
    case 0x1a:
        return mode_sense(cdb, 4, byte_at(cdb, 4));
    case 0x5a:
        return mode_sense(cdb, 8, field<base::Be16>(cdb, 7));
    default:
        return refuse(invalid_opcode);
    }
}

} // namespace

DiskAnswer disk_answer(const DiskGeometry& geometry, base::Lun lun, const Cdb& cdb) {
    std::uint8_t opcode = byte_at(cdb, 0);
    if (opcode == 0x12) {
        return inquiry(geometry, lun, cdb);
    }
    if (opcode == 0xa0) {
        return report_luns(geometry, cdb);
    }
    if (number_of(lun) >= geometry.luns) {
        return refuse(lun_not_supported);
    }
    switch (opcode) {
    case 0x08: // READ(6)
        return read(geometry, extent6(cdb));
    case 0x28: // READ(10)
        return read(geometry, extent10(cdb));
    case 0xa8: // READ(12)
        return read(geometry, extent12(cdb));
    case 0x88: // READ(16)
        return read(geometry, extent16(cdb));
    case 0x0a: // WRITE(6)
        return write(geometry, extent6(cdb));
    case 0x2a: // WRITE(10)
    case 0x41: // WRITE SAME(10)
        return write(geometry, extent10(cdb));
    case 0xaa: // WRITE(12)
        return write(geometry, extent12(cdb));
    case 0x8a: // WRITE(16)
    case 0x93: // WRITE SAME(16)
        return write(geometry, extent16(cdb));
    default:
        return other_command(geometry, cdb);
    }
}

} // namespace iscsi::bench

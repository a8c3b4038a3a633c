#include "scripted/disk.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <string>
#include <utility>

namespace iscsi::scripted {
namespace {

using Cdb = std::array<std::byte, 16>;

constexpr std::uint8_t test_unit_ready = 0x00;
constexpr std::uint8_t request_sense = 0x03;
constexpr std::uint8_t inquiry6 = 0x12;
constexpr std::uint8_t mode_sense6 = 0x1a;
constexpr std::uint8_t read_capacity10 = 0x25;
constexpr std::uint8_t read10 = 0x28;
constexpr std::uint8_t write10 = 0x2a;
constexpr std::uint8_t synchronize10 = 0x35;
constexpr std::uint8_t write_same10 = 0x41;
constexpr std::uint8_t mode_sense10 = 0x5a;
constexpr std::uint8_t read16 = 0x88;
constexpr std::uint8_t write16 = 0x8a;
constexpr std::uint8_t synchronize16 = 0x91;
constexpr std::uint8_t write_same16 = 0x93;
constexpr std::uint8_t service_action_in = 0x9e;
constexpr std::uint8_t report_luns12 = 0xa0;

constexpr Sense invalid_operation{0x05, 0x20, 0x00};
constexpr Sense invalid_field{0x05, 0x24, 0x00};
constexpr Sense no_unit{0x05, 0x25, 0x00};
constexpr Sense out_of_range{0x05, 0x21, 0x00};

ScsiResult failure(const Sense& sense) {
    return {scsi_status::check_condition, sense, {}};
}

std::uint64_t number(const Cdb& cdb, std::size_t at, std::size_t bytes) {
    std::uint64_t value = 0;
    for (std::size_t i = at; i < at + bytes; ++i) {
        value = value << 8 | std::to_integer<std::uint64_t>(cdb[i]);
    }
    return value;
}

void put(ByteVector& bytes, std::size_t at, std::size_t count, std::uint64_t value) {
    for (std::size_t i = count; i-- > 0; value >>= 8) {
        bytes.at(at + i) = static_cast<std::byte>(value & 0xffU);
    }
}

void put_text(ByteVector& bytes, std::size_t at, std::string_view text) {
    std::ranges::copy(bytes_of(text), bytes.begin() + static_cast<long>(at));
}

/// What is left of an answer in a buffer of the initiator's size.
ScsiResult answer(ByteVector data, std::uint64_t allocated) {
    data.resize(std::min<std::size_t>(data.size(), allocated));
    return {scsi_status::good, {}, std::move(data)};
}

} // namespace

ByteVector sense_segment(const Sense& sense) {
    ByteVector segment(2 + 18);
    put(segment, 0, 2, 18);
    put(segment, 2, 1, 0x70);
    put(segment, 4, 1, sense.key);
    put(segment, 9, 1, 10);
    put(segment, 14, 1, sense.asc);
    put(segment, 15, 1, sense.ascq);
    return segment;
}

std::uint64_t lun_field(std::uint8_t unit) {
    return std::uint64_t{unit} << 48;
}

Disks::Disks(DiskConfig config) : config_(std::move(config)) {
    for (std::uint8_t unit : config_.units) {
        data_[unit].resize(config_.blocks * config_.block_bytes);
    }
}

ScsiResult Disks::execute(std::uint64_t lun, const Cdb& cdb, const ByteVector& written) {
    auto unit = static_cast<std::uint8_t>(lun >> 48);
    auto operation = std::to_integer<std::uint8_t>(cdb[0]);
    bool is_there = data_.contains(unit) && lun == lun_field(unit);
    if (operation == report_luns12) {
        return report_luns();
    }
    if (!is_there) {
        return failure(no_unit);
    }
    switch (operation) {
    case test_unit_ready:
    case synchronize10:
    case synchronize16:
        return {};
    case request_sense:
        return answer(ByteVector(18), number(cdb, 4, 1));
    case inquiry6:
        return inquiry(unit, cdb);
    case read_capacity10:
        return capacity(false);
    case service_action_in:
        return (number(cdb, 1, 1) & 0x1f) == 0x10 ? capacity(true) : failure(invalid_field);
    case mode_sense6:
    case mode_sense10:
        return mode_sense(cdb);
    case read10:
    case write10:
    case write_same10:
    case read16:
    case write16:
    case write_same16:
        return transfer(unit, cdb, written);
    default:
        return failure(invalid_operation);
    }
}

ScsiResult Disks::inquiry(std::uint8_t unit, const Cdb& cdb) const {
    std::uint64_t allocated = number(cdb, 3, 2);
    if ((number(cdb, 1, 1) & 1) != 0) {
        ByteVector page = vital_page(unit, static_cast<std::uint8_t>(number(cdb, 2, 1)));
        return page.empty() ? failure(invalid_field) : answer(page, allocated);
    }
    ByteVector data(96);
    put(data, 2, 1, 0x06); // SPC-4
    put(data, 3, 1, 0x12); // HISUP, response data format 2
    put(data, 4, 1, data.size() - 5);
    put(data, 7, 1, 0x02); // CMDQUE
    put_text(data, 8, config_.vendor);
    put_text(data, 16, "second opinion  ");
    put_text(data, 32, "1.0 ");
    return answer(data, allocated);
}

ByteVector Disks::vital_page(std::uint8_t unit, std::uint8_t page) const {
    ByteVector data;
    std::string serial = fmt::format("scripted-{:03}", unit);
    if (page == 0x00) {
        data = {std::byte{0}, std::byte{0},    std::byte{0},   std::byte{3},
                std::byte{0}, std::byte{0x80}, std::byte{0x83}};
    } else if (page == 0x80) {
        data.resize(4);
        std::ranges::copy(bytes_of(serial), std::back_inserter(data));
    } else if (page == 0x83) {
        data.resize(4 + 4 + 8); // one designator: NAA, binary, of the unit
        put(data, 4, 1, 0x01);
        put(data, 5, 1, 0x03);
        put(data, 7, 1, 8);
        put(data, 8, 8, 0x3000'0000'5c21'0000ULL + unit);
    } else {
        return data;
    }
    put(data, 1, 1, page);
    put(data, 2, 2, data.size() - 4);
    return data;
}

ScsiResult Disks::report_luns() const {
    ByteVector data(8 + config_.units.size() * 8);
    put(data, 0, 4, data.size() - 8);
    std::size_t at = 8;
    for (std::uint8_t unit : config_.units) {
        put(data, at, 8, lun_field(unit));
        at += 8;
    }
    return {scsi_status::good, {}, data};
}

ScsiResult Disks::capacity(bool long_form) const {
    ByteVector data(long_form ? 32 : 8);
    std::uint64_t last = config_.blocks - 1;
    if (long_form) {
        put(data, 0, 8, last);
        put(data, 8, 4, config_.block_bytes);
    } else {
        put(data, 0, 4, std::min<std::uint64_t>(last, 0xffffffffU));
        put(data, 4, 4, config_.block_bytes);
    }
    return {scsi_status::good, {}, data};
}

ScsiResult Disks::mode_sense(const Cdb& cdb) const {
    bool ten = std::to_integer<unsigned>(cdb[0]) == mode_sense10;
    auto page = static_cast<std::uint8_t>(number(cdb, 2, 1) & 0x3f);
    if (page != 0x08 && page != 0x3f) {
        return failure(invalid_field);
    }
    std::size_t header = ten ? 8 : 4;
    ByteVector data(header + 20);
    put(data, 0, ten ? 2 : 1, data.size() - (ten ? 2 : 1));
    put(data, ten ? 3 : 2, 1, 0x10); // DPOFUA
    put(data, header, 1, 0x08);
    put(data, header + 1, 1, 18);
    put(data, header + 2, 1, config_.write_cache ? 0x04 : 0);
    return answer(data, ten ? number(cdb, 7, 2) : number(cdb, 4, 1));
}

ScsiResult Disks::transfer(std::uint8_t unit, const Cdb& cdb, const ByteVector& written) {
    auto operation = std::to_integer<std::uint8_t>(cdb[0]);
    bool ten = operation < 0x80;
    std::uint64_t block = ten ? number(cdb, 2, 4) : number(cdb, 2, 8);
    std::uint64_t blocks = ten ? number(cdb, 7, 2) : number(cdb, 10, 4);
    if (block > config_.blocks || blocks > config_.blocks - block) {
        return failure(out_of_range);
    }
    auto begin = data_.at(unit).begin() + static_cast<long>(block * config_.block_bytes);
    auto end = begin + static_cast<long>(blocks * config_.block_bytes);
    if (operation == read10 || operation == read16) {
        return {scsi_status::good, {}, ByteVector(begin, end)};
    }
    bool same = operation == write_same10 || operation == write_same16;
    if (written.size() != (same ? config_.block_bytes : static_cast<std::size_t>(end - begin))) {
        return failure(invalid_field);
    }
    for (std::size_t i = 0; begin != end; ++begin, ++i) {
        *begin = written[i % written.size()];
    }
    return {};
}

} // namespace iscsi::scripted

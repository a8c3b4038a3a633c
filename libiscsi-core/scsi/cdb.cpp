#include "scsi/cdb.hpp"

#include "base/check.hpp"
#include "base/endian.hpp"

#include <algorithm>
#include <cstring>

namespace iscsi::scsi {
namespace {

using base::Be16;
using base::Be32;
using base::Be64;

namespace op {
constexpr std::uint8_t test_unit_ready = 0x00;
constexpr std::uint8_t request_sense = 0x03;
constexpr std::uint8_t inquiry = 0x12;
constexpr std::uint8_t mode_sense6 = 0x1a;
constexpr std::uint8_t start_stop_unit = 0x1b;
constexpr std::uint8_t read_capacity10 = 0x25;
constexpr std::uint8_t read10 = 0x28;
constexpr std::uint8_t write10 = 0x2a;
constexpr std::uint8_t synchronize_cache10 = 0x35;
constexpr std::uint8_t write_same10 = 0x41;
constexpr std::uint8_t unmap = 0x42;
constexpr std::uint8_t mode_sense10 = 0x5a;
constexpr std::uint8_t read16 = 0x88;
constexpr std::uint8_t write16 = 0x8a;
constexpr std::uint8_t synchronize_cache16 = 0x91;
constexpr std::uint8_t write_same16 = 0x93;
constexpr std::uint8_t service_action_in16 = 0x9e;
constexpr std::uint8_t report_luns = 0xa0;
constexpr std::uint8_t maintenance_in = 0xa3;
} // namespace op

namespace service_action {
constexpr std::uint8_t read_capacity16 = 0x10;
constexpr std::uint8_t report_target_port_groups = 0x0a;
} // namespace service_action

namespace flag {
constexpr std::uint8_t evpd = 0x01;
constexpr std::uint8_t descriptor_sense = 0x01;
constexpr std::uint8_t start = 0x01;
constexpr std::uint8_t fua = 0x08;
constexpr std::uint8_t unmap = 0x08;
constexpr std::uint8_t ndob = 0x01;
constexpr std::uint8_t extended_header = 0x20; // PARAMETER DATA FORMAT 001b
} // namespace flag

struct Inquiry {
    std::uint8_t opcode = op::inquiry;
    std::uint8_t flags = 0;
    std::uint8_t page = 0;
    Be16 allocation_bytes{};
    std::uint8_t control = 0;
};
static_assert(sizeof(Inquiry) == 6);

/// REQUEST SENSE, MODE SENSE(6), START STOP UNIT and TEST UNIT READY share this shape.
struct Six {
    std::uint8_t opcode = 0;
    std::uint8_t flags = 0;
    std::uint8_t page = 0;
    std::uint8_t subpage = 0;
    std::uint8_t last = 0; // allocation length, or the START bit
    std::uint8_t control = 0;
};
static_assert(sizeof(Six) == 6);

/// READ, WRITE, WRITE SAME, SYNCHRONIZE CACHE and READ CAPACITY of ten bytes.
struct Blocks10 {
    std::uint8_t opcode = 0;
    std::uint8_t flags = 0;
    Be32 lba{};
    std::uint8_t group = 0;
    Be16 blocks{};
    std::uint8_t control = 0;
};
static_assert(sizeof(Blocks10) == 10);

/// The same of sixteen bytes; READ CAPACITY(16) has its allocation length where the others count blocks.
struct Blocks16 {
    std::uint8_t opcode = 0;
    std::uint8_t flags = 0;
    Be64 lba{};
    Be32 blocks{};
    std::uint8_t group = 0;
    std::uint8_t control = 0;
};
static_assert(sizeof(Blocks16) == 16);

/// MODE SENSE(10) and UNMAP.
struct Parameters10 {
    std::uint8_t opcode = 0;
    std::uint8_t flags = 0;
    std::uint8_t page = 0;
    std::array<std::uint8_t, 4> reserved{};
    Be16 parameter_bytes{};
    std::uint8_t control = 0;
};
static_assert(sizeof(Parameters10) == 10);

/// REPORT LUNS and REPORT TARGET PORT GROUPS.
struct Report12 {
    std::uint8_t opcode = 0;
    std::uint8_t service_action = 0;
    std::uint8_t select = 0;
    std::array<std::uint8_t, 3> reserved3{};
    Be32 allocation_bytes{};
    std::uint8_t reserved10 = 0;
    std::uint8_t control = 0;
};
static_assert(sizeof(Report12) == 12);

struct UnmapHeader {
    Be16 data_bytes{};       // what follows this field
    Be16 descriptor_bytes{}; // what follows the header
    Be32 reserved{};
};
static_assert(sizeof(UnmapHeader) == unmap_parameter_bytes(0));

struct UnmapDescriptor {
    Be64 lba{};
    Be32 blocks{};
    Be32 reserved{};
};
static_assert(sizeof(UnmapDescriptor) == unmap_parameter_bytes(1) - unmap_parameter_bytes(0));

template <class Layout>
Cdb pack(const Layout& layout) {
    Cdb cdb;
    static_assert(sizeof layout <= sizeof cdb.bytes);
    std::memcpy(cdb.bytes.data(), &layout, sizeof layout);
    cdb.length = sizeof layout;
    return cdb;
}

constexpr bool fits10(base::Lba lba, base::BlockCount blocks) {
    return lba.value() <= UINT32_MAX && blocks.value() <= UINT16_MAX;
}

Cdb blocks10(std::uint8_t opcode, std::uint8_t flags, base::Lba lba, base::BlockCount blocks) {
    base::check(fits10(lba, blocks), "a 10-byte CDB holds 32 bits of LBA and 16 of block count");
    return pack(Blocks10{.opcode = opcode,
                         .flags = flags,
                         .lba = static_cast<std::uint32_t>(lba.value()),
                         .blocks = static_cast<std::uint16_t>(blocks.value())});
}

Cdb blocks16(std::uint8_t opcode, std::uint8_t flags, base::Lba lba, base::BlockCount blocks) {
    base::check(blocks.value() <= UINT32_MAX, "a 16-byte CDB holds 32 bits of block count");
    return pack(Blocks16{.opcode = opcode,
                         .flags = flags,
                         .lba = lba.value(),
                         .blocks = static_cast<std::uint32_t>(blocks.value())});
}

constexpr std::uint8_t flag_if(bool set, std::uint8_t flag) {
    return set ? flag : std::uint8_t{0};
}

struct CommandName {
    std::uint8_t opcode;
    const char* name;
};

constexpr std::array command_names{
    CommandName{op::test_unit_ready, "TEST UNIT READY"},
    CommandName{op::request_sense, "REQUEST SENSE"},
    CommandName{op::inquiry, "INQUIRY"},
    CommandName{op::mode_sense6, "MODE SENSE(6)"},
    CommandName{op::start_stop_unit, "START STOP UNIT"},
    CommandName{op::read_capacity10, "READ CAPACITY(10)"},
    CommandName{op::read10, "READ(10)"},
    CommandName{op::write10, "WRITE(10)"},
    CommandName{op::synchronize_cache10, "SYNCHRONIZE CACHE(10)"},
    CommandName{op::write_same10, "WRITE SAME(10)"},
    CommandName{op::unmap, "UNMAP"},
    CommandName{op::mode_sense10, "MODE SENSE(10)"},
    CommandName{op::read16, "READ(16)"},
    CommandName{op::write16, "WRITE(16)"},
    CommandName{op::synchronize_cache16, "SYNCHRONIZE CACHE(16)"},
    CommandName{op::write_same16, "WRITE SAME(16)"},
    CommandName{op::service_action_in16, "READ CAPACITY(16)"},
    CommandName{op::report_luns, "REPORT LUNS"},
    CommandName{op::maintenance_in, "REPORT TARGET PORT GROUPS"},
};

} // namespace

bool only_reads(std::byte operation_code) {
    switch (std::to_integer<std::uint8_t>(operation_code)) {
    case op::test_unit_ready:
    case op::request_sense:
    case op::inquiry:
    case op::mode_sense6:
    case op::read_capacity10:
    case op::read10:
    case op::synchronize_cache10:
    case op::mode_sense10:
    case op::read16:
    case op::synchronize_cache16:
    case op::service_action_in16:
    case op::report_luns:
    case op::maintenance_in:
        return true;
    default:
        return false;
    }
}

Cdb test_unit_ready() {
    return pack(Six{.opcode = op::test_unit_ready});
}

Cdb request_sense(std::uint8_t allocation_bytes, bool descriptor) {
    return pack(Six{.opcode = op::request_sense,
                    .flags = flag_if(descriptor, flag::descriptor_sense),
                    .last = allocation_bytes});
}

Cdb inquiry(std::uint16_t allocation_bytes) {
    return pack(Inquiry{.allocation_bytes = allocation_bytes});
}

Cdb inquiry_vpd(std::uint8_t page, std::uint16_t allocation_bytes) {
    return pack(Inquiry{.flags = flag::evpd, .page = page, .allocation_bytes = allocation_bytes});
}

Cdb report_luns(LunReport select, std::uint32_t allocation_bytes) {
    base::check(allocation_bytes >= 16, "REPORT LUNS asks for 16 bytes at least");
    return pack(Report12{.opcode = op::report_luns,
                         .select = static_cast<std::uint8_t>(select),
                         .allocation_bytes = allocation_bytes});
}

Cdb report_target_port_groups(std::uint32_t allocation_bytes, bool extended_header) {
    std::uint8_t format = flag_if(extended_header, flag::extended_header);
    return pack(Report12{.opcode = op::maintenance_in,
                         .service_action = std::uint8_t(service_action::report_target_port_groups | format),
                         .allocation_bytes = allocation_bytes});
}

Cdb mode_sense6(ModePage page, std::uint8_t allocation_bytes) {
    return pack(
        Six{.opcode = op::mode_sense6, .page = static_cast<std::uint8_t>(page), .last = allocation_bytes});
}

Cdb mode_sense10(ModePage page, std::uint16_t allocation_bytes) {
    return pack(Parameters10{.opcode = op::mode_sense10,
                             .page = static_cast<std::uint8_t>(page),
                             .parameter_bytes = allocation_bytes});
}

Cdb start_stop_unit(bool start) {
    return pack(Six{.opcode = op::start_stop_unit, .last = flag_if(start, flag::start)});
}

Cdb read_capacity10() {
    return pack(Blocks10{.opcode = op::read_capacity10});
}

Cdb read_capacity16(std::uint32_t allocation_bytes) {
    return pack(Blocks16{.opcode = op::service_action_in16,
                         .flags = service_action::read_capacity16,
                         .blocks = allocation_bytes});
}

Cdb read10(base::Lba lba, base::BlockCount blocks, bool fua) {
    return blocks10(op::read10, flag_if(fua, flag::fua), lba, blocks);
}

Cdb read16(base::Lba lba, base::BlockCount blocks, bool fua) {
    return blocks16(op::read16, flag_if(fua, flag::fua), lba, blocks);
}

Cdb write10(base::Lba lba, base::BlockCount blocks, bool fua) {
    return blocks10(op::write10, flag_if(fua, flag::fua), lba, blocks);
}

Cdb write16(base::Lba lba, base::BlockCount blocks, bool fua) {
    return blocks16(op::write16, flag_if(fua, flag::fua), lba, blocks);
}

Cdb read_blocks(base::Lba lba, base::BlockCount blocks, bool fua) {
    return fits10(lba, blocks) ? read10(lba, blocks, fua) : read16(lba, blocks, fua);
}

Cdb write_blocks(base::Lba lba, base::BlockCount blocks, bool fua) {
    return fits10(lba, blocks) ? write10(lba, blocks, fua) : write16(lba, blocks, fua);
}

Cdb synchronize_cache10() {
    return pack(Blocks10{.opcode = op::synchronize_cache10});
}

Cdb synchronize_cache16() {
    return pack(Blocks16{.opcode = op::synchronize_cache16});
}

Cdb unmap(std::uint16_t parameter_bytes) {
    return pack(Parameters10{.opcode = op::unmap, .parameter_bytes = parameter_bytes});
}

Cdb write_same10(base::Lba lba, base::BlockCount blocks, WriteSameOptions options) {
    base::check(blocks.value() != 0, "WRITE SAME of no blocks means all of them");
    base::check(!options.ndob, "WRITE SAME(10) has no NDOB");
    return blocks10(op::write_same10, flag_if(options.unmap, flag::unmap), lba, blocks);
}

Cdb write_same16(base::Lba lba, base::BlockCount blocks, WriteSameOptions options) {
    base::check(blocks.value() != 0, "WRITE SAME of no blocks means all of them");
    int flags = flag_if(options.unmap, flag::unmap) | flag_if(options.ndob, flag::ndob);
    return blocks16(op::write_same16, static_cast<std::uint8_t>(flags), lba, blocks);
}

base::MutableBytes unmap_parameter_list(std::span<const BlockRange> ranges, base::MutableBytes out) {
    std::size_t total = unmap_parameter_bytes(ranges.size());
    base::check(ranges.size() <= unmap_ranges_max && out.size() >= total, "the UNMAP parameter list fits");
    UnmapHeader header{
        .data_bytes = static_cast<std::uint16_t>(total - sizeof header.data_bytes),
        .descriptor_bytes = static_cast<std::uint16_t>(total - sizeof header),
    };
    std::memcpy(out.data(), &header, sizeof header);
    std::size_t at = sizeof header;
    for (const BlockRange& range : ranges) {
        base::check(range.count.value() <= UINT32_MAX, "an UNMAP range has 32 bits of block count");
        UnmapDescriptor descriptor{.lba = range.lba.value(),
                                   .blocks = static_cast<std::uint32_t>(range.count.value())};
        std::memcpy(out.data() + at, &descriptor, sizeof descriptor);
        at += sizeof descriptor;
    }
    return out.first(total);
}

const char* command_name(base::Bytes cdb) {
    if (cdb.empty()) {
        return "SCSI command";
    }
    const auto* row =
        std::ranges::find(command_names, std::to_integer<std::uint8_t>(cdb[0]), &CommandName::opcode);
    return row == command_names.end() ? "SCSI command" : row->name;
}

} // namespace iscsi::scsi

#include "scsi/mode.hpp"

#include "scsi/field.hpp"

#include <fmt/format.h>

namespace iscsi::scsi {
namespace {

/// Where things stand in the two headers.
struct Header {
    std::size_t bytes;
    std::size_t total_bytes; ///< that the target has, the length field included
    std::size_t descriptors_bytes;
    bool long_lba; ///< block descriptors of 16 bytes
};

void read_block_descriptor(ModeData& mode, base::Bytes bytes, bool long_lba) {
    Fields fields(bytes);
    if (long_lba && fields.size() >= 16) {
        mode.block_descriptor = ModeBlockDescriptor{fields.u64(0), fields.u32(12)};
    } else if (!long_lba && fields.size() >= 8) {
        mode.block_descriptor = ModeBlockDescriptor{fields.u32(0), fields.u24(5)};
    }
}

/// `page` is one page of the page_0 format, from its page code on.
void read_page(ModeData& mode, const Fields& page) {
    constexpr std::uint8_t caching = 0x08;
    constexpr std::uint8_t control = 0x0a;
    std::uint8_t code = page.u8(0) & 0x3f;
    if (code == caching && page.size() > 2) {
        mode.caching =
            CachingPage{.write_cache = page.bit(2, 0x04), .read_cache_disabled = page.bit(2, 0x01)};
    } else if (code == control && page.size() > 5) {
        mode.control = ControlPage{.software_write_protect = page.bit(4, 0x08),
                                   .descriptor_sense = page.bit(2, 0x04),
                                   .task_aborted_status = page.bit(5, 0x40)};
    }
}

void read_pages(ModeData& mode, const Fields& fields, std::size_t at) {
    constexpr std::uint8_t subpage_format = 0x40;
    while (fields.holds(at, 2)) {
        bool subpage = fields.bit(at, subpage_format);
        std::size_t length =
            subpage ? std::size_t{4} + fields.u16(at + 2) : std::size_t{2} + fields.u8(at + 1);
        if (!fields.holds(at, length)) {
            return;
        }
        if (!subpage) {
            read_page(mode, Fields(fields.part(at, length)));
        }
        at += length;
    }
}

ModeData read_body(Fields fields, const Header& header) {
    ModeData mode;
    fields.limit(header.total_bytes);
    read_block_descriptor(mode, fields.part(header.bytes, header.descriptors_bytes), header.long_lba);
    read_pages(mode, fields, header.bytes + header.descriptors_bytes);
    return mode;
}

base::Result<ModeData> too_short(std::string_view command, std::size_t size) {
    return base::fail(base::Errc::protocol, fmt::format("{}: {} bytes are too few", command, size));
}

void read_device_specific(ModeData& mode, std::uint8_t medium_type, std::uint8_t device_specific) {
    mode.medium_type = medium_type;
    mode.write_protected = (device_specific & 0x80) != 0;
    mode.dpofua = (device_specific & 0x10) != 0;
}

} // namespace

base::Result<ModeData> read_mode_sense6(base::Bytes data) {
    Fields fields(data);
    if (!fields.holds(0, 4)) {
        return too_short("MODE SENSE(6)", data.size());
    }
    ModeData mode = read_body(fields, Header{.bytes = 4,
                                             .total_bytes = std::size_t{1} + fields.u8(0),
                                             .descriptors_bytes = fields.u8(3),
                                             .long_lba = false});
    read_device_specific(mode, fields.u8(1), fields.u8(2));
    return mode;
}

base::Result<ModeData> read_mode_sense10(base::Bytes data) {
    Fields fields(data);
    if (!fields.holds(0, 8)) {
        return too_short("MODE SENSE(10)", data.size());
    }
    ModeData mode = read_body(fields, Header{.bytes = 8,
                                             .total_bytes = std::size_t{2} + fields.u16(0),
                                             .descriptors_bytes = fields.u16(6),
                                             .long_lba = fields.bit(4, 0x01)});
    read_device_specific(mode, fields.u8(2), fields.u8(3));
    return mode;
}

} // namespace iscsi::scsi

#include "scsi/sense.hpp"

#include "scsi/field.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace iscsi::scsi {
namespace {

constexpr std::uint8_t sksv = 0x80;
constexpr std::uint8_t information_valid = 0x80;

namespace descriptor {
constexpr std::uint8_t information = 0x00;
constexpr std::uint8_t sense_key_specific = 0x02;
} // namespace descriptor

constexpr std::array<std::string_view, 16> key_texts{
    "NO SENSE",       "RECOVERED ERROR", "NOT READY",      "MEDIUM ERROR",
    "HARDWARE ERROR", "ILLEGAL REQUEST", "UNIT ATTENTION", "DATA PROTECT",
    "BLANK CHECK",    "VENDOR SPECIFIC", "COPY ABORTED",   "ABORTED COMMAND",
    "reserved (Ch)",  "VOLUME OVERFLOW", "MISCOMPARE",     "COMPLETED",
};

} // namespace

SenseView::SenseView(base::Bytes sense) {
    Fields fields(sense);
    std::uint8_t response_code = fields.u8(0) & 0x7f;
    deferred_ = response_code == 0x71 || response_code == 0x73;
    switch (response_code) {
    case 0x70:
    case 0x71:
        valid_ = true;
        read_fixed(sense);
        break;
    case 0x72:
    case 0x73:
        valid_ = true;
        read_descriptors(sense);
        break;
    default:
        break;
    }
}

void SenseView::read_fixed(base::Bytes sense) {
    Fields fields(sense);
    // ADDITIONAL SENSE LENGTH counts from byte 8; what the buffer holds behind it is not sense data. Some
    // targets leave it zero and send the codes all the same, so it is believed only when it reaches them.
    std::size_t told = std::size_t{8} + fields.u8(7);
    if (told >= 14) {
        fields.limit(told);
    }
    code_ = {static_cast<SenseKey>(fields.u8(2) & 0x0f), fields.u8(12), fields.u8(13)};
    if (fields.bit(0, information_valid) && fields.holds(3, 4)) {
        information_ = fields.u32(3);
    }
    read_key_specific(fields.part(15, 3));
}

void SenseView::read_descriptors(base::Bytes sense) {
    Fields fields(sense);
    code_ = {static_cast<SenseKey>(fields.u8(1) & 0x0f), fields.u8(2), fields.u8(3)};
    fields.limit(std::size_t{8} + fields.u8(7));
    std::size_t at = 8;
    while (fields.holds(at, 2)) {
        std::size_t length = std::size_t{2} + fields.u8(at + 1);
        Fields one(fields.part(at, length));
        if (one.size() < length) {
            return;
        }
        if (one.u8(0) == descriptor::information && one.holds(4, 8) && one.bit(2, information_valid)) {
            information_ = one.u64(4);
        } else if (one.u8(0) == descriptor::sense_key_specific) {
            read_key_specific(one.part(4, 3));
        }
        at += length;
    }
}

void SenseView::read_key_specific(base::Bytes three_bytes) {
    Fields fields(three_bytes);
    if (fields.size() == 3 && fields.bit(0, sksv)) {
        key_specific_ = SenseKeySpecific{static_cast<std::uint8_t>(fields.u8(0) & ~sksv), fields.u16(1)};
    }
}

std::string_view text(SenseKey key) {
    return key_texts[static_cast<std::size_t>(key) & 0x0f];
}

std::string describe(SenseCode code) {
    std::string_view meaning = additional_sense_text(code.asc, code.ascq);
    if (meaning.empty()) {
        return fmt::format("{} {:02X}/{:02X}", text(code.key), code.asc, code.ascq);
    }
    return fmt::format("{} {:02X}/{:02X} ({})", text(code.key), code.asc, code.ascq, meaning);
}

} // namespace iscsi::scsi

#include "scsi/designators.hpp"

#include "base/text.hpp"
#include "scsi/field.hpp"

#include <algorithm>

namespace iscsi::scsi {
namespace {

constexpr std::size_t header_bytes = 4;

enum class CodeSet : std::uint8_t { binary = 1, ascii = 2, utf8 = 3 };

struct RawDesignator {
    CodeSet code_set;
    DesignatorType type;
    Association association;
    base::Bytes value;
};

std::string hex(base::Bytes bytes) {
    return base::hex_binary(bytes).substr(2);
}

std::string name_text(base::Bytes bytes) {
    // NUL-terminated and padded (SCSI name strings), or padded with blanks.
    std::string_view text = base::text_of(bytes);
    return base::printable(base::trim(text.substr(0, text.find('\0'))));
}

bool all_zero(base::Bytes bytes) {
    return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

/// NAA designators are 8 bytes long, and 16 for IEEE Registered Extended, which begins with the digit 6.
bool is_naa(base::Bytes value) {
    if (value.empty()) {
        return false;
    }
    unsigned kind = std::to_integer<unsigned>(value[0]) >> 4;
    return kind == 6 ? value.size() == 16 : (kind == 2 || kind == 3 || kind == 5) && value.size() == 8;
}

/// The designator as text, "" when it is not what its type promises.
std::string value_of(const RawDesignator& raw) {
    bool binary = raw.code_set == CodeSet::binary;
    std::size_t size = raw.value.size();
    switch (raw.type) {
    case DesignatorType::naa:
        return binary && is_naa(raw.value) ? hex(raw.value) : std::string{};
    case DesignatorType::eui64:
        return binary && (size == 8 || size == 12 || size == 16) ? hex(raw.value) : std::string{};
    case DesignatorType::uuid: // type and a reserved byte stand before the UUID
        return binary && size == 18 ? hex(raw.value.subspan(2)) : std::string{};
    case DesignatorType::scsi_name:
        return raw.code_set == CodeSet::utf8 ? name_text(raw.value) : std::string{};
    case DesignatorType::t10_vendor:
        return binary ? hex(raw.value) : name_text(raw.value);
    default:
        return {};
    }
}

/// Lower is better; the order of the kinds, and within a kind the longer (registered extended) first.
std::size_t rank(const Designator& designator) {
    constexpr std::size_t kind_step = 1000;
    std::size_t shortness = kind_step - 1 - std::min<std::size_t>(designator.value.size(), kind_step - 1);
    switch (designator.type) {
    case DesignatorType::naa:
        return shortness;
    case DesignatorType::eui64:
        return kind_step + shortness;
    case DesignatorType::uuid:
        return 2 * kind_step + shortness;
    case DesignatorType::scsi_name:
        return 3 * kind_step + shortness;
    default:
        return 4 * kind_step + shortness;
    }
}

void read_port(const RawDesignator& raw, DeviceIdentification& found) {
    Fields fields(raw.value);
    bool number = raw.code_set == CodeSet::binary && fields.size() == 4;
    if (raw.type == DesignatorType::target_port_group && number) {
        found.target_port_group = fields.u16(2);
    } else if (raw.type == DesignatorType::relative_target_port && number) {
        found.relative_target_port = fields.u16(2);
    } else if (raw.type == DesignatorType::scsi_name && found.target_port_name.empty()) {
        found.target_port_name = value_of(raw);
    }
}

void read_one(const RawDesignator& raw, DeviceIdentification& found) {
    if (raw.association == Association::target_port) {
        read_port(raw, found);
        return;
    }
    // A name of all zeroes is a field that nobody filled in, and would make strangers equal.
    if (raw.association != Association::logical_unit || all_zero(raw.value)) {
        return;
    }
    Designator designator{raw.type, raw.association, value_of(raw)};
    if (!designator.value.empty()) {
        found.unit.push_back(std::move(designator));
    }
}

} // namespace

DeviceIdentification read_designators(base::Bytes list) {
    DeviceIdentification found;
    Fields fields(list);
    std::size_t at = 0;
    while (fields.holds(at, header_bytes)) {
        std::size_t length = fields.u8(at + 3);
        if (!fields.holds(at + header_bytes, length)) {
            break;
        }
        RawDesignator raw{
            .code_set = static_cast<CodeSet>(fields.u8(at) & 0x0f),
            .type = static_cast<DesignatorType>(fields.u8(at + 1) & 0x0f),
            .association = static_cast<Association>((fields.u8(at + 1) >> 4) & 0x03),
            .value = fields.part(at + header_bytes, length),
        };
        read_one(raw, found);
        at += header_bytes + length;
    }
    std::ranges::stable_sort(found.unit, {}, rank);
    return found;
}

} // namespace iscsi::scsi

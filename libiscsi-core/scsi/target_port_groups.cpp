#include "scsi/target_port_groups.hpp"

#include "scsi/field.hpp"

#include <fmt/format.h>

namespace iscsi::scsi {

std::string_view text(AccessState state) {
    switch (state) {
    case AccessState::active_optimized:
        return "active/optimized";
    case AccessState::active_non_optimized:
        return "active/non-optimized";
    case AccessState::standby:
        return "standby";
    case AccessState::unavailable:
        return "unavailable";
    case AccessState::lba_dependent:
        return "LBA dependent";
    case AccessState::offline:
        return "offline";
    case AccessState::transitioning:
        return "transitioning";
    }
    return "reserved";
}

bool only_answers_inquiries(AccessState state) {
    return state == AccessState::standby || state == AccessState::unavailable ||
           state == AccessState::offline || state == AccessState::transitioning;
}

base::Result<TargetPortGroups> read_target_port_groups(base::Bytes data) {
    constexpr std::size_t header_bytes = 4;
    constexpr std::size_t extended_header_bytes = 8;
    constexpr std::size_t group_bytes = 8;
    constexpr std::size_t port_bytes = 4;
    Fields fields(data);
    if (!fields.holds(0, header_bytes)) {
        return base::fail(base::Errc::protocol,
                          fmt::format("REPORT TARGET PORT GROUPS: {} bytes are too few", data.size()));
    }
    fields.limit(header_bytes + std::size_t{fields.u32(0)});
    TargetPortGroups out;
    // RETURN DATA FORMAT stands where the short form has reserved bits of its first group.
    const bool extended = (fields.u8(4) & 0x70) == 0x10;
    if (extended) {
        out.transition_s = fields.u8(5);
    }
    std::size_t at = extended ? extended_header_bytes : header_bytes;
    while (fields.holds(at, group_bytes)) {
        TargetPortGroup& group = out.groups.emplace_back();
        group.preferred = fields.bit(at, 0x80);
        group.state = static_cast<AccessState>(fields.u8(at) & 0x0f);
        group.group = fields.u16(at + 2);
        at += group_bytes + port_bytes * fields.u8(at + 7);
    }
    return out;
}

} // namespace iscsi::scsi

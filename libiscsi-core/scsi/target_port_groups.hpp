// REPORT TARGET PORT GROUPS data: through which ports of an array a unit can be reached, and how well. The
// result owns what it holds. Any thread; allocates. SPC-4 sections 5.15 and 6.37.
#pragma once

#include "base/bytes.hpp"
#include "base/result.hpp"

#include <cstdint>
#include <string_view>
#include <vector>

namespace iscsi::scsi {

/// ASYMMETRIC ACCESS STATE.
enum class AccessState : std::uint8_t {
    active_optimized = 0x0,
    active_non_optimized = 0x1,
    standby = 0x2,
    unavailable = 0x3,
    lba_dependent = 0x4,
    offline = 0xe,
    transitioning = 0xf,
};

/// "standby"; "reserved" for a value that SPC-4 does not have.
std::string_view text(AccessState state);

/// In this state a port answers INQUIRY and the like, and no command that reads or writes.
bool only_answers_inquiries(AccessState state);

struct TargetPortGroup {
    std::uint16_t group = 0;
    AccessState state = AccessState::active_optimized;
    bool preferred = false;

    friend bool operator==(const TargetPortGroup&, const TargetPortGroup&) = default;
};

struct TargetPortGroups {
    std::vector<TargetPortGroup> groups;
    std::uint8_t transition_s = 0; ///< IMPLICIT TRANSITION TIME; 0: not told
};

/// Either form of header. A list that ends inside a group gives those before it. Fails on less than a header.
base::Result<TargetPortGroups> read_target_port_groups(base::Bytes data);

} // namespace iscsi::scsi

// SCSI status, the byte that ends every command. Values only; any thread. SAM-5 section 5.3.
#pragma once

#include <cstdint>
#include <string_view>

namespace iscsi::scsi {

/// Any other value may arrive too; it is then no error of ours to hold it.
enum class Status : std::uint8_t {
    good = 0x00,
    check_condition = 0x02,
    condition_met = 0x04,
    busy = 0x08,
    reservation_conflict = 0x18,
    task_set_full = 0x28,
    aca_active = 0x30,
    task_aborted = 0x40,
};

/// "CHECK CONDITION"; "unknown status" for a value that SAM-5 does not have.
std::string_view text(Status status);

} // namespace iscsi::scsi

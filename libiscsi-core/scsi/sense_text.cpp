#include "scsi/sense.hpp"

#include <algorithm>
#include <array>

namespace iscsi::scsi {
namespace {

/// `ascq` any_qualifier covers the qualifiers that have no row of their own.
constexpr int any_qualifier = -1;

struct Row {
    int asc;
    int ascq;
    std::string_view text;
};

// The codes that disks and arrays send (SPC-4 annex F), in our words.
constexpr std::array rows{
    Row{0x00, 0x00, "no further information"},
    Row{0x00, 0x06, "I/O process ended"},
    Row{0x02, 0x00, "seek did not finish"},
    Row{0x03, any_qualifier, "peripheral write fault"},
    Row{0x04, 0x00, "not ready, cause not given"},
    Row{0x04, 0x01, "becoming ready"},
    Row{0x04, 0x02, "needs START STOP UNIT"},
    Row{0x04, 0x03, "needs manual intervention"},
    Row{0x04, 0x04, "format in progress"},
    Row{0x04, 0x05, "rebuild in progress"},
    Row{0x04, 0x06, "recalculation in progress"},
    Row{0x04, 0x07, "operation in progress"},
    Row{0x04, 0x09, "self-test in progress"},
    Row{0x04, 0x0a, "asymmetric access state is changing"},
    Row{0x04, 0x0b, "target port in standby state"},
    Row{0x04, 0x0c, "target port in unavailable state"},
    Row{0x04, 0x10, "auxiliary memory not accessible"},
    Row{0x04, 0x11, "needs NOTIFY (ENABLE SPINUP)"},
    Row{0x04, 0x12, "offline"},
    Row{0x04, 0x14, "space allocation in progress"},
    Row{0x04, 0x1a, "START STOP UNIT in progress"},
    Row{0x04, 0x1b, "sanitize in progress"},
    Row{0x04, any_qualifier, "not ready"},
    Row{0x05, 0x00, "unit does not answer selection"},
    Row{0x08, any_qualifier, "communication with the unit failed"},
    Row{0x0b, any_qualifier, "warning"},
    Row{0x0c, 0x0c, "unexpected unsolicited data"},
    Row{0x0c, 0x0d, "wrong amount of data"},
    Row{0x0c, any_qualifier, "write error"},
    Row{0x0e, any_qualifier, "invalid information unit"},
    Row{0x10, any_qualifier, "protection information check failed"},
    Row{0x11, 0x13, "failed transfer: SNACK was rejected"},
    Row{0x11, any_qualifier, "unrecovered read error"},
    Row{0x13, any_qualifier, "address mark not found for data"},
    Row{0x14, any_qualifier, "recorded entity not found"},
    Row{0x15, any_qualifier, "positioning error"},
    Row{0x17, any_qualifier, "data recovered without correction"},
    Row{0x18, any_qualifier, "data recovered with correction"},
    Row{0x1a, 0x00, "parameter list length error"},
    Row{0x1b, 0x00, "synchronous data transfer error"},
    Row{0x1d, any_qualifier, "miscompare while verifying"},
    Row{0x20, 0x00, "unknown command"},
    Row{0x20, any_qualifier, "access denied"},
    Row{0x21, 0x00, "LBA out of range"},
    Row{0x21, any_qualifier, "invalid address"},
    Row{0x24, 0x00, "invalid field in CDB"},
    Row{0x25, 0x00, "logical unit not supported"},
    Row{0x26, 0x00, "invalid field in parameter list"},
    Row{0x26, any_qualifier, "invalid parameter"},
    Row{0x27, 0x07, "space allocation failed, write protected"},
    Row{0x27, any_qualifier, "write protected"},
    Row{0x28, 0x00, "medium may have changed"},
    Row{0x29, 0x00, "power on or reset occurred"},
    Row{0x29, 0x01, "power on occurred"},
    Row{0x29, 0x02, "SCSI bus reset occurred"},
    Row{0x29, 0x03, "device reset function occurred"},
    Row{0x29, 0x04, "device internal reset"},
    Row{0x29, 0x07, "I_T nexus loss occurred"},
    Row{0x29, any_qualifier, "reset occurred"},
    Row{0x2a, 0x01, "mode parameters changed"},
    Row{0x2a, 0x02, "log parameters changed"},
    Row{0x2a, 0x03, "reservations preempted"},
    Row{0x2a, 0x04, "reservations released"},
    Row{0x2a, 0x05, "registrations preempted"},
    Row{0x2a, 0x06, "asymmetric access state changed"},
    Row{0x2a, 0x07, "implicit asymmetric access state transition failed"},
    Row{0x2a, 0x09, "capacity data has changed"},
    Row{0x2a, any_qualifier, "parameters changed"},
    Row{0x2c, 0x00, "command sequence error"},
    Row{0x2e, 0x01, "command timed out before processing"},
    Row{0x2f, any_qualifier, "commands cleared by another initiator"},
    Row{0x31, any_qualifier, "medium format corrupted"},
    Row{0x32, any_qualifier, "no defect spare location"},
    Row{0x38, 0x07, "thin provisioning soft threshold reached"},
    Row{0x39, 0x00, "saving parameters not supported"},
    Row{0x3a, any_qualifier, "no medium"},
    Row{0x3e, 0x00, "logical unit has not configured itself yet"},
    Row{0x3e, 0x01, "logical unit failure"},
    Row{0x3e, 0x02, "logical unit timed out"},
    Row{0x3f, 0x01, "microcode changed"},
    Row{0x3f, 0x02, "operating definition changed"},
    Row{0x3f, 0x03, "INQUIRY data has changed"},
    Row{0x3f, 0x05, "device identifier changed"},
    Row{0x3f, 0x0e, "reported LUNs data has changed"},
    Row{0x3f, any_qualifier, "target operating conditions have changed"},
    Row{0x40, any_qualifier, "diagnostic failure of a component"},
    Row{0x43, 0x00, "message error"},
    Row{0x44, any_qualifier, "internal target failure"},
    Row{0x47, 0x05, "protocol service CRC error"},
    Row{0x47, 0x7f, "some commands cleared by iSCSI protocol event"},
    Row{0x47, any_qualifier, "transfer parity error"},
    Row{0x49, 0x00, "invalid message"},
    Row{0x4b, any_qualifier, "data phase error"},
    Row{0x4e, 0x00, "overlapped commands attempted"},
    Row{0x53, any_qualifier, "medium load or eject failed"},
    Row{0x55, any_qualifier, "out of resources"},
    Row{0x5d, any_qualifier, "failure is predicted"},
    Row{0x5e, any_qualifier, "power condition changed"},
    Row{0x65, 0x00, "voltage fault"},
    Row{0x74, any_qualifier, "security error"},
};

} // namespace

std::string_view additional_sense_text(std::uint8_t asc, std::uint8_t ascq) {
    // A row with the very qualifier stands before the general one of its code.
    const auto* row = std::ranges::find_if(rows, [asc, ascq](const Row& candidate) {
        return candidate.asc == asc && (candidate.ascq == ascq || candidate.ascq == any_qualifier);
    });
    return row == rows.end() ? std::string_view{} : row->text;
}

} // namespace iscsi::scsi

// What becomes of a command that ended: the one table from status and sense to an action, an errno and what
// else has to be looked after. Pure, no allocation: it stands in the path of an I/O. Any thread. SAM-5
// section 5.3, SPC-4 section 4.5.6.
//
// The errno is chosen for what the kernel's blk_path_error() makes of it: dm-multipath tries another path for
// EIO, ENOLINK, ENODEV and ETIME; it hands ENODATA, EREMOTEIO, EBADE, ENOSPC, EOPNOTSUPP and EILSEQ to the
// file system, because another path to the same medium would answer the same.
#pragma once

#include "base/bytes.hpp"
#include "scsi/sense.hpp"

#include <chrono>
#include <cstdint>
#include <string_view>

namespace iscsi::scsi {

enum class Action : std::uint8_t {
    success,     ///< ended well; residuals are the caller's to check
    retry_now,   ///< send it again as a new command, as often as scsi::Retry allows
    retry_later, ///< send it again after `delay`, which grows, until the command's own deadline
    fail,        ///< report `error_number`
};

/// Things to look after beside the command itself, whatever its action.
enum class Effect : std::uint32_t {
    attention = 1U << 0,            ///< a unit attention was consumed: its retry counts against
                                    ///< limits::scsi_attentions_max, not as an error
    capacity_changed = 1U << 1,     ///< read the capacity again
    luns_changed = 1U << 2,         ///< REPORT LUNS again
    mode_changed = 1U << 3,         ///< read the mode pages again: write cache, write protection
    inquiry_changed = 1U << 4,      ///< INQUIRY and VPD pages again, the identity with them
    reservations_changed = 1U << 5, ///< a reservation or registration of ours may be gone
    power_on_reset = 1U << 6,       ///< any 29h: the unit, the target or the nexus started over
    cache_maybe_lost = 1U << 7, ///< the 29h kinds behind which a volatile write cache may have lost what it
                                ///< held; some targets greet each new session with 29/00
    asymmetric_access_changed = 1U << 8, ///< REPORT TARGET PORT GROUPS again
    thin_threshold = 1U << 9,            ///< thin provisioning ran into its soft threshold: tell the operator
    feature_unsupported = 1U << 10,      ///< the target does not know the command or a field of it
    queue_full = 1U << 11,               ///< fewer commands at a time
    needs_start = 1U << 12,              ///< START STOP UNIT with START first
    unit_gone = 1U << 13,                ///< the logical unit does not exist (any more) on this path
    deferred_error = 1U << 14, ///< an earlier, acknowledged write failed: the next flush has to report
                               ///< `error_number`
    our_fault = 1U << 15,      ///< the target found our data transfer wrong: count and log
    identity_doubt = 1U << 16, ///< another unit may answer in its place now: nothing is sent to it before
                               ///< INQUIRY and VPD pages were compared
    thin_exhausted = 1U << 17, ///< thin provisioning has no space left: tell the operator
    not_compared = 1U << 18,   ///< of no target: nobody has found out in time which unit answers, and its
                               ///< users were given up
    power_was_lost = 1U << 19, ///< the unit says so by name (29/01), or that it has reset itself (29/04): no
                               ///< greeting, what a volatile cache held is gone
    writes_lost = 1U << 20,    ///< of no target: acknowledged writes went with a cache, a flush will fail
};

class Effects {
public:
    constexpr Effects() = default;
    constexpr explicit(false) Effects(Effect effect) : bits_(static_cast<std::uint32_t>(effect)) {}
    constexpr bool has(Effect effect) const { return (bits_ & static_cast<std::uint32_t>(effect)) != 0; }
    constexpr bool none() const { return bits_ == 0; }
    constexpr std::uint32_t bits() const { return bits_; }
    static constexpr Effects of_bits(std::uint32_t bits) {
        Effects effects;
        effects.bits_ = bits;
        return effects;
    }
    constexpr Effects common(Effects others) const { return of_bits(bits_ & others.bits_); }
    constexpr Effects without(Effects others) const { return of_bits(bits_ & ~others.bits_); }
    friend constexpr Effects operator|(Effects a, Effects b) {
        Effects both;
        both.bits_ = a.bits_ | b.bits_;
        return both;
    }
    friend constexpr bool operator==(Effects, Effects) = default;

private:
    std::uint32_t bits_ = 0;
};

/// For two enumerators: neither is an Effects yet.
constexpr Effects operator|(Effect a, Effect b) {
    return Effects(a) | Effects(b);
}

struct Disposition {
    Action action = Action::success;
    int error_number = 0; ///< errno of `fail`, and of a retry that is given up; positive, 0 only for success
    Effects effects;
    std::chrono::milliseconds delay{0}; ///< of retry_later
    SenseCode sense;                    ///< what the target said; zero without sense data
    std::string_view reference;         ///< where the rule comes from, for logs and tests
};

/// For a command that the target answered (iSCSI response "completed at target"). `status` is the SAM-5
/// status, `sense` the sense data, empty if there is none.
Disposition classify(std::uint8_t status, base::Bytes sense);

/// For an answer that is not SCSI's: an iSCSI response code other than 00h (RFC 7143 section 11.4.3). Status
/// and sense mean nothing then.
Disposition classify_service_response(std::uint8_t response);

} // namespace iscsi::scsi

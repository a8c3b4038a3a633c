#include "scsi/disposition.hpp"

#include "base/check.hpp"
#include "base/limits.hpp"
#include "scsi/status.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

namespace iscsi::scsi {
namespace {

namespace limits = base::limits;

using std::chrono::milliseconds;
constexpr milliseconds no_delay{0};

/// What a matching row decides.
struct Rule {
    Action action;
    int error_number;
    Effects effects;
    milliseconds delay;
    std::string_view reference;
};

struct StatusRow {
    Status status;
    Rule rule;
};

/// Additional sense codes a row is for: one code, one or all of its qualifiers, or every code.
struct Codes {
    int asc;
    int first_ascq;
    int last_ascq;

    constexpr bool hold(SenseCode code) const {
        return (asc < 0 || asc == code.asc) && code.ascq >= first_ascq && code.ascq <= last_ascq;
    }
};

constexpr Codes any{-1, 0, 0xff};
constexpr Codes all_of(int asc) {
    return {asc, 0, 0xff};
}
constexpr Codes only(int asc, int ascq) {
    return {asc, ascq, ascq};
}
constexpr Codes between(int asc, int first_ascq, int last_ascq) {
    return {asc, first_ascq, last_ascq};
}

struct SenseRow {
    SenseKey key;
    Codes codes;
    Rule rule;
};

constexpr Rule success(std::string_view reference) {
    return {Action::success, 0, {}, no_delay, reference};
}
constexpr Rule retry(int error_number, Effects effects, std::string_view reference) {
    return {Action::retry_now, error_number, effects, no_delay, reference};
}
constexpr Rule later(int error_number, milliseconds delay, Effects effects, std::string_view reference) {
    return {Action::retry_later, error_number, effects, delay, reference};
}
constexpr Rule fail(int error_number, Effects effects, std::string_view reference) {
    return {Action::fail, error_number, effects, no_delay, reference};
}
/// Unit attentions are news, not errors: the command that met one was not executed (SAM-5 5.14).
constexpr Rule news(Effects effects, std::string_view reference) {
    return retry(EIO, Effect::attention | effects, reference);
}
constexpr Rule becoming_ready(std::string_view reference) {
    return later(EIO, limits::scsi_ready_delay, {}, reference);
}

using enum Effect;

// RESERVATION CONFLICT is never retried: fencing counts on it. ACA ACTIVE is another nexus' business, since
// all our CDBs have NACA = 0: CLEAR ACA would be refused, the condition ends when its owner clears it.
constexpr std::array status_rows{
    StatusRow{Status::good, success("SAM-5 5.3.1")},
    StatusRow{Status::condition_met, success("SAM-5 5.3.1")},
    StatusRow{Status::busy, later(EIO, limits::scsi_busy_delay, {}, "SAM-5 5.3.1")},
    StatusRow{Status::reservation_conflict, fail(EBADE, {}, "SAM-5 5.3.1, SPC-4 5.12")},
    StatusRow{Status::task_set_full, later(EIO, limits::scsi_queue_full_delay, queue_full, "SAM-5 5.3.1")},
    StatusRow{Status::aca_active, later(EIO, limits::scsi_busy_delay, {}, "SAM-5 5.10")},
    StatusRow{Status::task_aborted, retry(EIO, {}, "SAM-5 5.3.1, 5.6")},
};
constexpr Rule unknown_status = fail(EIO, {}, "SAM-5 5.3.1: reserved status");
constexpr Rule without_sense = retry(EIO, {}, "SPC-4 4.5.1: no sense data");

// The first row that matches decides: special codes of a key stand before its `any`.
constexpr std::array sense_rows{
    // A check condition that names no error: how much was transferred is not known.
    SenseRow{SenseKey::no_sense, any, retry(EIO, {}, "SPC-4 4.5.6 key 0h")},
    SenseRow{SenseKey::recovered_error, any, success("SPC-4 4.5.6 key 1h")},
    SenseRow{SenseKey::completed, any, success("SPC-4 4.5.6 key Fh")},

    SenseRow{SenseKey::not_ready, only(0x04, 0x01), becoming_ready("SPC-4 F.2 04/01")},
    SenseRow{SenseKey::not_ready, only(0x04, 0x02),
             later(EIO, limits::scsi_ready_delay, needs_start, "SPC-4 F.2 04/02")},
    SenseRow{SenseKey::not_ready, between(0x04, 0x04, 0x09), becoming_ready("SPC-4 F.2 04/04..09")},
    SenseRow{SenseKey::not_ready, only(0x04, 0x0a),
             later(ENOLINK, limits::scsi_ready_delay, asymmetric_access_changed, "SPC-4 5.15.2.5")},
    SenseRow{SenseKey::not_ready, between(0x04, 0x0b, 0x0c),
             fail(ENOLINK, asymmetric_access_changed, "SPC-4 5.15.2.4")},
    SenseRow{SenseKey::not_ready, only(0x04, 0x11), becoming_ready("SPC-4 F.2 04/11")},
    SenseRow{SenseKey::not_ready, between(0x04, 0x13, 0x14), becoming_ready("SPC-4 F.2 04/13..14")},
    SenseRow{SenseKey::not_ready, between(0x04, 0x1a, 0x1b), becoming_ready("SPC-4 F.2 04/1A..1B")},
    SenseRow{SenseKey::not_ready, only(0x04, 0x1d), becoming_ready("SPC-5 F.2 04/1D")},
    SenseRow{SenseKey::not_ready, between(0x04, 0x24, 0x25), becoming_ready("SPC-5 F.2 04/24..25")},
    SenseRow{SenseKey::not_ready, only(0x3e, 0x00), becoming_ready("SPC-4 F.2 3E/00")},
    SenseRow{SenseKey::not_ready, all_of(0x3a), fail(ENOMEDIUM, capacity_changed, "SPC-4 F.2 3A")},
    SenseRow{SenseKey::not_ready, any, fail(EIO, {}, "SPC-4 4.5.6 key 2h")},

    // The target has tried already where the code says unrecovered or not found.
    SenseRow{SenseKey::medium_error, all_of(0x11), fail(ENODATA, {}, "SPC-4 F.2 11")},
    SenseRow{SenseKey::medium_error, all_of(0x13), fail(ENODATA, {}, "SPC-4 F.2 13")},
    SenseRow{SenseKey::medium_error, all_of(0x14), fail(ENODATA, {}, "SPC-4 F.2 14")},
    SenseRow{SenseKey::medium_error, any, retry(ENODATA, {}, "SPC-4 4.5.6 key 3h")},
    SenseRow{SenseKey::hardware_error, any, fail(EREMOTEIO, {}, "SPC-4 4.5.6 key 4h")},

    SenseRow{SenseKey::illegal_request, all_of(0x10), fail(EILSEQ, {}, "SBC-3 4.22")},
    SenseRow{SenseKey::illegal_request, only(0x20, 0x00),
             fail(EOPNOTSUPP, feature_unsupported, "SPC-4 F.2 20/00")},
    SenseRow{SenseKey::illegal_request, only(0x24, 0x00),
             fail(EOPNOTSUPP, feature_unsupported, "SPC-4 F.2 24/00")},
    SenseRow{SenseKey::illegal_request, only(0x21, 0x00),
             fail(EREMOTEIO, capacity_changed, "SPC-4 F.2 21/00")},
    // Unmapped here, perhaps not on another port: the one illegal request that is a path's.
    SenseRow{SenseKey::illegal_request, only(0x25, 0x00),
             fail(ENODEV, unit_gone | luns_changed | identity_doubt, "SAM-5 4.7.1, SPC-4 F.2 25/00")},
    SenseRow{SenseKey::illegal_request, any, fail(EREMOTEIO, {}, "SPC-4 4.5.6 key 5h")},

    SenseRow{
        SenseKey::unit_attention, only(0x04, 0x0a),
        later(ENOLINK, limits::scsi_ready_delay, attention | asymmetric_access_changed, "SPC-4 5.15.2.5")},
    SenseRow{SenseKey::unit_attention, all_of(0x28),
             news(capacity_changed | mode_changed | inquiry_changed | identity_doubt, "SPC-4 F.2 28")},
    // What a unit says first that was put in the place of another one (SAM-5 6.2).
    SenseRow{SenseKey::unit_attention, only(0x29, 0x00),
             news(power_on_reset | cache_maybe_lost | mode_changed | identity_doubt,
                  "SAM-5 6.2, SPC-4 F.2 29/00")},
    SenseRow{SenseKey::unit_attention, only(0x29, 0x01),
             news(power_on_reset | cache_maybe_lost | power_was_lost | mode_changed | identity_doubt,
                  "SAM-5 6.2, SPC-4 F.2 29/01")},
    SenseRow{SenseKey::unit_attention, only(0x29, 0x04),
             news(power_on_reset | cache_maybe_lost | power_was_lost | mode_changed, "SPC-4 F.2 29/04")},
    SenseRow{SenseKey::unit_attention, all_of(0x29),
             news(power_on_reset | mode_changed, "SAM-5 6.3, SPC-4 F.2 29")},
    SenseRow{SenseKey::unit_attention, only(0x2a, 0x01), news(mode_changed, "SPC-4 F.2 2A/01")},
    SenseRow{SenseKey::unit_attention, between(0x2a, 0x03, 0x05),
             news(reservations_changed, "SPC-4 5.12, F.2 2A/03..05")},
    SenseRow{SenseKey::unit_attention, between(0x2a, 0x06, 0x07),
             news(asymmetric_access_changed, "SPC-4 5.15.2, F.2 2A/06..07")},
    SenseRow{SenseKey::unit_attention, only(0x2a, 0x09), news(capacity_changed, "SBC-3 4.2")},
    SenseRow{SenseKey::unit_attention, only(0x38, 0x07), news(thin_threshold, "SBC-3 4.7.3.7")},
    SenseRow{SenseKey::unit_attention, between(0x3f, 0x01, 0x02),
             news(inquiry_changed, "SPC-4 F.2 3F/01..02")},
    SenseRow{SenseKey::unit_attention, only(0x3f, 0x03),
             news(inquiry_changed | identity_doubt, "SPC-4 F.2 3F/03")},
    SenseRow{SenseKey::unit_attention, only(0x3f, 0x05),
             news(inquiry_changed | identity_doubt, "SPC-4 F.2 3F/05")},
    SenseRow{SenseKey::unit_attention, only(0x3f, 0x0e),
             news(luns_changed | identity_doubt, "SPC-4 F.2 3F/0E")},
    SenseRow{SenseKey::unit_attention, any, news({}, "SAM-5 5.14")},

    SenseRow{SenseKey::data_protect, only(0x27, 0x07), fail(ENOSPC, thin_exhausted, "SBC-3 4.7.3.6")},
    // Write protection: EROFS means nothing to the kernel's block layer, which would take it for a path's
    // error and try the write on every other path.
    SenseRow{SenseKey::data_protect, all_of(0x27), fail(EREMOTEIO, mode_changed, "SBC-3 4.12")},
    SenseRow{SenseKey::data_protect, any, fail(EREMOTEIO, {}, "SPC-4 4.5.6 key 7h")},

    SenseRow{SenseKey::blank_check, any, fail(EREMOTEIO, {}, "SPC-4 4.5.6 key 8h")},
    SenseRow{SenseKey::vendor_specific, any, retry(EIO, {}, "SPC-4 4.5.6 key 9h")},
    SenseRow{SenseKey::copy_aborted, any, fail(EREMOTEIO, {}, "SPC-4 4.5.6 key Ah")},

    SenseRow{SenseKey::aborted_command, between(0x0c, 0x0c, 0x0d),
             retry(EIO, our_fault, "RFC 7143 11.4.7.2")},
    SenseRow{SenseKey::aborted_command, all_of(0x10), fail(EILSEQ, {}, "SBC-3 4.22")},
    SenseRow{SenseKey::aborted_command, only(0x2e, 0x01), fail(ETIME, {}, "SPC-4 F.2 2E/01")},
    SenseRow{SenseKey::aborted_command, any, retry(EIO, {}, "SPC-4 4.5.6 key Bh")},

    SenseRow{SenseKey::reserved, any, fail(EIO, {}, "SPC-4 4.5.6 key Ch")},
    SenseRow{SenseKey::volume_overflow, any, fail(EREMOTEIO, {}, "SPC-4 4.5.6 key Dh")},
    SenseRow{SenseKey::miscompare, any, fail(EREMOTEIO, {}, "SPC-4 4.5.6 key Eh")},
};

Disposition decide(const Rule& rule, SenseCode sense) {
    return {rule.action, rule.error_number, rule.effects, rule.delay, sense, rule.reference};
}

const Rule& rule_of(SenseCode code) {
    const auto* row = std::ranges::find_if(
        sense_rows, [code](const SenseRow& one) { return one.key == code.key && one.codes.hold(code); });
    return row == sense_rows.end() ? without_sense : row->rule;
}

/// An earlier command failed after it had been acknowledged; the one that brings the news was not executed
/// (SPC-4 4.5.5).
Disposition deferred(const Disposition& earlier) {
    Disposition result = earlier;
    bool failed = earlier.action != Action::success && !earlier.effects.has(Effect::attention);
    result.action = Action::retry_now;
    result.delay = no_delay;
    result.error_number = earlier.error_number != 0 ? earlier.error_number : EIO;
    result.reference = "SPC-4 4.5.5";
    if (failed) {
        result.effects = earlier.effects | Effect::deferred_error;
    }
    return result;
}

} // namespace

Disposition classify(std::uint8_t status, base::Bytes sense) {
    if (status == static_cast<std::uint8_t>(Status::good)) [[likely]] {
        return decide(status_rows.front().rule, {});
    }
    if (status == static_cast<std::uint8_t>(Status::check_condition)) {
        SenseView view(sense);
        if (!view.valid()) {
            return decide(without_sense, {});
        }
        Disposition result = decide(rule_of(view.code()), view.code());
        return view.deferred() ? deferred(result) : result;
    }
    const auto* row = std::ranges::find(status_rows, static_cast<Status>(status), &StatusRow::status);
    return decide(row == status_rows.end() ? unknown_status : row->rule, {});
}

Disposition classify_service_response(std::uint8_t response) {
    base::check(response != 0, "response 00h is classified by status and sense");
    constexpr std::uint8_t target_failure = 0x01;
    constexpr std::uint8_t vendor_specific_first = 0x80;
    bool defined = response == target_failure || response >= vendor_specific_first;
    constexpr std::string_view reference = "RFC 7143 11.4.3";
    return decide(defined ? retry(ENOLINK, {}, reference) : fail(ENOLINK, {}, reference), {});
}

} // namespace iscsi::scsi

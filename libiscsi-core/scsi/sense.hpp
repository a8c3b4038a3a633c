// Sense data as a target sent it: fixed or descriptor format, current or deferred, cut short at any byte. A
// SenseView reads once and keeps nothing of the bytes. Any thread, no allocation (but text for logs).
// SPC-4 section 4.5.
#pragma once

#include "base/bytes.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace iscsi::scsi {

/// SPC-4 4.5.6, table of sense keys.
enum class SenseKey : std::uint8_t {
    no_sense = 0x0,
    recovered_error = 0x1,
    not_ready = 0x2,
    medium_error = 0x3,
    hardware_error = 0x4,
    illegal_request = 0x5,
    unit_attention = 0x6,
    data_protect = 0x7,
    blank_check = 0x8,
    vendor_specific = 0x9,
    copy_aborted = 0xa,
    aborted_command = 0xb,
    reserved = 0xc,
    volume_overflow = 0xd,
    miscompare = 0xe,
    completed = 0xf,
};

/// What happened: the key, the additional sense code and its qualifier.
struct SenseCode {
    SenseKey key = SenseKey::no_sense;
    std::uint8_t asc = 0;
    std::uint8_t ascq = 0;

    friend bool operator==(const SenseCode&, const SenseCode&) = default;
};

/// SENSE KEY SPECIFIC, present only when the target marked it valid (SKSV).
struct SenseKeySpecific {
    std::uint8_t flags = 0;  ///< the first byte without SKSV: C/D, BPV, bit pointer
    std::uint16_t value = 0; ///< field pointer, retry count or progress (of 65536), by sense key
};

class SenseView {
public:
    /// `sense` is the sense data alone, without the SenseLength that iSCSI puts in front of it.
    explicit SenseView(base::Bytes sense);

    /// False when there are no bytes, or none that are sense data of a known format; everything else is then
    /// empty or zero.
    bool valid() const { return valid_; }
    /// The error belongs to an earlier command that had already ended well (SPC-4 4.5.5).
    bool deferred() const { return deferred_; }
    /// Fields behind the end of a short answer read as zero.
    SenseCode code() const { return code_; }
    SenseKey key() const { return code_.key; }
    std::uint8_t asc() const { return code_.asc; }
    std::uint8_t ascq() const { return code_.ascq; }
    /// The INFORMATION field if it is marked valid: for disks the first LBA in error (SBC-3 4.18).
    std::optional<std::uint64_t> information() const { return information_; }
    std::optional<SenseKeySpecific> key_specific() const { return key_specific_; }

private:
    void read_fixed(base::Bytes sense);
    void read_descriptors(base::Bytes sense);
    void read_key_specific(base::Bytes three_bytes);

    SenseCode code_;
    std::optional<std::uint64_t> information_;
    std::optional<SenseKeySpecific> key_specific_;
    bool valid_ = false;
    bool deferred_ = false;
};

/// "UNIT ATTENTION".
std::string_view text(SenseKey key);

/// What the additional sense code means, in a few lower-case words; empty when it is not known here.
std::string_view additional_sense_text(std::uint8_t asc, std::uint8_t ascq);

/// One line for logs: "UNIT ATTENTION 2A/09 (capacity data has changed)".
std::string describe(SenseCode code);

} // namespace iscsi::scsi

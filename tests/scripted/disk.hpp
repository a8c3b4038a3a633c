// The logical units behind the scripted target: small disks in memory, alike but for their number and data.
// They answer what an initiator asks while it scans, and READ, WRITE, flush and zeroing. Written from SPC-4
// and SBC-3, without the initiator's SCSI code. Owns the data. One thread.
#pragma once

#include "scripted/pdu.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace iscsi::scripted {

struct DiskConfig {
    std::vector<std::uint8_t> units{0}; ///< logical unit numbers, peripheral addressing
    std::uint32_t block_bytes = 512;    ///< 1 is a fine size, too: transfers of any length
    std::uint64_t blocks = 2048;
    bool write_cache = true;
    /// T10 vendor identification, eight characters: the initiator asks tgtd, which says this, what it does
    /// not ask others (control/fence.cpp).
    std::string vendor = "IET     ";
};

struct Sense {
    std::uint8_t key = 0;
    std::uint8_t asc = 0;
    std::uint8_t ascq = 0;
};

struct ScsiResult {
    std::uint8_t status = 0;
    Sense sense; ///< with CHECK CONDITION
    ByteVector data;
};

namespace scsi_status {
inline constexpr std::uint8_t good = 0x00;
inline constexpr std::uint8_t check_condition = 0x02;
inline constexpr std::uint8_t busy = 0x08;
inline constexpr std::uint8_t reservation_conflict = 0x18;
inline constexpr std::uint8_t task_set_full = 0x28;
} // namespace scsi_status

/// The data segment of a SCSI Response with sense of fixed format (SPC-4 4.5.3).
ByteVector sense_segment(const Sense& sense);
/// The LUN field of a unit (SAM-5, peripheral device addressing).
std::uint64_t lun_field(std::uint8_t unit);

class Disks {
public:
    explicit Disks(DiskConfig config);

    ScsiResult execute(std::uint64_t lun, const std::array<std::byte, 16>& cdb, const ByteVector& written);
    /// The bytes of a unit.
    ByteVector& bytes(std::uint8_t unit = 0) { return data_.at(unit); }
    const DiskConfig& config() const { return config_; }

private:
    ScsiResult inquiry(std::uint8_t unit, const std::array<std::byte, 16>& cdb) const;
    ByteVector vital_page(std::uint8_t unit, std::uint8_t page) const;
    ScsiResult report_luns() const;
    ScsiResult capacity(bool long_form) const;
    ScsiResult mode_sense(const std::array<std::byte, 16>& cdb) const;
    ScsiResult transfer(std::uint8_t unit, const std::array<std::byte, 16>& cdb, const ByteVector& written);

    DiskConfig config_;
    std::map<std::uint8_t, ByteVector> data_;
};

} // namespace iscsi::scripted

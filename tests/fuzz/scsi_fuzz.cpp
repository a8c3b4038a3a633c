// What a logical unit says of itself, all of it the target's word. The first byte says what is read: sense
// data with a status, one answer of the scan alone, or several answers folded into what is known of a unit.
#include "fuzz.hpp"

#include "scsi/capacity.hpp"
#include "scsi/disposition.hpp"
#include "scsi/inquiry.hpp"
#include "scsi/lun_facts.hpp"
#include "scsi/mode.hpp"
#include "scsi/sense.hpp"
#include "scsi/status.hpp"
#include "scsi/target_port_groups.hpp"

#include "base/limits.hpp"

#include <bit>
#include <memory>
#include <set>

using namespace iscsi;
using namespace iscsi::scsi;
using iscsi::test::is_one_line;
using iscsi::test::require;
using iscsi::test::Script;

namespace {

/// Bytes in memory of just their size, so that a read behind their end is seen.
class Answer {
public:
    explicit Answer(std::string_view text) : memory_(new std::byte[text.size()]), size_(text.size()) {
        base::Bytes from = base::bytes_of(text);
        std::copy(from.begin(), from.end(), memory_.get());
    }
    base::Bytes bytes() const { return {memory_.get(), size_}; }

private:
    std::unique_ptr<std::byte[]> memory_;
    std::size_t size_;
};

void check_disposition(const Disposition& done) {
    bool success = done.action == Action::success;
    require(success == (done.error_number == 0));
    require(done.error_number >= 0 && !done.reference.empty());
    require((done.action == Action::retry_later) == (done.delay.count() > 0));
}

void check_sense(std::uint8_t status, base::Bytes sense) {
    SenseView view(sense);
    require(view.valid() || view.code() == SenseCode{});
    require(is_one_line(describe(view.code())) && !text(view.key()).empty());
    require(!text(static_cast<Status>(status)).empty());
    check_disposition(classify(status, sense));
    check_disposition(classify_service_response(status == 0 ? 1 : status));
}

void check_capacity(const base::Result<Capacity>& read) {
    if (!read) {
        return;
    }
    require(std::has_single_bit(read->block_bytes) && read->block_bytes >= 512 && read->block_bytes <= 65536);
    require(std::has_single_bit(read->physical_block_bytes) &&
            read->physical_block_bytes >= read->block_bytes);
    require(read->physical_block_bytes <= 65536);
    require(read->lowest_aligned_lba < read->physical_block_bytes / read->block_bytes);
    require(read->protection_type <= 3);
    require(read->needs_read_capacity16 || read->blocks.value() <= INT64_MAX / read->block_bytes);
}

void check_lun_list(base::Bytes data) {
    base::Result<LunList> list = read_report_luns(data);
    if (!list) {
        return;
    }
    require(list->luns.size() <= base::limits::luns_max && list->luns.size() * 8 <= data.size());
    require(list->needed_bytes >= 8 && list->needed_bytes <= 8 + 8 * base::limits::luns_max);
    require(std::set(list->luns.begin(), list->luns.end()).size() == list->luns.size());
    for (base::Lun lun : list->luns) {
        require(lun_from_number(lun_number(lun)) == lun);
        require(is_one_line(describe_lun(lun)));
    }
}

void check_inquiry(base::Bytes data) {
    if (base::Result<StandardInquiry> read = read_standard_inquiry(data)) {
        require(is_one_line(read->vendor) && is_one_line(read->product) && is_one_line(read->revision));
        require(read->vendor.size() <= 32 && read->product.size() <= 64 && read->revision.size() <= 16);
    }
}

void check_identification(base::Bytes data) {
    if (base::Result<DeviceIdentification> read = read_device_identification(data)) {
        for (const Designator& designator : read->unit) {
            require(!designator.value.empty() && is_one_line(designator.value));
        }
        require(is_one_line(read->target_port_name));
    }
}

void check_one(unsigned which, base::Bytes data) {
    switch (which) {
    case 0:
        return check_capacity(read_capacity10_data(data));
    case 1:
        return check_capacity(read_capacity16_data(data));
    case 2:
        return check_lun_list(data);
    case 3:
        return check_inquiry(data);
    case 4:
        return check_identification(data);
    case 5:
        return static_cast<void>(read_mode_sense6(data));
    case 6:
        return static_cast<void>(read_mode_sense10(data));
    case 7:
        if (base::Result<std::string> serial = read_unit_serial_number(data)) {
            require(is_one_line(*serial));
        }
        return;
    default:
        if (base::Result<TargetPortGroups> read = read_target_port_groups(data)) {
            require(read->groups.size() * 8 <= data.size());
        }
    }
}

/// An answer that is refused changes nothing; true when it was taken.
bool fold(unsigned which, LunFacts& facts, base::Bytes data) {
    using Apply = base::Result<void> (*)(LunFacts&, base::Bytes);
    constexpr Apply all[] = {
        apply_inquiry,
        apply_supported_pages,
        apply_unit_serial_number,
        apply_device_identification,
        apply_extended_inquiry,
        apply_block_limits,
        apply_block_characteristics,
        apply_logical_block_provisioning,
        apply_read_capacity16,
        apply_mode_sense6,
        apply_mode_sense10,
        apply_target_port_groups,
    };
    LunFacts before = facts;
    which %= std::size(all) + 1;
    bool taken = which == std::size(all) ? apply_read_capacity10(facts, data).has_value()
                                         : all[which](facts, data).has_value();
    require(taken || facts == before);
    return taken;
}

void check_facts(const LunFacts& facts) {
    for (const std::string& name : {identity(facts), udev_serial(facts), world_wide_name(facts)}) {
        require(is_one_line(name));
    }
    std::string serial = udev_serial(facts);
    require(serial.find_first_of(" /\\\"'") == std::string::npos);
    require(same_unit(facts, facts));
    require((discard_method(facts) == DiscardMethod::none) == (max_discard_blocks(facts) == 0));
    if (!is_disk(facts)) {
        return;
    }
    require(facts.blocks.value() <= INT64_MAX / facts.block_bytes);
    for (std::uint32_t wanted : {512U, 4096U, 1U << 20, 32U << 20}) {
        std::uint32_t longest = max_transfer_bytes(facts, wanted);
        require(longest >= facts.block_bytes && longest % facts.block_bytes == 0);
        require(longest <= std::max(wanted, facts.block_bytes));
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    constexpr std::uint8_t sense = 's';
    constexpr std::uint8_t several = 'f';
    Script script(data, size);
    std::uint8_t kind = script.u8();
    if (kind == sense) {
        std::uint8_t status = script.u8();
        check_sense(status, Answer(script.rest()).bytes());
    } else if (kind == several) {
        LunFacts facts;
        while (!script.empty()) {
            unsigned which = script.u8();
            std::size_t length = script.u8();
            fold(which, facts, Answer(script.take(length)).bytes());
        }
        check_facts(facts);
    } else {
        check_one(kind % 9, Answer(script.rest()).bytes());
    }
    return 0;
}

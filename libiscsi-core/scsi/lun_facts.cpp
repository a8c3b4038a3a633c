#include "scsi/lun_facts.hpp"

#include "scsi/mode.hpp"

#include <utility>

namespace iscsi::scsi {
namespace {

/// Runs `fold` on what was read, or passes the error on.
template <class Read, class Fold>
base::Result<void> apply(base::Result<Read> read, Fold fold) {
    if (!read) {
        return base::fail(std::move(read.error()));
    }
    fold(std::move(*read));
    return {};
}

void fold_capacity(LunFacts& facts, const Capacity& capacity) {
    facts.blocks = capacity.blocks;
    facts.block_bytes = capacity.block_bytes;
    facts.physical_block_bytes = capacity.physical_block_bytes;
    facts.lowest_aligned_lba = capacity.lowest_aligned_lba;
    facts.protection_type = capacity.protection_type;
    facts.provisioned = capacity.provisioned;
    facts.lbprz = capacity.reads_zeroes;
}

void fold_mode(LunFacts& facts, const ModeData& mode) {
    facts.dpofua = mode.dpofua;
    // Asked for one page at a time, each answer knows WP; SWP and WCE are only in theirs.
    facts.read_only = mode.write_protected;
    if (mode.control) {
        facts.software_write_protect = mode.control->software_write_protect;
        facts.descriptor_sense = mode.control->descriptor_sense;
    }
    facts.read_only = facts.read_only || facts.software_write_protect;
    if (mode.caching) {
        facts.write_cache = mode.caching->write_cache;
    }
}

} // namespace

base::Result<void> apply_inquiry(LunFacts& facts, base::Bytes data) {
    return apply(read_standard_inquiry(data), [&facts](StandardInquiry inquiry) {
        facts.peripheral_type = inquiry.peripheral_type;
        facts.peripheral_qualifier = inquiry.peripheral_qualifier;
        facts.scsi_version = inquiry.version;
        facts.target_port_groups = inquiry.target_port_groups;
        facts.removable = inquiry.removable;
        facts.vendor = std::move(inquiry.vendor);
        facts.product = std::move(inquiry.product);
        facts.revision = std::move(inquiry.revision);
    });
}

base::Result<void> apply_supported_pages(LunFacts& facts, base::Bytes data) {
    return apply(read_supported_pages(data), [&facts](const VpdPages& pages) { facts.vpd_pages = pages; });
}

base::Result<void> apply_unit_serial_number(LunFacts& facts, base::Bytes data) {
    return apply(read_unit_serial_number(data),
                 [&facts](std::string serial) { facts.serial = std::move(serial); });
}

base::Result<void> apply_device_identification(LunFacts& facts, base::Bytes data) {
    return apply(read_device_identification(data), [&facts](DeviceIdentification identification) {
        facts.identification = std::move(identification);
    });
}

base::Result<void> apply_extended_inquiry(LunFacts& facts, base::Bytes data) {
    return apply(read_extended_inquiry(data), [&facts](const ExtendedInquiry& extended) {
        facts.cache_survives = extended.nonvolatile_cache && !extended.volatile_cache;
    });
}

base::Result<void> apply_block_limits(LunFacts& facts, base::Bytes data) {
    return apply(read_block_limits(data), [&facts](const BlockLimits& limits) { facts.limits = limits; });
}

base::Result<void> apply_block_characteristics(LunFacts& facts, base::Bytes data) {
    return apply(read_block_characteristics(data), [&facts](const BlockCharacteristics& characteristics) {
        constexpr std::uint16_t does_not_rotate = 1;
        facts.rotational = characteristics.rotation_rate != does_not_rotate;
        facts.zoned = characteristics.zoned;
    });
}

base::Result<void> apply_logical_block_provisioning(LunFacts& facts, base::Bytes data) {
    return apply(read_logical_block_provisioning(data), [&facts](const LogicalBlockProvisioning& page) {
        facts.provisioning_page = true;
        facts.lbpu = page.lbpu;
        facts.lbpws = page.lbpws;
        facts.lbpws10 = page.lbpws10;
    });
}

base::Result<bool> apply_read_capacity10(LunFacts& facts, base::Bytes data) {
    auto capacity = read_capacity10_data(data);
    if (!capacity) {
        return base::fail(std::move(capacity.error()));
    }
    if (!capacity->needs_read_capacity16) {
        fold_capacity(facts, *capacity);
    }
    return capacity->needs_read_capacity16;
}

base::Result<void> apply_read_capacity16(LunFacts& facts, base::Bytes data) {
    return apply(read_capacity16_data(data),
                 [&facts](const Capacity& capacity) { fold_capacity(facts, capacity); });
}

base::Result<void> apply_mode_sense6(LunFacts& facts, base::Bytes data) {
    return apply(read_mode_sense6(data), [&facts](const ModeData& mode) { fold_mode(facts, mode); });
}

base::Result<void> apply_mode_sense10(LunFacts& facts, base::Bytes data) {
    return apply(read_mode_sense10(data), [&facts](const ModeData& mode) { fold_mode(facts, mode); });
}

base::Result<void> apply_target_port_groups(LunFacts& facts, base::Bytes data) {
    return apply(read_target_port_groups(data), [&facts](const TargetPortGroups& told) {
        const auto own = facts.identification.target_port_group;
        for (const TargetPortGroup& group : told.groups) {
            if (own && group.group == *own) {
                facts.access = {group.state, group.preferred, told.transition_s};
            }
        }
    });
}

} // namespace iscsi::scsi

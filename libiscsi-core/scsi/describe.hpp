// The members of LunFacts by name, for whoever stores or shows them: describe(member, facts) calls
// member(name, value) for each, member.word(name, value, words) for an enum and member.hex(name, value,
// digits) for what is a pattern of bits. `member` may change what is not const. A member that is new in the
// struct is new here too, but for what is true of the moment only (LunFacts::access). Templates only; any
// thread.
#pragma once

#include "scsi/lun_facts.hpp"

#include <array>
#include <concepts>
#include <string_view>
#include <type_traits>

namespace iscsi::scsi {

/// By number of DesignatorType.
inline constexpr std::array<std::string_view, 11> designator_words{"vendor_specific",
                                                                   "t10_vendor",
                                                                   "eui64",
                                                                   "naa",
                                                                   "relative_target_port",
                                                                   "target_port_group",
                                                                   "logical_unit_group",
                                                                   "md5",
                                                                   "scsi_name",
                                                                   "protocol_specific_port",
                                                                   "uuid"};
/// By number of Association.
inline constexpr std::array<std::string_view, 3> association_words{"logical_unit", "target_port",
                                                                   "target_device"};

template <class T, class Plain>
concept Described = std::same_as<std::remove_const_t<T>, Plain>;

template <class F, Described<Designator> T>
void describe(F& member, T& designator) {
    member.word("type", designator.type, designator_words);
    member.word("association", designator.association, association_words);
    member("value", designator.value);
}

template <class F, Described<DeviceIdentification> T>
void describe(F& member, T& identification) {
    member("unit", identification.unit);
    member("target_port_group", identification.target_port_group);
    member("relative_target_port", identification.relative_target_port);
    member("target_port_name", identification.target_port_name);
}

template <class F, Described<BlockLimits> T>
void describe(F& member, T& limits) {
    member("wsnz", limits.wsnz);
    member("optimal_granularity_blocks", limits.optimal_granularity_blocks);
    member("max_transfer_blocks", limits.max_transfer_blocks);
    member("optimal_transfer_blocks", limits.optimal_transfer_blocks);
    member("max_unmap_blocks", limits.max_unmap_blocks);
    member("max_unmap_descriptors", limits.max_unmap_descriptors);
    member("unmap_granularity_blocks", limits.unmap_granularity_blocks);
    member("unmap_alignment_blocks", limits.unmap_alignment_blocks);
    member("max_write_same_blocks", limits.max_write_same_blocks);
}

template <class F, Described<LunFacts> T>
void describe(F& member, T& facts) {
    member.hex("lun", facts.lun, 16);
    member("peripheral_type", facts.peripheral_type);
    member("peripheral_qualifier", facts.peripheral_qualifier);
    member("scsi_version", facts.scsi_version);
    member("target_port_groups", facts.target_port_groups);
    member("removable", facts.removable);
    member("vendor", facts.vendor);
    member("product", facts.product);
    member("revision", facts.revision);
    member("vpd_pages", facts.vpd_pages);
    member("serial", facts.serial);
    member("identification", facts.identification);
    member("blocks", facts.blocks);
    member("block_bytes", facts.block_bytes);
    member("physical_block_bytes", facts.physical_block_bytes);
    member("lowest_aligned_lba", facts.lowest_aligned_lba);
    member("protection_type", facts.protection_type);
    member("provisioned", facts.provisioned);
    member("lbprz", facts.lbprz);
    member("read_only", facts.read_only);
    member("write_cache", facts.write_cache);
    member("dpofua", facts.dpofua);
    member("descriptor_sense", facts.descriptor_sense);
    member("software_write_protect", facts.software_write_protect);
    member.later("cache_survives", facts.cache_survives);
    member("limits", facts.limits);
    member("provisioning_page", facts.provisioning_page);
    member("lbpu", facts.lbpu);
    member("lbpws", facts.lbpws);
    member("lbpws10", facts.lbpws10);
    member("rotational", facts.rotational);
    member("zoned", facts.zoned);
}

} // namespace iscsi::scsi

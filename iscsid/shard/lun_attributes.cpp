#include "shard/lun.hpp"

#include "base/limits.hpp"

#include <algorithm>

namespace iscsi::shard {

block::Attributes block_attributes(const scsi::LunFacts& facts) {
    block::Attributes attributes;
    attributes.logical_block_bytes = facts.block_bytes;
    attributes.physical_block_bytes = facts.physical_block_bytes;
    attributes.size_bytes = facts.blocks.value() * facts.block_bytes;
    std::uint64_t optimal = std::uint64_t{facts.limits.optimal_transfer_blocks} * facts.block_bytes;
    if (optimal <= base::limits::block_request_bytes_max) {
        attributes.optimal_io_bytes = static_cast<std::uint32_t>(optimal);
    }
    // A request may be longer than one command: the Lun cuts it.
    attributes.max_request_bytes = base::limits::block_request_bytes_max;
    attributes.read_only = facts.read_only;
    attributes.volatile_cache = facts.write_cache;
    attributes.fua = true;
    attributes.rotational = facts.rotational;
    if (!facts.read_only && scsi::discard_method(facts) != scsi::DiscardMethod::none) {
        attributes.max_discard_bytes = scsi::max_discard_blocks(facts) * facts.block_bytes;
        std::uint64_t granularity = std::uint64_t{facts.limits.unmap_granularity_blocks} * facts.block_bytes;
        attributes.discard_granularity_bytes = granularity != 0 && granularity <= UINT32_MAX
                                                   ? static_cast<std::uint32_t>(granularity)
                                                   : facts.block_bytes;
    }
    if (!facts.read_only) {
        // Cheaper than the zeroes that the block layer would send, even where the Lun writes them itself.
        constexpr std::uint64_t zeroes_bytes_max = std::uint64_t{1} << 30;
        std::uint64_t known = facts.limits.max_write_same_blocks * facts.block_bytes;
        attributes.max_write_zeroes_bytes =
            known != 0 ? std::min(known, zeroes_bytes_max) : base::limits::block_request_bytes_max;
    }
    return attributes;
}

} // namespace iscsi::shard

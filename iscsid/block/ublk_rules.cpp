#include "block/ublk_rules.hpp"

#include <algorithm>
#include <bit>

namespace iscsi::block::ublk {
namespace {

/// Linux takes 512 .. 4096 for a logical block, and at least a page in one request.
constexpr std::uint8_t block_shift_min = 9;
constexpr std::uint32_t page_sectors = 8;
/// The kernel counts the bytes of one discard in 32 bits.
constexpr std::uint64_t discard_bytes_max = UINT32_MAX;

std::uint8_t shift_of(std::uint32_t bytes) {
    const int shift = static_cast<int>(std::bit_width(bytes)) - 1;
    return static_cast<std::uint8_t>(std::max<int>(shift, block_shift_min));
}

std::uint32_t sectors_of(std::uint64_t bytes, std::uint32_t block_bytes) {
    const std::uint64_t bounded = std::min(bytes, discard_bytes_max);
    return static_cast<std::uint32_t>((bounded - bounded % block_bytes) / sector_bytes);
}

std::uint32_t attribute_bits(const Attributes& attributes) {
    std::uint32_t bits = 0;
    bits |= attributes.read_only ? attribute_read_only : 0;
    bits |= attributes.rotational ? attribute_rotational : 0;
    bits |= attributes.volatile_cache ? attribute_volatile_cache : 0;
    bits |= attributes.volatile_cache && attributes.fua ? attribute_fua : 0;
    return bits;
}

BasicParameters basic_parameters(const Attributes& attributes) {
    BasicParameters basic;
    basic.attributes = attribute_bits(attributes);
    basic.logical_block_shift = shift_of(attributes.logical_block_bytes);
    basic.physical_block_shift =
        std::max(basic.logical_block_shift, shift_of(attributes.physical_block_bytes));
    basic.io_min_shift = basic.physical_block_shift;
    basic.io_opt_shift = basic.physical_block_shift;
    if (std::has_single_bit(attributes.optimal_io_bytes)) {
        basic.io_opt_shift = std::max(basic.io_opt_shift, shift_of(attributes.optimal_io_bytes));
    }
    std::uint32_t longest = io_bytes_max;
    if (attributes.max_request_bytes != 0) {
        longest = std::min(longest, attributes.max_request_bytes);
    }
    basic.max_sectors = std::max(sectors_of(longest, attributes.logical_block_bytes), page_sectors);
    basic.sectors = attributes.size_bytes / sector_bytes;
    return basic;
}

} // namespace

Parameters parameters(const Attributes& attributes) {
    Parameters told;
    told.types = has_basic;
    told.basic = basic_parameters(attributes);
    if (attributes.max_discard_bytes == 0 && attributes.max_write_zeroes_bytes == 0) {
        return told;
    }
    told.types |= has_discard;
    const std::uint32_t block_bytes = attributes.logical_block_bytes;
    told.discard.granularity_bytes = std::max(attributes.discard_granularity_bytes, block_bytes);
    told.discard.max_discard_sectors = sectors_of(attributes.max_discard_bytes, block_bytes);
    told.discard.max_write_zeroes_sectors = sectors_of(attributes.max_write_zeroes_bytes, block_bytes);
    told.discard.max_discard_segments = 1;
    return told;
}

bool describe(const IoDescriptor& descriptor, Request& request) {
    switch (static_cast<Operation>(descriptor.operation & operation_mask)) {
    case Operation::read:
        request.verb = Verb::read;
        break;
    case Operation::write:
        request.verb = Verb::write;
        break;
    case Operation::flush:
        request.verb = Verb::flush;
        break;
    case Operation::discard:
        request.verb = Verb::discard;
        break;
    case Operation::write_zeroes:
        request.verb = Verb::write_zeroes;
        break;
    default:
        return false;
    }
    const bool changes = request.verb == Verb::write || request.verb == Verb::write_zeroes;
    request.fua = changes && (descriptor.operation & io_fua) != 0;
    request.may_unmap = (descriptor.operation & io_no_unmap) == 0;
    const bool has_range = request.verb != Verb::flush;
    request.offset_bytes = has_range ? descriptor.start_sector * sector_bytes : 0;
    request.length_bytes = has_range ? std::uint64_t{descriptor.sectors} * sector_bytes : 0;
    if (!has_data(request.verb)) {
        return true;
    }
    return request.length_bytes > 0 && request.length_bytes <= io_bytes_max;
}

std::int32_t commit_result(const Request& request, int error_number) {
    if (error_number != 0) {
        return -error_number;
    }
    return has_data(request.verb) ? static_cast<std::int32_t>(request.length_bytes) : 0;
}

} // namespace iscsi::block::ublk

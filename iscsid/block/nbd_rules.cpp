#include "block/nbd_rules.hpp"

#include "base/limits.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>

namespace iscsi::block::nbd {
namespace {

bool is_change(Command command) {
    return command == Command::write || command == Command::trim || command == Command::write_zeroes;
}

std::uint16_t flags_allowed(Command command, bool structured_replies) {
    switch (command) {
    case Command::write_zeroes:
        return command_fua | command_no_hole;
    case Command::read:
        return structured_replies ? command_fua | command_df : command_fua;
    default:
        return command_fua;
    }
}

bool is_offered(Command command, const Attributes& attributes) {
    switch (command) {
    case Command::read:
    case Command::write:
    case Command::flush:
    case Command::write_zeroes:
        return true;
    case Command::trim:
        return attributes.max_discard_bytes > 0;
    default:
        return false;
    }
}

Error refusal_of_range(const RequestHeader& request, const Attributes& attributes) {
    const auto command = static_cast<Command>(request.type.get());
    const std::uint64_t offset = request.offset;
    const std::uint64_t length = request.length;
    if (offset > attributes.size_bytes || length > attributes.size_bytes - offset) {
        const bool no_room = command == Command::write || command == Command::write_zeroes;
        return no_room ? Error::nospc : Error::inval;
    }
    if (offset % attributes.logical_block_bytes != 0 || length % attributes.logical_block_bytes != 0) {
        return Error::inval;
    }
    const bool has_payload = command == Command::read || command == Command::write;
    if (has_payload && length > block_sizes(attributes).maximum) {
        return Error::inval;
    }
    return Error::none;
}

} // namespace

std::uint16_t transmission_flags(const Attributes& attributes, bool structured_replies) {
    std::uint16_t flags = has_flags | send_flush | send_fua | can_multi_conn;
    flags |= attributes.read_only ? read_only : send_write_zeroes;
    if (attributes.rotational) {
        flags |= rotational;
    }
    if (attributes.max_discard_bytes > 0 && !attributes.read_only) {
        flags |= send_trim;
    }
    if (structured_replies) {
        flags |= send_df;
    }
    return flags;
}

BlockSizes block_sizes(const Attributes& attributes) {
    BlockSizes sizes;
    sizes.minimum = attributes.logical_block_bytes;
    std::uint32_t longest = base::limits::block_request_bytes_max;
    if (attributes.max_request_bytes > 0) {
        longest = std::min(longest, attributes.max_request_bytes);
    }
    sizes.maximum = std::max(longest - longest % sizes.minimum, sizes.minimum);
    sizes.preferred = std::max({std::uint32_t{4096}, sizes.minimum, attributes.physical_block_bytes});
    if (std::has_single_bit(attributes.optimal_io_bytes)) {
        sizes.preferred = std::max(sizes.preferred, attributes.optimal_io_bytes);
    }
    // The protocol wants minimum <= preferred <= maximum, preferred a power of two.
    sizes.preferred = std::max(std::bit_floor(std::min(sizes.preferred, sizes.maximum)), sizes.minimum);
    return sizes;
}

Error refusal(const RequestHeader& request, const Attributes& attributes, bool structured_replies) {
    const auto command = static_cast<Command>(request.type.get());
    if (!is_offered(command, attributes)) {
        return Error::inval;
    }
    if ((request.flags & ~flags_allowed(command, structured_replies)) != 0) {
        return Error::inval;
    }
    if (is_change(command) && attributes.read_only) {
        return Error::perm;
    }
    if (command == Command::flush) {
        return request.offset == 0 && request.length == 0 ? Error::none : Error::inval;
    }
    return refusal_of_range(request, attributes);
}

Error error_of(int error_number) {
    switch (error_number) {
    case 0:
        return Error::none;
    case EPERM:
    case EACCES:
    case EROFS:
        return Error::perm;
    case ENOMEM:
        return Error::nomem;
    case EINVAL:
        return Error::inval;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return Error::nospc;
    case EOVERFLOW:
        return Error::overflow;
    case EOPNOTSUPP:
        return Error::notsup;
    case ESHUTDOWN:
        return Error::shutdown;
    default: // EIO, and ENOLINK, ENODATA, EREMOTEIO, EBADE, which the protocol has no numbers for
        return Error::io;
    }
}

} // namespace iscsi::block::nbd

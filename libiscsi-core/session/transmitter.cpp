#include "session/transmitter.hpp"

#include "base/crc32c.hpp"

#include <algorithm>
#include <cstring>

namespace iscsi::session {
namespace {

/// CRC32C goes out little-endian (RFC 7143 section 13.1).
void put_digest(std::byte* where, std::uint32_t value) {
    for (unsigned i = 0; i < wire::digest_bytes; ++i) {
        where[i] = static_cast<std::byte>(value >> (8 * i));
    }
}

} // namespace

Transmitter::Transmitter(const wire::ConnectionParameters& parameters)
    : header_digest_(parameters.header_digest), data_digest_(parameters.data_digest),
      arena_(std::make_unique_for_overwrite<std::byte[]>(arena_bytes)),
      pieces_(std::make_unique_for_overwrite<Piece[]>(pieces_max)) {}

void Transmitter::append(const std::byte* bytes, std::size_t n, std::uint32_t owner) {
    pieces_[last_].memory = {const_cast<std::byte*>(bytes), n};
    pieces_[last_].owner = owner;
    ++last_;
    queued_bytes_ += n;
}

void Transmitter::append_inline(std::size_t n) {
    std::byte* from = arena_.get() + arena_used_;
    arena_used_ += n;
    if (last_ > first_) {
        iovec& previous = pieces_[last_ - 1].memory;
        bool adjacent = static_cast<std::byte*>(previous.iov_base) + previous.iov_len == from;
        if (adjacent && pieces_[last_ - 1].owner == no_owner) {
            previous.iov_len += n;
            queued_bytes_ += n;
            return;
        }
    }
    append(from, n, no_owner);
}

void Transmitter::end(base::Bytes payload, std::uint32_t owner) {
    std::byte* header = arena_.get() + arena_used_;
    reinterpret_cast<wire::Bhs*>(header)->data_segment_length = static_cast<std::uint32_t>(payload.size());
    std::size_t header_bytes = wire::bhs_bytes;
    if (header_digest_) {
        put_digest(header + wire::bhs_bytes, base::crc32c({header, wire::bhs_bytes}));
        header_bytes += wire::digest_bytes;
    }
    append_inline(header_bytes);
    if (payload.empty()) {
        return;
    }
    append(payload.data(), payload.size(), owner);

    std::byte* trailer = arena_.get() + arena_used_;
    std::size_t trailer_bytes = wire::padding_of(payload.size());
    std::memset(trailer, 0, trailer_bytes);
    if (data_digest_) {
        base::Crc32c crc;
        crc.add(payload);
        crc.add({trailer, trailer_bytes});
        put_digest(trailer + trailer_bytes, crc.value());
        trailer_bytes += wire::digest_bytes;
    }
    if (trailer_bytes > 0) {
        append_inline(trailer_bytes);
    }
}

std::span<iovec> Transmitter::gather(std::span<iovec> out) const {
    std::size_t count = std::min(out.size(), last_ - first_);
    for (std::size_t i = 0; i < count; ++i) {
        out[i] = pieces_[first_ + i].memory;
    }
    return out.first(count);
}

void Transmitter::clear() {
    arena_used_ = 0;
    first_ = 0;
    last_ = 0;
    queued_bytes_ = 0;
}

} // namespace iscsi::session

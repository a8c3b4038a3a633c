#include "session/transmitter.hpp"

#include "base/crc32c.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>

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
      pieces_memory_(std::make_unique_for_overwrite<std::byte[]>(pieces_max * sizeof(Piece))),
      pieces_(reinterpret_cast<Piece*>(pieces_memory_.get())) {
    // An array of them would have each of its members set, and so 32 KiB resident in each idle session.
    static_assert(std::is_aggregate_v<Piece> && std::is_trivially_copyable_v<Piece>);
    static_assert(alignof(Piece) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
}

void Transmitter::append(const std::byte* bytes, std::size_t n, std::uint32_t owner) {
    pieces_[last_].memory = {const_cast<std::byte*>(bytes), n};
    pieces_[last_].owner = owner;
    pieces_[last_].registered = {};
    ++last_;
    queued_bytes_ += n;
}

void Transmitter::append_inline(std::size_t n) {
    std::byte* from = arena_.get() + arena_used_;
    arena_used_ += n;
    if (last_ > first_ && pieces_[last_ - 1].owner == no_owner) {
        iovec& previous = pieces_[last_ - 1].memory;
        if (static_cast<std::byte*>(previous.iov_base) + previous.iov_len == from) {
            previous.iov_len += n;
            queued_bytes_ += n;
            return;
        }
    }
    append(from, n, no_owner);
}

void Transmitter::end_header(std::size_t data_bytes) {
    std::byte* header = arena_.get() + arena_used_;
    reinterpret_cast<wire::Bhs*>(header)->data_segment_length = static_cast<std::uint32_t>(data_bytes);
    std::size_t header_bytes = wire::bhs_bytes;
    if (header_digest_) {
        put_digest(header + wire::bhs_bytes, base::crc32c({header, wire::bhs_bytes}));
        header_bytes += wire::digest_bytes;
    }
    append_inline(header_bytes);
}

void Transmitter::end(base::RegisteredSpan payload, std::uint32_t owner) {
    base::check(!data_digest_ && !payload.empty(), "nobody adds up what only the kernel sees");
    end_header(payload.bytes);
    pieces_[last_++] = {{}, owner, payload};
    queued_bytes_ += payload.bytes;
    if (const std::size_t padding = wire::padding_of(payload.bytes); padding > 0) {
        std::memset(arena_.get() + arena_used_, 0, padding);
        append_inline(padding);
    }
}

void Transmitter::end(base::Bytes payload, std::uint32_t owner) {
    end_header(payload.size());
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
    const std::size_t most = std::min(out.size(), last_ - first_);
    std::size_t count = 0;
    while (count < most && pieces_[first_ + count].registered.empty()) {
        out[count] = pieces_[first_ + count].memory;
        ++count;
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

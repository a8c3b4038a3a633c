// Where the parts of one PDU lie on the stream: header, AHS, header digest, data, padding, data digest
// (RFC 7143 sections 11.2 to 11.2.4). Sizes only, nothing is bounded here: whoever allocates or copies checks
// data_bytes against what was negotiated first. Pure functions; any thread.
#pragma once

#include "base/bytes.hpp"
#include "wire/bhs.hpp"
#include "wire/parameters.hpp"

#include <cstddef>
#include <cstdint>

namespace iscsi::wire {

/// A digest is four bytes, CRC32C written little-endian (RFC 7143 section 13.1).
inline constexpr std::size_t digest_bytes = 4;
inline constexpr std::size_t ahs_bytes_max = std::size_t{255} * 4;
/// The longest a header can be with everything that belongs to it.
inline constexpr std::size_t full_header_bytes_max = bhs_bytes + ahs_bytes_max + digest_bytes;

/// The sizes of one PDU's parts, in stream order.
struct Segments {
    std::size_t ahs_bytes = 0;           ///< of all additional header segments
    std::size_t header_digest_bytes = 0; ///< 0 or 4
    std::size_t data_bytes = 0;          ///< the data segment without padding
    std::size_t padding_bytes = 0;       ///< 0 to 3; covered by the data digest
    std::size_t data_digest_bytes = 0;   ///< 0 or 4; 0 when there is no data

    constexpr std::size_t header_end() const { return bhs_bytes + ahs_bytes + header_digest_bytes; }
    constexpr std::size_t data_offset() const { return header_end(); }
    constexpr std::size_t padding_offset() const { return data_offset() + data_bytes; }
    constexpr std::size_t data_digest_offset() const { return padding_offset() + padding_bytes; }
    constexpr std::size_t total() const { return data_digest_offset() + data_digest_bytes; }
    constexpr bool operator==(const Segments&) const = default;
};

constexpr std::size_t padding_of(std::size_t data_bytes) {
    return base::pad4(data_bytes) - data_bytes;
}

/// The layout that `header` announces on a connection with these digests.
constexpr Segments segments_of(const Bhs& header, bool header_digest, bool data_digest) {
    Segments segments;
    segments.ahs_bytes = std::size_t{header.total_ahs_length} * 4;
    segments.header_digest_bytes = header_digest ? digest_bytes : 0;
    segments.data_bytes = header.data_segment_length.get();
    segments.padding_bytes = padding_of(segments.data_bytes);
    segments.data_digest_bytes = data_digest && segments.data_bytes > 0 ? digest_bytes : 0;
    return segments;
}

constexpr Segments segments_of(const Bhs& header, const ConnectionParameters& connection) {
    return segments_of(header, connection.header_digest, connection.data_digest);
}

} // namespace iscsi::wire

// PDUs and the byte stream: takes the stream of the initiator apart, digests checked, and makes that of the
// target, with any damage a script asks for. RFC 7143 sections 11.2 and 13.1. One thread.
#pragma once

#include "scripted/pdu.hpp"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace iscsi::scripted {

struct Digests {
    bool header = false;
    bool data = false;
};

/// A PDU taken from the stream, with what is not in it any more.
struct Arrival {
    Pdu pdu;
    bool header_digest_right = true;
    bool data_digest_right = true;
    bool padding_is_zero = true;
};

/// What happens to a PDU's bytes on their way out.
struct Damage {
    bool header_digest = false;           ///< the digest sent is wrong
    bool data_digest = false;             ///< likewise
    std::optional<std::size_t> flip_data; ///< this byte of the data is inverted after the digest was made
    std::optional<std::size_t> cut;       ///< only so many bytes go out, and nothing ever behind them
    std::vector<std::size_t> pieces;      ///< the stream is delivered up to here, and then the rest
    bool padding = false;                 ///< the padding is not zero
};

/// The stream of the initiator.
class Framer {
public:
    void add(std::span<const std::byte> bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
    /// The next whole PDU.
    std::optional<Arrival> next(const Digests& digests);
    void clear() { bytes_.clear(); }
    /// Bytes of a PDU that is not whole.
    std::size_t rest() const { return bytes_.size(); }

private:
    ByteVector bytes_;
};

/// The bytes of a PDU: lengths that were not set are filled in, it is padded, digests are added.
ByteVector encode(Pdu pdu, const Digests& digests, const Damage& damage = {});

/// The stream to the initiator: bytes, and the places at which one delivery ends.
class OutStream {
public:
    void add(const ByteVector& bytes, const Damage& damage);
    /// What may be delivered at once.
    std::span<const std::byte> pending() const;
    void consumed(std::size_t n);
    bool empty() const { return bytes_.empty(); }
    void clear();

private:
    ByteVector bytes_;
    std::vector<std::size_t> ends_; ///< rising; distances from the front of bytes_
    bool cut_ = false;
};

} // namespace iscsi::scripted

// The sending half of one connection: PDUs ready to go, as one gathered list of memory. Headers, padding and
// digests lie back to back in an arena of its own; payloads stay where they are and are named by the slot of
// the task that owns them until they have left. All of it starts over whenever everything was sent, so
// nothing wraps. Connection-wide; memory is taken in the constructor. One thread (that of the session).
// RFC 7143 section 11.2.
#pragma once

#include "base/bytes.hpp"
#include "base/check.hpp"
#include "base/registered_span.hpp"
#include "wire/bhs.hpp"
#include "wire/parameters.hpp"
#include "wire/segments.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <sys/uio.h>

namespace iscsi::session {

/// No more PDUs are made while this much waits for the socket: what is urgent must not queue behind more.
inline constexpr std::size_t send_queue_bytes_max = std::size_t{1024} * 1024;

class Transmitter {
public:
    explicit Transmitter(const wire::ConnectionParameters& parameters);

    /// One more PDU may be made, so that all of it is shown in `iovecs` pieces.
    bool has_room(std::size_t iovecs) const {
        std::size_t pending = last_ - first_;
        return (pending == 0 || pending + pieces_per_pdu <= iovecs) && last_ + pieces_per_pdu <= pieces_max &&
               arena_used_ + inline_bytes_max <= arena_bytes && queued_bytes_ < send_queue_bytes_max;
    }

    /// A default header in its place; end() follows before anything else. There must be room.
    template <class Pdu>
    Pdu& begin() {
        static_assert(wire::is_header<Pdu>());
        return *new (arena_.get() + arena_used_) Pdu();
    }
    /// Closes the PDU begun last: sets DataSegmentLength, appends the digests and the padding. `payload`
    /// stays in place until done() reports its `owner`.
    void end(base::Bytes payload = {}, std::uint32_t owner = no_owner);
    /// Likewise, for a connection without data digests.
    void end(base::RegisteredSpan payload, std::uint32_t owner);

    /// The pieces not yet sent, from the first on, as many as fit and lie in memory.
    std::span<iovec> gather(std::span<iovec> out) const;
    /// The piece behind the first `behind` that are not yet sent, if it lies in a registered buffer.
    base::RegisteredSpan registered(std::size_t behind) const {
        return first_ + behind < last_ ? pieces_[first_ + behind].registered : base::RegisteredSpan();
    }

    /// `n` bytes were sent; calls `sent(owner)` for each payload that left with them.
    template <class Sent>
    void done(std::size_t n, Sent sent) {
        base::check(n <= queued_bytes_, "no more bytes were sent than were queued");
        queued_bytes_ -= n;
        while (n > 0) {
            Piece& piece = pieces_[first_];
            if (n < piece.size()) {
                piece.advance(n);
                return;
            }
            n -= piece.size();
            std::uint32_t owner = pieces_[first_++].owner;
            if (owner != no_owner) {
                sent(owner);
            }
        }
        if (first_ == last_) {
            clear();
        }
    }

    bool idle() const { return first_ == last_; }
    /// Forgets everything. Nothing may be in flight.
    void clear();

    static constexpr std::uint32_t no_owner = 0xffffffffU;

private:
    struct Piece {
        iovec memory; ///< empty with a registered one
        std::uint32_t owner;
        base::RegisteredSpan registered;

        std::size_t size() const { return memory.iov_len + registered.bytes; }
        void advance(std::size_t n) {
            if (registered.empty()) {
                memory = {static_cast<std::byte*>(memory.iov_base) + n, memory.iov_len - n};
            } else {
                registered.advance(static_cast<std::uint32_t>(n));
            }
        }
    };
    static constexpr std::size_t pieces_per_pdu = 3;
    static constexpr std::size_t pieces_max = 1024;
    static constexpr std::size_t arena_bytes = std::size_t{32} * 1024;
    static constexpr std::size_t inline_bytes_max = wire::bhs_bytes + 2 * wire::digest_bytes + 3;

    void append(const std::byte* bytes, std::size_t n, std::uint32_t owner);
    void append_inline(std::size_t n);
    void end_header(std::size_t data_bytes);

    const bool header_digest_;
    const bool data_digest_;
    std::unique_ptr<std::byte[]> arena_;
    std::unique_ptr<std::byte[]> pieces_memory_;
    Piece* pieces_; ///< in that memory, of which an idle session has touched nothing
    std::size_t arena_used_ = 0;
    std::size_t first_ = 0;
    std::size_t last_ = 0;
    std::size_t queued_bytes_ = 0;
};

} // namespace iscsi::session

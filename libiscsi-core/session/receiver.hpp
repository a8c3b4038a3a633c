// The receiving half of one connection: turns the byte stream into PDUs and says where the next bytes go.
// It owns the staging buffer (taken in the constructor, uninitialised) and lends it to the socket; data of a
// PDU may be placed straight into memory the session names, or handed from staging to a sink. Digests are
// checked over what arrives, wherever it lies; additional header segments are skipped. Connection-wide. One
// thread (that of the session). RFC 7143 sections 11.2 and 7.7.
#pragma once

#include "base/bytes.hpp"
#include "base/crc32c.hpp"
#include "base/data_sink.hpp"
#include "base/engine.hpp"
#include "base/limits.hpp"
#include "base/registered_span.hpp"
#include "base/result.hpp"
#include "session/command.hpp"
#include "wire/bhs.hpp"
#include "wire/parameters.hpp"
#include "wire/segments.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace iscsi::session {

/// The rest of a payload goes to a registered buffer from this size on: it takes a receive of its own.
inline constexpr std::uint32_t registered_bytes_min = 32U * 1024;

/// The rest of a payload goes straight to its place from this size on; below it, one receive into staging and
/// a copy cost less than the shorter batch.
inline constexpr std::size_t direct_bytes_min = 4096;

/// What has arrived of a payload for a sink is rather moved to the front of staging, so that more comes
/// behind it, than handed over by itself up to this size.
inline constexpr std::size_t moved_bytes_max = 8192;

class Receiver {
public:
    enum class Step : std::uint8_t {
        starved, ///< more bytes are needed
        header,  ///< a header is whole and checked; place() may be called
        pdu,     ///< the PDU is whole and checked
    };

    explicit Receiver(const wire::ConnectionParameters& parameters);

    /// `lean`: what comes next is long and has a place of its own, most likely. Then staging takes no more
    /// than its header, because what has been received there has to be copied; unless the target's segments
    /// are short.
    base::RxSpans spans(bool lean = false);
    /// `n` bytes arrived in the last spans().
    void filled(std::size_t n);

    /// After Step::header: there is no data, so Step::pdu would follow at once. Then it is left out, and the
    /// PDU counts as taken.
    bool skip_to_next() {
        bool whole = data_bytes_ == 0;
        stage_ = whole ? Stage::header : stage_;
        return whole;
    }

    /// The next thing the bytes at hand give. Errors: digest (RFC 7143 section 7.7), protocol (a data segment
    /// longer than we declared).
    base::Result<Step> next();

    /// Where the data segment of the header just seen goes; there must be room for all of it. Without this
    /// call its first bytes are kept().
    void place(std::byte* where) {
        target_ = where;
        room_ = rest_;
        placed_ = true;
        placed_bytes_ = data_bytes_;
    }
    /// Likewise: to `sink`, from `offset` on, in as few pieces as staging allows; what has not arrived yet
    /// may go to the same place by way of `registered` (all of the data segment, or empty).
    void place(base::DataSink& sink, std::uint64_t offset, base::RegisteredSpan registered) {
        sink_ = &sink;
        sink_offset_ = offset;
        registered_ = registered;
        placed_bytes_ = data_bytes_;
    }
    /// Of the current data segment, what has not arrived.
    std::size_t missing() const {
        return stage_ == Stage::data && rest_ > available() ? rest_ - available() : 0;
    }

    /// The current PDU, from Step::header until after Step::pdu.
    const wire::Bhs& header() const { return as<wire::Bhs>(); }
    /// The same bytes as the PDU that its opcode says it is.
    template <class Pdu>
    const Pdu& as() const {
        static_assert(wire::is_header<Pdu>());
        return *reinterpret_cast<const Pdu*>(header_.data());
    }
    std::uint32_t data_bytes() const { return data_bytes_; }
    /// The first bytes (at most kept_bytes_max) of a data segment that was not placed.
    base::Bytes kept() const {
        return base::Bytes(kept_).first(data_bytes_ < kept_bytes_max ? data_bytes_ : kept_bytes_max);
    }

    /// Room for the sense data of a response with its length, and for the header in a Reject.
    static constexpr std::size_t kept_bytes_max = 2 + base::limits::sense_bytes_max;

private:
    enum class Stage : std::uint8_t { header, data, trailer };

    std::size_t available() const { return tail_ - head_; }
    std::size_t trailer_bytes() const;
    std::size_t lean_bytes(std::size_t direct) const;
    base::Bytes staged(std::size_t n) const { return {staging_.get() + head_, n}; }
    base::Result<Step> take_header();
    base::Result<void> check_header_digest(const wire::Segments& segments) const;
    void take_data();
    void hand_over(base::Bytes data);
    base::Result<Step> take_trailer();

    const wire::ConnectionParameters parameters_;
    std::unique_ptr<std::byte[]> staging_;
    std::size_t head_ = 0; ///< first byte not yet looked at
    std::size_t tail_ = 0; ///< end of what arrived
    std::size_t direct_offered_ = 0;
    std::size_t staging_offered_ = 0;
    bool registered_offered_ = false;

    Stage stage_ = Stage::header;
    bool placed_ = false;
    std::uint32_t data_bytes_ = 0;
    std::uint32_t placed_bytes_; ///< of the last data segment that was placed; before: what we have declared
    std::uint32_t rest_ = 0;     ///< data bytes still to come
    std::uint32_t room_ = 0;     ///< of them, how many target_ takes
    std::byte* target_ = nullptr;
    base::DataSink* sink_ = nullptr; ///< of this PDU's data; target_ means nothing then
    std::uint64_t sink_offset_ = 0;
    base::RegisteredSpan registered_; ///< where the rest of the data may go beside it
    base::Crc32c crc_;
    alignas(8) std::array<std::byte, wire::bhs_bytes> header_;
    std::array<std::byte, kept_bytes_max> kept_;
};

} // namespace iscsi::session

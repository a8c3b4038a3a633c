// The receiving half of one connection: turns the byte stream into PDUs and says where the next bytes go.
// It owns the staging buffer (taken in the constructor, uninitialised) and lends it to the socket; data of a
// PDU may be placed straight into memory the session names. Digests are checked over what arrives, wherever
// it lies; additional header segments are skipped. Connection-wide. One thread (that of the session).
// RFC 7143 sections 11.2 and 7.7.
#pragma once

#include "base/bytes.hpp"
#include "base/crc32c.hpp"
#include "base/engine.hpp"
#include "base/limits.hpp"
#include "base/result.hpp"
#include "wire/bhs.hpp"
#include "wire/parameters.hpp"
#include "wire/segments.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace iscsi::session {

/// The rest of a payload goes straight to its place from this size on; below it, one receive into staging and
/// a copy cost less than the shorter batch.
inline constexpr std::size_t direct_bytes_min = 4096;

class Receiver {
public:
    enum class Step : std::uint8_t {
        starved, ///< more bytes are needed
        header,  ///< a header is whole and checked; place() may be called
        pdu,     ///< the PDU is whole and checked
    };

    explicit Receiver(const wire::ConnectionParameters& parameters);

    base::RxSpans spans();
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
    base::Bytes staged(std::size_t n) const { return {staging_.get() + head_, n}; }
    base::Result<Step> take_header();
    base::Result<void> check_header_digest(const wire::Segments& segments) const;
    void take_data();
    base::Result<Step> take_trailer();

    const wire::ConnectionParameters parameters_;
    std::unique_ptr<std::byte[]> staging_;
    std::size_t head_ = 0; ///< first byte not yet looked at
    std::size_t tail_ = 0; ///< end of what arrived
    std::size_t direct_offered_ = 0;

    Stage stage_ = Stage::header;
    bool placed_ = false;
    std::uint32_t data_bytes_ = 0;
    std::uint32_t rest_ = 0; ///< data bytes still to come
    std::uint32_t room_ = 0; ///< of them, how many target_ takes
    std::byte* target_ = nullptr;
    base::Crc32c crc_;
    alignas(8) std::array<std::byte, wire::bhs_bytes> header_;
    std::array<std::byte, kept_bytes_max> kept_;
};

} // namespace iscsi::session

#include "session/receiver.hpp"

#include "base/check.hpp"
#include "wire/segments.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

namespace iscsi::session {
namespace {

/// A digest as it stands on the wire: little-endian (RFC 7143 section 13.1).
std::uint32_t digest_at(const std::byte* bytes) {
    std::uint32_t value = 0;
    for (unsigned i = 0; i < wire::digest_bytes; ++i) {
        value |= std::to_integer<std::uint32_t>(bytes[i]) << (8 * i);
    }
    return value;
}

} // namespace

Receiver::Receiver(const wire::ConnectionParameters& parameters)
    : parameters_(parameters),
      staging_(std::make_unique_for_overwrite<std::byte[]>(base::limits::staging_bytes)),
      placed_bytes_(parameters.max_recv_data_segment_bytes) {
    static_assert(base::limits::staging_bytes >= 2 * wire::full_header_bytes_max);
}

/// Behind the data of the current PDU.
std::size_t Receiver::trailer_bytes() const {
    if (data_bytes_ == 0) {
        return 0;
    }
    return wire::padding_of(data_bytes_) + (parameters_.data_digest ? wire::digest_bytes : 0);
}

/// What is missing of the current PDU but for the `direct` bytes, and the next header.
std::size_t Receiver::lean_bytes(std::size_t direct) const {
    const std::size_t header = wire::bhs_bytes + (parameters_.header_digest ? wire::digest_bytes : 0);
    const std::size_t wanted = header + (stage_ == Stage::header ? 0 : rest_ - direct + trailer_bytes());
    return wanted > available() ? wanted - available() : base::limits::staging_bytes;
}

base::RxSpans Receiver::spans(bool lean) {
    if (head_ != 0 && (stage_ != Stage::data || available() <= moved_bytes_max)) {
        // What is left is less than a header or a trailer, or few data for a sink; more of them stay.
        std::memmove(staging_.get(), staging_.get() + head_, available());
        tail_ -= head_;
        head_ = 0;
    }
    base::RxSpans spans;
    registered_offered_ =
        stage_ == Stage::data && available() == 0 && rest_ >= registered_bytes_min && !registered_.empty();
    if (registered_offered_) {
        spans.registered = registered_;
        return spans;
    }
    bool direct = stage_ == Stage::data && placed_ && rest_ >= direct_bytes_min;
    direct_offered_ = direct ? rest_ : 0;
    spans.direct = {target_, direct_offered_};
    std::size_t room = base::limits::staging_bytes - tail_;
    if (lean && placed_bytes_ >= long_segment_bytes_min) {
        room = std::min(room, lean_bytes(direct_offered_));
    }
    staging_offered_ = room;
    spans.staging = {staging_.get() + tail_, room};
    return spans;
}

void Receiver::filled(std::size_t n) {
    if (registered_offered_) {
        base::check(n <= rest_, "no more bytes arrive than were asked for");
        registered_offered_ = false;
        registered_.advance(static_cast<std::uint32_t>(n));
        sink_offset_ += n;
        rest_ -= static_cast<std::uint32_t>(n);
        return;
    }
    std::size_t direct = std::min(n, direct_offered_);
    base::check(n - direct <= staging_offered_, "no more bytes arrive than were asked for");
    if (direct > 0) {
        if (parameters_.data_digest) {
            crc_.add({target_, direct});
        }
        target_ += direct;
        rest_ -= static_cast<std::uint32_t>(direct);
        room_ = rest_;
    }
    direct_offered_ = 0;
    staging_offered_ = 0;
    tail_ += n - direct;
}

base::Result<Receiver::Step> Receiver::next() {
    if (stage_ == Stage::header) {
        return take_header();
    }
    if (stage_ == Stage::data) {
        take_data();
        if (rest_ > 0) {
            return Step::starved;
        }
        stage_ = Stage::trailer;
    }
    return take_trailer();
}

base::Result<Receiver::Step> Receiver::take_header() {
    if (available() < wire::bhs_bytes) {
        return Step::starved;
    }
    std::memcpy(header_.data(), staging_.get() + head_, wire::bhs_bytes);
    wire::Segments segments = wire::segments_of(header(), parameters_);
    if (available() < segments.header_end()) {
        return Step::starved;
    }
    if (parameters_.header_digest) {
        if (base::Result<void> checked = check_header_digest(segments); !checked) [[unlikely]] {
            return base::fail(std::move(checked.error()));
        }
    }
    if (segments.data_bytes > parameters_.max_recv_data_segment_bytes) [[unlikely]] {
        return base::fail(base::Errc::protocol,
                          fmt::format("DataSegmentLength {} is above our MaxRecvDataSegmentLength {}",
                                      segments.data_bytes, parameters_.max_recv_data_segment_bytes));
    }
    head_ += segments.header_end();
    data_bytes_ = static_cast<std::uint32_t>(segments.data_bytes);
    rest_ = data_bytes_;
    target_ = kept_.data();
    room_ = static_cast<std::uint32_t>(std::min<std::size_t>(rest_, kept_.size()));
    placed_ = false;
    sink_ = nullptr;
    registered_ = {};
    crc_.reset();
    stage_ = rest_ > 0 ? Stage::data : Stage::trailer;
    return Step::header;
}

base::Result<void> Receiver::check_header_digest(const wire::Segments& segments) const {
    std::size_t covered = wire::bhs_bytes + segments.ahs_bytes;
    std::uint32_t computed = base::crc32c(staged(covered));
    std::uint32_t received = digest_at(staging_.get() + head_ + covered);
    if (computed != received) {
        return base::fail(base::Errc::digest,
                          fmt::format("header digest 0x{:08x} does not match 0x{:08x}", received, computed));
    }
    return {};
}

void Receiver::take_data() {
    auto n = static_cast<std::uint32_t>(std::min<std::size_t>(rest_, available()));
    if (n == 0) {
        return;
    }
    const bool into_buffer = !registered_.empty() && rest_ - n >= registered_bytes_min;
    const bool has_room = tail_ < base::limits::staging_bytes || n <= moved_bytes_max;
    if (sink_ != nullptr && !into_buffer && n < rest_ && has_room) {
        return; // a piece for the sink costs more than its bytes: there is room for more of it
    }
    hand_over(staged(n));
    head_ += n;
    rest_ -= n;
}

void Receiver::hand_over(base::Bytes data) {
    if (sink_ != nullptr) {
        if (parameters_.data_digest) {
            crc_.add(data);
        }
        sink_->put(sink_offset_, data);
        sink_offset_ += data.size();
        if (!registered_.empty()) {
            registered_.advance(static_cast<std::uint32_t>(data.size()));
        }
        return;
    }
    const base::Bytes copied = data.first(std::min<std::size_t>(data.size(), room_));
    if (parameters_.data_digest) {
        crc_.copy(target_, copied);
        crc_.add(data.subspan(copied.size()));
    } else {
        std::memcpy(target_, copied.data(), copied.size());
    }
    target_ += copied.size();
    room_ -= static_cast<std::uint32_t>(copied.size());
}

base::Result<Receiver::Step> Receiver::take_trailer() {
    if (data_bytes_ > 0) {
        std::size_t padding = wire::padding_of(data_bytes_);
        std::size_t trailer = trailer_bytes();
        if (available() < trailer) {
            return Step::starved;
        }
        if (parameters_.data_digest) {
            crc_.add(staged(padding));
            std::uint32_t received = digest_at(staging_.get() + head_ + padding);
            if (crc_.value() != received) {
                return base::fail(
                    base::Errc::digest,
                    fmt::format("data digest 0x{:08x} does not match 0x{:08x}", received, crc_.value()));
            }
        }
        head_ += trailer;
    }
    stage_ = Stage::header;
    return Step::pdu;
}

} // namespace iscsi::session

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
      staging_(std::make_unique_for_overwrite<std::byte[]>(base::limits::staging_bytes)) {
    static_assert(base::limits::staging_bytes >= 2 * wire::full_header_bytes_max);
}

base::RxSpans Receiver::spans() {
    if (head_ != 0) {
        // What is left is less than a header or a trailer.
        std::memmove(staging_.get(), staging_.get() + head_, available());
        tail_ -= head_;
        head_ = 0;
    }
    base::RxSpans spans;
    bool direct = stage_ == Stage::data && placed_ && rest_ >= direct_bytes_min;
    direct_offered_ = direct ? rest_ : 0;
    spans.direct = {target_, direct_offered_};
    spans.staging = {staging_.get() + tail_, base::limits::staging_bytes - tail_};
    return spans;
}

void Receiver::filled(std::size_t n) {
    std::size_t direct = std::min(n, direct_offered_);
    base::check(n - direct <= base::limits::staging_bytes - tail_,
                "no more bytes arrive than were asked for");
    if (direct > 0) {
        if (parameters_.data_digest) {
            crc_.add({target_, direct});
        }
        target_ += direct;
        rest_ -= static_cast<std::uint32_t>(direct);
        room_ = rest_;
    }
    direct_offered_ = 0;
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
    std::uint32_t copied = std::min(n, room_);
    if (copied > 0) {
        std::memcpy(target_, staging_.get() + head_, copied);
        target_ += copied;
        room_ -= copied;
    }
    if (parameters_.data_digest) {
        crc_.add(staged(n));
    }
    head_ += n;
    rest_ -= n;
}

base::Result<Receiver::Step> Receiver::take_trailer() {
    if (data_bytes_ > 0) {
        std::size_t padding = wire::padding_of(data_bytes_);
        std::size_t trailer = padding + (parameters_.data_digest ? wire::digest_bytes : 0);
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

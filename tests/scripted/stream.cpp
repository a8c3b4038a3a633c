#include "scripted/stream.hpp"

#include "scripted/crc.hpp"

#include <algorithm>

namespace iscsi::scripted {
namespace {

constexpr std::size_t digest_bytes = 4;

std::size_t padding_of(std::size_t bytes) {
    return (4 - bytes % 4) % 4;
}

bool matches(std::span<const std::byte> covered, std::span<const std::byte> digest) {
    return std::ranges::equal(digest_of(covered), digest);
}

void append(ByteVector& to, std::span<const std::byte> bytes) {
    to.insert(to.end(), bytes.begin(), bytes.end());
}

void append_digest(ByteVector& to, std::span<const std::byte> covered, bool wrong) {
    std::array<std::byte, digest_bytes> digest = digest_of(covered);
    if (wrong) {
        digest[1] ^= std::byte{0x40};
    }
    append(to, digest);
}

} // namespace

std::optional<Arrival> Framer::next(const Digests& digests) {
    if (bytes_.size() < header_bytes) {
        return std::nullopt;
    }
    std::span<const std::byte> all(bytes_);
    Arrival arrival{Pdu::received(all.first<header_bytes>())};
    std::size_t ahs = arrival.pdu.get(field::ahs_words) * 4;
    std::size_t data = arrival.pdu.get(field::data_length);
    std::size_t header_end = header_bytes + ahs;
    std::size_t data_begin = header_end + (digests.header ? digest_bytes : 0);
    std::size_t data_end = data_begin + data + padding_of(data);
    std::size_t end = data_end + (digests.data && data > 0 ? digest_bytes : 0);
    if (bytes_.size() < end) {
        return std::nullopt;
    }
    arrival.pdu.ahs.assign(all.begin() + header_bytes, all.begin() + static_cast<long>(header_end));
    std::span<const std::byte> segment = all.subspan(data_begin, data_end - data_begin);
    arrival.pdu.data.assign(segment.begin(), segment.begin() + static_cast<long>(data));
    arrival.padding_is_zero =
        std::ranges::all_of(segment.subspan(data), [](std::byte byte) { return byte == std::byte{0}; });
    if (digests.header) {
        arrival.header_digest_right = matches(all.first(header_end), all.subspan(header_end, digest_bytes));
    }
    if (digests.data && data > 0) {
        arrival.data_digest_right = matches(segment, all.subspan(data_end, digest_bytes));
    }
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<long>(end));
    return arrival;
}

ByteVector encode(Pdu pdu, const Digests& digests, const Damage& damage) {
    pdu.fill(field::data_length, pdu.data.size());
    pdu.fill(field::ahs_words, pdu.ahs.size() / 4);
    ByteVector bytes(pdu.header().begin(), pdu.header().end());
    append(bytes, pdu.ahs);
    if (digests.header) {
        append_digest(bytes, ByteVector(bytes), damage.header_digest);
    }
    if (pdu.data.empty()) {
        return bytes;
    }
    ByteVector segment = pdu.data;
    segment.resize(segment.size() + padding_of(segment.size()),
                   damage.padding ? std::byte{0x5a} : std::byte{0});
    ByteVector covered = segment;
    if (damage.flip_data) {
        segment.at(*damage.flip_data) ^= std::byte{0xff};
    }
    append(bytes, segment);
    if (digests.data) {
        append_digest(bytes, covered, damage.data_digest);
    }
    return bytes;
}

void OutStream::add(const ByteVector& bytes, const Damage& damage) {
    if (cut_) {
        return;
    }
    for (std::size_t at : damage.pieces) {
        ends_.push_back(bytes_.size() + std::min(at, bytes.size()));
    }
    std::size_t kept = std::min(damage.cut.value_or(bytes.size()), bytes.size());
    cut_ = damage.cut.has_value();
    append(bytes_, std::span(bytes).first(kept));
}

std::span<const std::byte> OutStream::pending() const {
    return std::span(bytes_).first(ends_.empty() ? bytes_.size() : std::min(ends_.front(), bytes_.size()));
}

void OutStream::consumed(std::size_t n) {
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<long>(n));
    std::erase_if(ends_, [n](std::size_t end) { return end <= n; });
    for (std::size_t& end : ends_) {
        end -= n;
    }
}

void OutStream::clear() {
    bytes_.clear();
    ends_.clear();
    cut_ = false;
}

} // namespace iscsi::scripted

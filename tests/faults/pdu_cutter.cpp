#include "faults/pdu_cutter.hpp"

#include <string_view>

namespace iscsi::faults {
namespace {

constexpr std::size_t header_bytes = 48, digest_bytes = 4;
constexpr std::size_t total_ahs_length_at = 4, data_length_at = 5, status_class_at = 36;
constexpr std::uint8_t login_response = 0x23, transit = 0x80, next_stage_mask = 0x03, full_feature = 0x03;

std::size_t digest_length(bool there) {
    return there ? digest_bytes : 0;
}

/// Whether the last answer to `key` in a login's text is CRC32C.
bool agreed(std::string_view text, std::string_view key) {
    const std::size_t at = text.rfind(key);
    return at != text.npos && text.substr(at + key.size()).starts_with(std::string_view("CRC32C\0", 7));
}

} // namespace

base::MutableBytes Pdu::region(Region region) {
    const std::size_t padded = base::pad4(data_bytes);
    const std::size_t header_end = header_bytes + additional_bytes;
    const std::size_t data_at = header_end + digest_length(digests.header);
    const base::MutableBytes all(bytes);
    switch (region) {
    case Region::header:
        return all.first(header_bytes);
    case Region::additional:
        return all.subspan(header_bytes, additional_bytes);
    case Region::header_digest:
        return all.subspan(header_end, digest_length(digests.header));
    case Region::data:
        return all.subspan(data_at, data_bytes);
    case Region::padding:
        return all.subspan(data_at + data_bytes, padded - data_bytes);
    case Region::data_digest:
        return all.subspan(data_at + padded, digest_length(digests.data && data_bytes > 0));
    }
    return {};
}

std::optional<Pdu> PduCutter::next() {
    const base::Bytes rest = this->rest();
    const auto byte = [&rest](std::size_t at) { return std::to_integer<std::size_t>(rest[at]); };
    if (rest.size() >= header_bytes) {
        Pdu pdu;
        pdu.additional_bytes = byte(total_ahs_length_at) * 4;
        pdu.data_bytes =
            byte(data_length_at) << 16 | byte(data_length_at + 1) << 8 | byte(data_length_at + 2);
        pdu.digests = digests_;
        const std::size_t length = header_bytes + pdu.additional_bytes + digest_length(digests_.header) +
                                   base::pad4(pdu.data_bytes) +
                                   digest_length(digests_.data && pdu.data_bytes > 0);
        if (rest.size() >= length) {
            pdu.bytes.assign(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(length));
            at_ += length;
            return pdu;
        }
    }
    // Only now, so that many PDUs of one receive do not move the rest each.
    rest_.erase(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(at_));
    at_ = 0;
    return std::nullopt;
}

void LoginReader::from_target(const Pdu& pdu, Digests& digests) {
    if (pdu.opcode() != login_response) {
        return;
    }
    Pdu copy = pdu;
    text_ += base::text_of(copy.region(Region::data));
    const std::uint8_t flags = pdu.byte(1);
    if ((flags & transit) != 0 && (flags & next_stage_mask) == full_feature &&
        pdu.byte(status_class_at) == 0) {
        digests = {agreed(text_, "HeaderDigest="), agreed(text_, "DataDigest=")};
        text_.clear();
    }
}

} // namespace iscsi::faults

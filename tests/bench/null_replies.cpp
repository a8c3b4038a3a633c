#include "bench/null_replies.hpp"

#include "base/crc32c.hpp"
#include "bench/null_negotiation.hpp"

#include <algorithm>
#include <cstring>

namespace iscsi::bench {
namespace {

alignas(4096) const std::array<std::byte, null_target_segment_bytes_max> zeros{};

std::array<std::byte, 4> digest_bytes(std::uint32_t crc) {
    return {static_cast<std::byte>(crc), static_cast<std::byte>(crc >> 8), static_cast<std::byte>(crc >> 16),
            static_cast<std::byte>(crc >> 24)};
}

} // namespace

void ReplyBatch::set_digests(bool header, bool data) {
    header_digest_ = header;
    data_digest_ = data;
}

void ReplyBatch::clear() {
    used_ = 0;
    copies_.clear();
    pieces_.clear();
}

void ReplyBatch::add_piece(const std::byte* begin, std::size_t size) {
    pieces_.push_back({.iov_base = const_cast<std::byte*>(begin), .iov_len = size});
}

void ReplyBatch::add_header(base::Bytes header) {
    if (used_ == slots_.size()) {
        slots_.emplace_back();
    }
    Slot& slot = slots_[used_++];
    std::memcpy(slot.header.data(), header.data(), wire::bhs_bytes);
    std::size_t size = wire::bhs_bytes;
    if (header_digest_) {
        auto digest = digest_bytes(base::crc32c(header));
        std::memcpy(slot.header.data() + size, digest.data(), digest.size());
        size += digest.size();
    }
    add_piece(slot.header.data(), size);
}

void ReplyBatch::add_data_digest(std::uint32_t crc) {
    Slot& slot = slots_[used_ - 1];
    slot.data_digest = digest_bytes(crc);
    add_piece(slot.data_digest.data(), slot.data_digest.size());
}

void ReplyBatch::add_copy(base::Bytes data) {
    if (data.empty()) {
        return;
    }
    std::vector<std::byte>& copy = copies_.emplace_back(data.begin(), data.end());
    copy.resize(base::pad4(copy.size()));
    add_piece(copy.data(), copy.size());
    if (data_digest_) {
        add_data_digest(base::crc32c(copy));
    }
}

void ReplyBatch::add_zeros(std::uint32_t count) {
    std::size_t padded = base::pad4(count);
    base::check(padded <= zeros.size(), "a data segment of zeros is as long as was declared at most");
    if (count == 0) {
        return;
    }
    add_piece(zeros.data(), padded);
    if (!data_digest_) {
        return;
    }
    if (zeros_crc_of_ != count) {
        zeros_crc_of_ = count;
        zeros_crc_ = base::crc32c(base::Bytes(zeros).first(padded));
    }
    add_data_digest(zeros_crc_);
}

} // namespace iscsi::bench

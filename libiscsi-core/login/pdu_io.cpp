#include "login/pdu_io.hpp"

#include "base/check.hpp"
#include "wire/describe.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

namespace iscsi::login {

bool PduReader::complete() const {
    return filled_ == wire::bhs_bytes + body_.size();
}

base::RxSpans PduReader::spans() {
    if (filled_ < wire::bhs_bytes) {
        return {std::as_writable_bytes(std::span(&header_, 1)).subspan(filled_), {}};
    }
    return {base::MutableBytes(body_).subspan(filled_ - wire::bhs_bytes), {}};
}

base::Result<bool> PduReader::done(std::size_t n) {
    base::check(n <= spans().direct.size(), "more bytes than there was room for");
    filled_ += n;
    if (filled_ != wire::bhs_bytes) {
        return filled_ > wire::bhs_bytes && complete();
    }
    std::size_t data_bytes = header_.data_segment_length.get();
    if (header_.total_ahs_length != 0 || data_bytes > data_bytes_max_) {
        return base::fail(base::Errc::protocol,
                          fmt::format("a PDU with {} bytes of data where {} are allowed: {}", data_bytes,
                                      data_bytes_max_, wire::describe(header_)));
    }
    body_.resize(base::pad4(data_bytes));
    return complete();
}

base::Bytes PduReader::data() const {
    return base::Bytes(body_).first(header_.data_segment_length.get());
}

void PduReader::next() {
    filled_ = 0;
    body_.clear();
}

void PduSender::queue(wire::Bhs header, base::Bytes data) {
    header.data_segment_length = static_cast<std::uint32_t>(data.size());
    std::vector<std::byte> pdu(wire::bhs_bytes + base::pad4(data.size()));
    std::memcpy(pdu.data(), &header, wire::bhs_bytes);
    if (!data.empty()) {
        std::memcpy(pdu.data() + wire::bhs_bytes, data.data(), data.size());
    }
    pdus_.push_back(std::move(pdu));
    unseen_ = true;
}

std::span<iovec> PduSender::spans(std::span<iovec> out) {
    std::size_t count = std::min(out.size(), pdus_.size());
    for (std::size_t i = 0; i < count; ++i) {
        std::size_t skip = i == 0 ? sent_ : 0;
        out[i] = {pdus_[i].data() + skip, pdus_[i].size() - skip};
    }
    unseen_ = count < pdus_.size();
    return out.first(count);
}

void PduSender::done(std::size_t n) {
    sent_ += n;
    while (!pdus_.empty() && sent_ >= pdus_.front().size()) {
        sent_ -= pdus_.front().size();
        pdus_.pop_front();
    }
    base::check(!pdus_.empty() || sent_ == 0, "more bytes sent than there were");
}

} // namespace iscsi::login

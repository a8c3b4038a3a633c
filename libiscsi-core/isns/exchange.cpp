#include "isns/exchange.hpp"

#include "base/check.hpp"
#include "base/limits.hpp"

#include <algorithm>
#include <utility>

namespace iscsi::isns {

using base::Errc;
using base::Result;

Exchange::Exchange(std::string node, base::Duration answer_timeout)
    : node_(std::move(node)), answer_timeout_(answer_timeout), reader_(base::limits::isns_message_bytes_max) {
}

void Exchange::ask(Message request, base::TimePoint now) {
    base::check(!waiting_, "one request at a time");
    request.transaction = ++transaction_;
    function_ = static_cast<std::uint16_t>(request.function | response_bit);
    sending_.push_back(encode(request));
    answer_ = {};
    unasked_ = 0;
    deadline_ = now + answer_timeout_;
    waiting_ = true;
}

base::RxSpans Exchange::rx_spans() {
    return waiting_ ? reader_.spans() : base::RxSpans{};
}

Result<void> Exchange::rx_done(std::size_t n, base::TimePoint) {
    Result<bool> complete = reader_.done(n);
    if (!complete) {
        return base::fail(std::move(complete.error()));
    }
    if (!*complete) {
        return {};
    }
    Result<void> handled = on_message();
    reader_.next();
    return handled;
}

Result<void> Exchange::on_message() {
    const Message& message = reader_.message();
    if (message.function == function_ && message.transaction == transaction_) {
        answer_ = message;
        waiting_ = false;
        return {};
    }
    if (++unasked_ > base::limits::isns_unasked_max) {
        return base::fail(Errc::protocol, "the iSNS server says everything but the answer");
    }
    Result<Reaction> reaction = react(message, node_);
    if (!reaction) {
        return base::fail(std::move(reaction.error()));
    }
    changed_ = changed_ || reaction->unasked.changed;
    sending_.push_back(encode(reaction->answer));
    return {};
}

std::span<iovec> Exchange::tx_spans(std::span<iovec> out) {
    const std::size_t count = std::min(out.size(), sending_.size());
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t skip = i == 0 ? sent_ : 0;
        out[i] = {sending_[i].data() + skip, sending_[i].size() - skip};
    }
    return out.first(count);
}

void Exchange::tx_done(std::size_t n) {
    sent_ += n;
    while (!sending_.empty() && sent_ >= sending_.front().size()) {
        sent_ -= sending_.front().size();
        sending_.pop_front();
    }
    base::check(!sending_.empty() || sent_ == 0, "more bytes sent than there were");
}

base::Deadline Exchange::deadline() const {
    return finished() ? base::Deadline() : base::Deadline(deadline_);
}

Result<void> Exchange::at(base::TimePoint now) {
    if (!base::is_due(deadline(), now)) {
        return {};
    }
    return base::fail(Errc::pdu_timeout, "the iSNS server did not answer in time");
}

} // namespace iscsi::isns

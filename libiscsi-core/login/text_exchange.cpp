#include "login/text_exchange.hpp"

#include "base/check.hpp"
#include "base/limits.hpp"
#include "wire/describe.hpp"
#include "wire/keys.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace iscsi::login {
namespace {

using base::Errc;
using base::Result;

constexpr std::uint32_t text_itt = 1;
constexpr std::uint32_t logout_itt = 2;
/// What we hold ready for a peer that sends faster than it reads.
constexpr std::size_t queued_pdus_max = 64;

tl::unexpected<base::Error> broken(std::string_view what, const wire::Bhs& header) {
    return base::fail(Errc::protocol, fmt::format("{} during discovery: {}", what, wire::describe(header)));
}

} // namespace

TextExchange::TextExchange(TextExchangeConfig config)
    : config_(std::move(config)), reader_(config_.connection.max_recv_data_segment_bytes),
      exp_stat_sn_(config_.numbers.exp_stat_sn), deadline_(config_.now + config_.exchange_timeout) {
    base::check(!config_.connection.header_digest && !config_.connection.data_digest,
                "a discovery session has no digests");
    wire::KeyWriter keys(config_.connection.max_xmit_data_segment_bytes);
    bool sayable = keys.add("SendTargets", std::string_view(config_.send_targets)).has_value();
    base::check(sayable, "a SendTargets value that cannot be sent");
    ask(keys.bytes(), base::reserved_tag, 0);
}

base::RxSpans TextExchange::rx_spans() {
    return finished() ? base::RxSpans{} : reader_.spans();
}

Result<void> TextExchange::rx_done(std::size_t n, base::TimePoint now) {
    Result<bool> complete = reader_.done(n);
    if (!complete) {
        return base::fail(complete.error());
    }
    if (!*complete) {
        return {};
    }
    if (sender_.queued() > queued_pdus_max) {
        return broken("more PDUs than the target reads answers", reader_.header());
    }
    Result<void> handled = on_pdu(now);
    reader_.next();
    return handled;
}

std::span<iovec> TextExchange::tx_spans(std::span<iovec> out) {
    return sender_.spans(out);
}

void TextExchange::tx_done(std::size_t n) {
    sender_.done(n);
}

base::Deadline TextExchange::deadline() const {
    return finished() ? base::Deadline() : base::Deadline(deadline_);
}

Result<void> TextExchange::at(base::TimePoint now) {
    if (!base::is_due(deadline(), now)) {
        return {};
    }
    std::string_view what = state_ == State::asking ? "SendTargets" : "the logout";
    return base::fail(Errc::pdu_timeout, fmt::format("the target did not answer {} in time", what));
}

Result<void> TextExchange::on_pdu(base::TimePoint now) {
    const wire::Bhs& header = reader_.header();
    switch (header.opcode()) {
    case wire::Opcode::text_response:
        return on_text_response(now);
    case wire::Opcode::nop_in:
        return on_nop_in();
    case wire::Opcode::async_message:
        return on_async_message();
    case wire::Opcode::logout_response:
        return on_logout_response();
    case wire::Opcode::reject:
        return broken("the target rejected a request", header);
    default:
        return broken("an unexpected PDU", header);
    }
}

// Responses come in order on the one connection, so the number after the latest is what is expected next.
void TextExchange::acknowledge(std::uint32_t stat_sn) {
    exp_stat_sn_ = base::StatSn(stat_sn) + 1;
}

Result<void> TextExchange::check_text_response(const wire::TextResponse& response) const {
    bool is_final = (response.flags & wire::final_bit) != 0;
    bool continues = (response.flags & wire::text_flag::continues) != 0;
    bool tagged = response.ttt != base::reserved_tag;
    bool expected = state_ == State::asking && response.itt == text_itt;
    if (!expected || is_final == tagged || (is_final && continues)) {
        return broken("a Text Response that breaks the exchange", reader_.header());
    }
    return {};
}

Result<void> TextExchange::on_text_response(base::TimePoint now) {
    auto response = reader_.as<wire::TextResponse>();
    if (Result<void> checked = check_text_response(response); !checked) {
        return checked;
    }
    acknowledge(response.stat_sn);
    base::Bytes data = reader_.data();
    if (text_.size() + data.size() > base::limits::send_targets_bytes_max) {
        return broken("more text than is bearable", reader_.header());
    }
    text_ += base::text_of(data);
    if ((response.flags & wire::final_bit) != 0) {
        log_out(now);
        return {};
    }
    empty_answers_ = data.empty() ? empty_answers_ + 1 : 0;
    if (empty_answers_ > base::limits::login_exchanges_max) {
        return broken("answer after answer without text", reader_.header());
    }
    deadline_ = now + config_.exchange_timeout;
    ask({}, response.ttt, response.lun);
    return {};
}

Result<void> TextExchange::on_nop_in() {
    auto ping = reader_.as<wire::NopIn>();
    if (ping.itt != base::reserved_tag) {
        return broken("an answer to a ping that was not sent", reader_.header());
    }
    if (ping.ttt == base::reserved_tag) {
        return {};
    }
    wire::NopOut pong;
    pong.opcode_byte = wire::opcode_byte(wire::Opcode::nop_out, true);
    pong.lun = ping.lun;
    pong.ttt = ping.ttt;
    pong.cmd_sn = config_.numbers.cmd_sn.value();
    pong.exp_stat_sn = exp_stat_sn_.value();
    base::Bytes data = reader_.data();
    std::size_t echoed = std::min<std::size_t>(data.size(), config_.connection.max_xmit_data_segment_bytes);
    sender_.queue(wire::generic(pong), data.first(echoed));
    return {};
}

Result<void> TextExchange::on_async_message() {
    auto message = reader_.as<wire::AsyncMessage>();
    acknowledge(message.stat_sn);
    auto event = static_cast<wire::AsyncEvent>(message.async_event);
    if (event == wire::AsyncEvent::connection_drop || event == wire::AsyncEvent::session_drop) {
        return base::fail(Errc::disconnected, std::string(wire::text(event)));
    }
    return {};
}

Result<void> TextExchange::on_logout_response() {
    auto response = reader_.as<wire::LogoutResponse>();
    if (state_ != State::logging_out || response.itt != logout_itt) {
        return broken("a Logout Response that nobody asked for", reader_.header());
    }
    acknowledge(response.stat_sn);
    state_ = State::finished;
    return {};
}

// All requests are immediate, so that neither the command window nor CmdSN has a part in this.
void TextExchange::ask(base::Bytes text, std::uint32_t ttt, std::uint64_t lun) {
    wire::TextRequest request;
    request.opcode_byte = wire::opcode_byte(wire::Opcode::text_request, true);
    request.flags = wire::final_bit;
    request.lun = lun;
    request.itt = text_itt;
    request.ttt = ttt;
    request.cmd_sn = config_.numbers.cmd_sn.value();
    request.exp_stat_sn = exp_stat_sn_.value();
    sender_.queue(wire::generic(request), text);
}

void TextExchange::log_out(base::TimePoint now) {
    wire::LogoutRequest request;
    request.opcode_byte = wire::opcode_byte(wire::Opcode::logout_request, true);
    request.flags =
        static_cast<std::uint8_t>(wire::final_bit | static_cast<unsigned>(wire::LogoutReason::close_session));
    request.itt = logout_itt;
    request.cid = config_.cid.value();
    request.cmd_sn = config_.numbers.cmd_sn.value();
    request.exp_stat_sn = exp_stat_sn_.value();
    sender_.queue(wire::generic(request), {});
    state_ = State::logging_out;
    deadline_ = now + config_.exchange_timeout;
}

} // namespace iscsi::login

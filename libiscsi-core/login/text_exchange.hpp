// The rest of a discovery session, once Login has finished on the connection: SendTargets, its answer over
// any number of PDUs, and the logout (RFC 7143 sections 4.3, 11.10, 11.11, 11.14). Answers pings, tolerates
// asynchronous messages. No digests. Owns its buffers; one thread.
#pragma once

#include "base/engine.hpp"
#include "base/units.hpp"
#include "login/pdu_io.hpp"
#include "wire/bhs.hpp"
#include "wire/parameters.hpp"

#include <cstdint>
#include <string>

namespace iscsi::login {

struct TextExchangeConfig {
    wire::ConnectionParameters connection; ///< of the login; without digests
    wire::SequenceNumbers numbers;         ///< of the login
    base::Cid cid;
    std::string send_targets = "All";                           ///< value of SendTargets
    base::Duration exchange_timeout = std::chrono::seconds(30); ///< for the answer to each request
    base::TimePoint now;                                        ///< when the first exchange begins
};

/// Failures: pdu_timeout, protocol (also a Reject), disconnected (the target announced that it drops us).
class TextExchange final : public base::Engine {
public:
    explicit TextExchange(TextExchangeConfig config);

    base::RxSpans rx_spans() override;
    base::Result<void> rx_done(std::size_t n, base::TimePoint now) override;
    std::span<iovec> tx_spans(std::span<iovec> out) override;
    void tx_done(std::size_t n) override;
    base::Deadline deadline() const override;
    base::Result<void> at(base::TimePoint now) override;

    /// The whole answer is there, even if the logout is not: text() is valid, and a connection that ends now
    /// lost nothing.
    bool text_complete() const { return state_ != State::asking; }
    /// Logged out; the connection can be closed.
    bool finished() const { return state_ == State::finished; }
    /// The key text of the answer, for parse_targets.
    const std::string& text() const { return text_; }

private:
    enum class State : std::uint8_t { asking, logging_out, finished };

    base::Result<void> on_pdu(base::TimePoint now);
    base::Result<void> on_text_response(base::TimePoint now);
    base::Result<void> check_text_response(const wire::TextResponse& response) const;
    base::Result<void> on_nop_in();
    base::Result<void> on_async_message();
    base::Result<void> on_logout_response();
    void ask(base::Bytes text, std::uint32_t ttt, std::uint64_t lun);
    void log_out(base::TimePoint now);
    void acknowledge(std::uint32_t stat_sn);

    TextExchangeConfig config_;
    State state_ = State::asking;
    PduReader reader_;
    PduSender sender_;
    std::string text_;
    std::size_t empty_answers_ = 0;
    base::StatSn exp_stat_sn_;
    base::TimePoint deadline_;
};

} // namespace iscsi::login

// A client's side of a connection to an iSNS server (RFC 4171 section 2.9.1): one request after the other,
// and what the server says in between is answered. Owns its buffers; one thread.
#pragma once

#include "base/engine.hpp"
#include "isns/message.hpp"
#include "isns/requests.hpp"

#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

namespace iscsi::isns {

/// Failures: pdu_timeout, protocol.
class Exchange final : public base::Engine {
public:
    /// `node`: our iSCSI name. Each answer may take `answer_timeout`.
    Exchange(std::string node, base::Duration answer_timeout);

    /// Begins the next request; the one before is finished.
    void ask(Message request, base::TimePoint now);
    /// The answer is here, and nothing of ours is left to send.
    bool finished() const { return !waiting_ && sending_.empty(); }
    /// The answer to the latest request, until the next one.
    const Message& answer() const { return answer_; }
    /// A change was told meanwhile; says so once.
    bool take_changed() { return std::exchange(changed_, false); }

    base::RxSpans rx_spans() override;
    base::Result<void> rx_done(std::size_t n, base::TimePoint now) override;
    std::span<iovec> tx_spans(std::span<iovec> out) override;
    void tx_done(std::size_t n) override;
    base::Deadline deadline() const override;
    base::Result<void> at(base::TimePoint now) override;

private:
    base::Result<void> on_message();

    std::string node_;
    base::Duration answer_timeout_;
    MessageReader reader_;
    std::deque<std::vector<std::byte>> sending_; ///< whole messages
    std::size_t sent_ = 0;                       ///< of the first
    std::uint16_t function_ = 0;                 ///< of the answer that is waited for
    std::uint16_t transaction_ = 0;
    std::size_t unasked_ = 0; ///< messages since the request
    Message answer_;
    base::TimePoint deadline_;
    bool waiting_ = false;
    bool changed_ = false;
};

} // namespace iscsi::isns

// The login engine: from the first byte on a fresh TCP connection to full feature phase (RFC 7143
// sections 6.3, 11.12, 11.13). It always begins in the security stage, because targets reinstate an old
// session only there. It takes not one byte behind the final Login Response, so the session can go on with
// the same socket. Owns its buffers; one thread.
#pragma once

#include "base/engine.hpp"
#include "base/serial.hpp"
#include "base/units.hpp"
#include "login/chap.hpp"
#include "login/negotiation.hpp"
#include "login/pdu_io.hpp"
#include "login/targets.hpp"
#include "login/transcript.hpp"
#include "wire/keys.hpp"
#include "wire/opcode.hpp"
#include "wire/parameters.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace iscsi::login {

/// Everything a login needs to know.
struct LoginConfig {
    std::string initiator_name;
    std::string initiator_alias; ///< may be empty; at most 255 bytes
    std::string target_name;     ///< empty for discovery
    bool discovery = false;      ///< SessionType=Discovery
    base::Isid isid;
    base::Tsih tsih; ///< 0: leading login (a new session, or the reinstatement of ours)
    base::Cid cid;
    base::CmdSn cmd_sn{1};           ///< initial CmdSN; login does not advance it
    Offers offers;                   ///< discovery must offer None for both digests
    ChapConfig chap;                 ///< username empty: AuthMethod=None
    std::int32_t expected_tpgt = -1; ///< -1: any; another one than the target's fails the login
    base::TimePoint deadline;        ///< of the whole login
    bool transcript = false;         ///< keep one, see Login::transcript
};

/// Where a target says it has moved (status class 01).
struct Redirect {
    std::string host; ///< IPv6 without brackets
    std::uint16_t port = default_port;
    bool permanent = false;
};

/// Failures, as returned by rx_done and at:
/// authentication  status 0201, 0202, or CHAP did not prove what was asked for
/// fatal_login     other status 02xx, a digest or portal group we insist on is missing: no reason to repeat
/// login           status 03xx: may be tried again later
/// redirected      status 01xx: see redirect()
/// pdu_timeout     the deadline passed
/// protocol        the target broke a rule
/// internal        the host could not compute a digest or a random number
class Login final : public base::Engine {
public:
    /// Errc::invalid when `config` cannot be offered to a target.
    static base::Result<std::unique_ptr<Login>> make(LoginConfig config);

    base::RxSpans rx_spans() override;
    base::Result<void> rx_done(std::size_t n, base::TimePoint now) override;
    std::span<iovec> tx_spans(std::span<iovec> out) override;
    void tx_done(std::size_t n) override;
    base::Deadline deadline() const override;
    base::Result<void> at(base::TimePoint now) override;

    /// Full feature phase is reached: rx_spans is empty from here on, tx_spans once the last request is
    /// counted.
    bool finished() const { return state_ == State::finished; }
    // Of a finished login:
    const Negotiated& negotiated() const { return negotiated_; }
    wire::SequenceNumbers sequence_numbers() const { return numbers_; }
    base::Tsih tsih() const { return tsih_; }
    // As far as it got:
    const std::string& target_alias() const { return negotiation_.target_alias(); }
    /// The target's TargetPortalGroupTag, -1 when it has not said.
    std::int32_t tpgt() const { return negotiation_.tpgt(); }
    /// Status-Class and Status-Detail of the last Login Response; wire::text explains it.
    wire::LoginStatus status() const { return status_; }
    /// The target refused the list of CHAP algorithms as a whole (status 0200 or 0201 on reading it), and MD5
    /// is on it beside others: targets that know MD5 alone may take the list for one name that they do not
    /// know. Nothing was proved so far, so offering MD5 alone on a new connection gives nothing away that the
    /// operator did not allow.
    bool md5_alone_may_do() const;
    /// What was said so far, one line each (login/transcript.hpp); empty when LoginConfig did not ask for it.
    std::vector<std::string> transcript() const;
    /// Set when the login failed with Errc::redirected.
    const std::optional<Redirect>& redirect() const { return redirect_; }

private:
    enum class State : std::uint8_t { running, finished, failed };

    explicit Login(LoginConfig config);

    base::Result<void> start();
    base::Result<void> on_response();
    base::Result<void> on_success_status(const wire::LoginResponse& response);
    base::Result<void> check_header(const wire::LoginResponse& response) const;
    base::Result<void> on_failure_status(const wire::LoginResponse& response);
    base::Result<void> on_redirect();
    base::Result<void> on_text();
    base::Result<void> on_pair(wire::KeyValue pair, std::vector<wire::KeyValue>& chap_keys);
    base::Result<void> on_auth_method(std::string_view value);
    base::Result<void> after_text(const wire::LoginResponse& response);
    base::Result<void> check_security_done() const;
    base::Result<void> check_portal_group() const;
    base::Result<void> finish(const wire::LoginResponse& response);
    void send_text();
    void send_part();
    wire::LoginStage next_stage() const;
    bool wants_transit() const;
    bool mid_text() const { return out_sent_ < out_text_.size(); }

    LoginConfig config_;
    State state_ = State::running;
    wire::LoginStage stage_ = wire::LoginStage::security;
    Negotiation negotiation_;
    Chap chap_;
    bool auth_answered_ = false; ///< AuthMethod, with what we wanted

    std::unique_ptr<Transcript> transcript_; ///< when one is kept
    PduReader reader_;
    PduSender sender_;
    wire::KeyWriter out_;         ///< of the next request
    std::string out_text_;        ///< key text being sent
    std::size_t out_sent_ = 0;    ///< of out_text_
    std::uint8_t sent_flags_ = 0; ///< of the request that is outstanding
    std::string in_text_;         ///< key text being received over C-bit parts
    std::size_t in_total_ = 0;    ///< bytes received in the whole login
    std::size_t exchanges_ = 0;

    wire::LoginStatus status_ = wire::LoginStatus::success;
    std::optional<base::StatSn> exp_stat_sn_;
    base::Tsih tsih_;
    Negotiated negotiated_;
    wire::SequenceNumbers numbers_;
    std::optional<Redirect> redirect_;
};

} // namespace iscsi::login

#include "login/login.hpp"

#include "base/check.hpp"
#include "base/limits.hpp"
#include "base/text.hpp"
#include "wire/describe.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace iscsi::login {
namespace {

using base::Errc;
using base::Result;
using wire::LoginStage;
using wire::LoginStatus;

constexpr std::uint32_t login_itt = 1; // one task for the whole login (RFC 7143 section 11.12)

tl::unexpected<base::Error> broken(std::string detail) {
    return base::fail(Errc::protocol, std::move(detail));
}

bool is_set(const wire::LoginResponse& response, std::uint8_t flag) {
    return (response.flags & flag) != 0;
}

Result<void> check_identity(const LoginConfig& config) {
    auto sayable = [](const std::string& text, std::size_t max) {
        return text.size() <= max && text.find('\0') == std::string::npos;
    };
    if (config.initiator_name.empty() || !sayable(config.initiator_name, base::limits::name_bytes_max)) {
        return base::fail(Errc::invalid, "the initiator name must have 1 to 223 bytes");
    }
    if (!sayable(config.initiator_alias, wire::simple_value_bytes_max)) {
        return base::fail(Errc::invalid, "the initiator alias must have at most 255 bytes");
    }
    if (config.discovery) {
        bool digests = config.offers.header_digest != "None" || config.offers.data_digest != "None";
        return digests ? base::fail(Errc::invalid, "discovery sessions have no digests") : Result<void>{};
    }
    if (config.target_name.empty() || !sayable(config.target_name, base::limits::name_bytes_max)) {
        return base::fail(Errc::invalid, "the target name must have 1 to 223 bytes");
    }
    return {};
}

} // namespace

Login::Login(LoginConfig config)
    : config_(std::move(config)), negotiation_(config_.offers, config_.discovery), chap_(config_.chap),
      transcript_(config_.transcript ? std::make_unique<Transcript>() : nullptr),
      reader_(base::limits::login_data_segment_max), out_(base::limits::login_text_bytes_max) {}

Result<std::unique_ptr<Login>> Login::make(LoginConfig config) {
    for (const Result<void>& checked :
         {check_identity(config), check_offers(config.offers), check_chap(config.chap)}) {
        if (!checked) {
            return base::fail(checked.error());
        }
    }
    std::unique_ptr<Login> login(new Login(std::move(config)));
    if (Result<void> started = login->start(); !started) {
        return base::fail(started.error());
    }
    return login;
}

Result<void> Login::start() {
    std::vector<wire::KeyValue> keys{{"InitiatorName", config_.initiator_name}};
    if (!config_.initiator_alias.empty()) {
        keys.push_back({"InitiatorAlias", config_.initiator_alias});
    }
    if (!config_.discovery) {
        keys.push_back({"TargetName", config_.target_name});
    }
    keys.push_back({"SessionType", config_.discovery ? "Discovery" : "Normal"});
    keys.push_back({"AuthMethod", config_.chap.enabled() ? "CHAP" : "None"});
    for (const wire::KeyValue& pair : keys) {
        if (Result<void> added = out_.add(pair.key, pair.value); !added) {
            return added;
        }
    }
    send_text();
    return {};
}

base::RxSpans Login::rx_spans() {
    return state_ == State::running ? reader_.spans() : base::RxSpans{};
}

Result<void> Login::rx_done(std::size_t n, base::TimePoint /*now*/) {
    base::check(state_ == State::running, "bytes for a login that is over");
    Result<bool> complete = reader_.done(n);
    if (!complete) {
        state_ = State::failed;
        return base::fail(complete.error());
    }
    if (!*complete) {
        return {};
    }
    if (transcript_) {
        transcript_->received(reader_.header(), reader_.data());
    }
    Result<void> handled = on_response();
    if (!handled) {
        state_ = State::failed;
    }
    reader_.next();
    return handled;
}

std::span<iovec> Login::tx_spans(std::span<iovec> out) {
    return sender_.spans(out);
}

void Login::tx_done(std::size_t n) {
    sender_.done(n);
}

base::Deadline Login::deadline() const {
    return state_ == State::running ? base::Deadline(config_.deadline) : base::Deadline();
}

Result<void> Login::at(base::TimePoint now) {
    if (!base::is_due(deadline(), now)) {
        return {};
    }
    state_ = State::failed;
    return base::fail(base::Error{
        Errc::pdu_timeout,
        fmt::format("no end of the login in time, in {} after {} responses", wire::text(stage_), exchanges_),
        base::Cause::login_unanswered});
}

// ---- responses

Result<void> Login::on_response() {
    if (reader_.header().opcode() != wire::Opcode::login_response) {
        return broken(fmt::format("not a Login Response during login: {}", wire::describe(reader_.header())));
    }
    if (sender_.has_unseen()) {
        return broken("a Login Response that nobody asked for");
    }
    if (++exchanges_ > base::limits::login_exchanges_max) {
        return broken(fmt::format("no end of the login after {} exchanges", exchanges_ - 1));
    }
    auto response = reader_.as<wire::LoginResponse>();
    status_ = static_cast<LoginStatus>(response.status.get());
    if (wire::status_class(status_) != wire::LoginStatusClass::success) {
        return on_failure_status(response);
    }
    return on_success_status(response);
}

Result<void> Login::check_header(const wire::LoginResponse& response) const {
    bool transit = is_set(response, wire::login_flag::transit);
    bool sent_transit = (sent_flags_ & wire::login_flag::transit) != 0;
    std::string_view wrong;
    if (response.itt != login_itt) {
        wrong = "another Initiator Task Tag";
    } else if (response.version_active != 0) {
        wrong = "another protocol version";
    } else if (wire::current_stage(response.flags) != stage_) {
        wrong = "another current stage";
    } else if (transit && is_set(response, wire::login_flag::continues)) {
        wrong = "both T and C";
    } else if (transit && !sent_transit) {
        wrong = "T, which was not offered";
    } else if (transit && wire::next_stage(response.flags) != next_stage()) {
        wrong = "another next stage";
    }
    if (wrong.empty()) {
        return {};
    }
    return broken(fmt::format("a Login Response with {}: {}", wrong, wire::describe(reader_.header())));
}

Result<void> Login::on_success_status(const wire::LoginResponse& response) {
    if (Result<void> header = check_header(response); !header) {
        return header;
    }
    exp_stat_sn_ = base::StatSn(response.stat_sn) + 1;
    base::Bytes data = reader_.data();
    bool continues = is_set(response, wire::login_flag::continues);
    if (mid_text()) {
        if (!data.empty() || continues) {
            return broken("a Login Response with text while our own text is not complete");
        }
        send_part();
        return {};
    }
    in_total_ += data.size();
    if (in_total_ > base::limits::login_text_bytes_max) {
        return broken("the target sends too much text during login");
    }
    in_text_ += base::text_of(data);
    if (continues) {
        send_part();
        return {};
    }
    if (Result<void> text = on_text(); !text) {
        return text;
    }
    in_text_.clear();
    return after_text(response);
}

// ---- key text

Result<void> Login::on_text() {
    wire::KeyReader pairs(in_text_);
    std::vector<wire::KeyValue> chap_keys;
    bool answered_before = auth_answered_;
    for (;;) {
        auto pair = pairs.next();
        if (!pair) {
            return base::fail(pair.error());
        }
        if (!*pair) {
            break;
        }
        if (Result<void> handled = on_pair(**pair, chap_keys); !handled) {
            return handled;
        }
    }
    if (Result<void> group = check_portal_group(); !group) {
        return group;
    }
    if (!config_.chap.enabled() || !answered_before) {
        if (!chap_keys.empty()) {
            return broken("CHAP keys before CHAP was agreed on");
        }
        bool begins = config_.chap.enabled() && auth_answered_;
        return begins ? chap_.start(out_) : Result<void>{};
    }
    return stage_ == LoginStage::security ? chap_.on_keys(chap_keys, out_) : Result<void>{};
}

Result<void> Login::on_pair(wire::KeyValue pair, std::vector<wire::KeyValue>& chap_keys) {
    bool method = pair.key == "AuthMethod";
    bool chap = pair.key.starts_with("CHAP_");
    if (!method && !chap) {
        return negotiation_.on_key(pair, stage_, out_);
    }
    if (stage_ != LoginStage::security) {
        return broken(fmt::format("{} outside of the security stage", base::printable(pair.key, 64)));
    }
    if (method) {
        return on_auth_method(pair.value);
    }
    chap_keys.push_back(pair);
    return {};
}

Result<void> Login::on_auth_method(std::string_view value) {
    std::string_view wanted = config_.chap.enabled() ? "CHAP" : "None";
    if (auth_answered_) {
        return broken("AuthMethod for the second time");
    }
    if (value != wanted) {
        return base::fail(
            base::Error{Errc::authentication,
                        fmt::format("AuthMethod={} was offered, the target answered {}", wanted,
                                    base::printable(value, 80)),
                        config_.chap.enabled() ? base::Cause::chap_declined : base::Cause::chap_demanded});
    }
    auth_answered_ = true;
    return {};
}

Result<void> Login::check_portal_group() const {
    std::int32_t theirs = negotiation_.tpgt();
    if (config_.expected_tpgt < 0 || theirs < 0 || theirs == config_.expected_tpgt) {
        return {};
    }
    return base::fail(base::Error{
        Errc::fatal_login,
        fmt::format("the target's portal group is {}, {} was expected", theirs, config_.expected_tpgt),
        base::Cause::portal_group});
}

Result<void> Login::check_security_done() const {
    if (!config_.chap.enabled() || (auth_answered_ && chap_.proved())) {
        return {};
    }
    const bool is_unproved = auth_answered_ && chap_.ready_to_leave();
    return base::fail(base::Error{Errc::authentication,
                                  is_unproved ? "the target did not authenticate itself"
                                              : "the target skipped the authentication that was asked for",
                                  is_unproved ? base::Cause::target_not_proved : base::Cause::chap_declined});
}

// ---- stages

Result<void> Login::after_text(const wire::LoginResponse& response) {
    if (!is_set(response, wire::login_flag::transit)) {
        send_text();
        return {};
    }
    if (!out_.empty()) {
        return broken("the target left the stage with questions open");
    }
    if (stage_ == LoginStage::operational) {
        return finish(response);
    }
    if (Result<void> security = check_security_done(); !security) {
        return security;
    }
    stage_ = LoginStage::operational;
    if (Result<void> offered = negotiation_.write_offers(out_); !offered) {
        return offered;
    }
    send_text();
    return {};
}

Result<void> Login::finish(const wire::LoginResponse& response) {
    base::Tsih tsih(response.tsih);
    bool leading = config_.tsih == base::Tsih();
    if (leading ? tsih == base::Tsih() : tsih != config_.tsih) {
        return broken(fmt::format("the final Login Response has TSIH {}", tsih.value()));
    }
    Result<Negotiated> outcome = negotiation_.finish();
    if (!outcome) {
        return base::fail(outcome.error());
    }
    negotiated_ = *outcome;
    tsih_ = tsih;
    numbers_ = {config_.cmd_sn, base::CmdSn(response.exp_cmd_sn), base::CmdSn(response.max_cmd_sn),
                *exp_stat_sn_};
    state_ = State::finished;
    return {};
}

// ---- requests

LoginStage Login::next_stage() const {
    return stage_ == LoginStage::security ? LoginStage::operational : LoginStage::full_feature;
}

bool Login::wants_transit() const {
    return stage_ == LoginStage::operational || !config_.chap.enabled() || chap_.ready_to_leave();
}

void Login::send_text() {
    out_text_ = out_.take();
    out_sent_ = 0;
    send_part();
}

// Sends as much of the text as one PDU takes; nothing at all is the way to ask the target for more of its
// own.
void Login::send_part() {
    std::size_t part =
        std::min<std::size_t>(out_text_.size() - out_sent_, base::limits::login_data_segment_max);
    base::Bytes data = base::bytes_of(out_text_).subspan(out_sent_, part);
    out_sent_ += part;
    wire::LoginRequest request;
    if (mid_text()) {
        request.flags = wire::login_flag::continues | wire::stage_bits(stage_, LoginStage::security);
    } else if (wants_transit()) {
        request.flags = wire::login_flag::transit | wire::stage_bits(stage_, next_stage());
    } else {
        request.flags = wire::stage_bits(stage_, LoginStage::security);
    }
    request.isid = config_.isid.value();
    request.tsih = config_.tsih.value();
    request.itt = login_itt;
    request.cid = config_.cid.value();
    request.cmd_sn = config_.cmd_sn.value();
    request.exp_stat_sn = exp_stat_sn_ ? exp_stat_sn_->value() : 0;
    sent_flags_ = request.flags;
    sender_.queue(wire::generic(request), data);
    if (transcript_) {
        transcript_->sent(wire::generic(request), data);
    }
}

} // namespace iscsi::login

// Operational negotiation as the initiator does it (RFC 7143 sections 6.2 and 13): our offers, the target's
// answers, the target's own proposals, and what comes of them. Nothing takes effect before finish(). A value
// machine without I/O; one thread.
#pragma once

#include "base/result.hpp"
#include "login/parameters.hpp"
#include "wire/keys.hpp"
#include "wire/opcode.hpp"
#include "wire/parameters.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::login {

/// What the operator wishes for; the target has its say.
struct Offers {
    /// "None", "CRC32C", "CRC32C,None" or "None,CRC32C"; CRC32C alone means that login fails without it.
    std::string header_digest = "None";
    std::string data_digest = "None";
    bool initial_r2t = false;
    bool immediate_data = true;
    std::uint32_t first_burst_bytes = 262144;           ///< 512 .. 2^24-1
    std::uint32_t max_burst_bytes = 16776192;           ///< 512 .. 2^24-1, at least first_burst_bytes
    std::uint32_t max_recv_data_segment_bytes = 262144; ///< 512 .. 2^24-1; what we declare
    std::uint32_t max_xmit_data_segment_bytes = 0;      ///< cap on what we send; 0 = the target's declaration
    std::uint16_t max_outstanding_r2t = 1;              ///< 1 .. 65535
    std::uint16_t time2wait_s = 2;                      ///< 0 .. 3600
    std::uint16_t time2retain_s = 0;                    ///< 0 .. 3600
};

/// The outcome of a login.
struct Negotiated {
    wire::SessionParameters session;
    wire::ConnectionParameters connection;
};

/// Whether `offers` can be offered at all; Errc::invalid naming the bad one.
base::Result<void> check_offers(const Offers& offers);

class Negotiation {
public:
    /// `offers` passed check_offers.
    Negotiation(Offers offers, bool discovery);

    /// Writes every key that this kind of session offers. Once, at the start of the operational stage.
    base::Result<void> write_offers(wire::KeyWriter& out);

    /// One pair from the target in `stage`: an answer, a declaration, or a proposal whose answer goes to
    /// `out`. Errc::protocol on a redeclaration, a wrong stage, type or range.
    base::Result<void> on_key(wire::KeyValue pair, wire::LoginStage stage, wire::KeyWriter& out);

    /// The values, when full feature phase begins. Errc::protocol for missing answers (but where only one was
    /// possible, RFC 7143 section 6.2) and broken integrity rules; Errc::fatal_login when a digest we insist
    /// on was not agreed.
    base::Result<Negotiated> finish() const;

    const std::string& target_alias() const { return target_alias_; }
    /// TargetPortalGroupTag, -1 when the target did not say.
    std::int32_t tpgt() const { return tpgt_; }

private:
    struct State {
        bool offered = false;
        bool received = false;
        bool valued = false;     ///< `value` is what the target said or what follows from it
        std::uint32_t offer = 0; ///< ours; booleans: 1 = Yes
        std::uint32_t value = 0; ///< the outcome; digests: 1 = CRC32C
        std::string offer_text;  ///< as it is written
    };

    void prepare(std::string_view name, std::uint32_t value);
    void prepare_list(std::string_view name, const std::string& list);
    base::Result<void> on_declaration(const LoginKey& key, State& state, std::string_view value);
    base::Result<void> on_answer(const LoginKey& key, State& state, std::string_view value);
    base::Result<void> on_proposal(const LoginKey& key, State& state, std::string_view value,
                                   wire::KeyWriter& out);
    base::Result<void> on_unknown(wire::KeyValue pair, wire::KeyWriter& out);
    base::Result<void> check_digests() const;
    std::string missing_answers() const;
    void settle_bursts(wire::SessionParameters& session) const;
    State& state_of(std::string_view name);
    const State& state_of(std::string_view name) const;

    Offers offers_;
    bool discovery_;
    std::vector<State> states_;        ///< one per row of login_keys()
    std::vector<std::string> unknown_; ///< keys answered with NotUnderstood
    std::string target_alias_;
    std::int32_t tpgt_ = -1;
};

} // namespace iscsi::login

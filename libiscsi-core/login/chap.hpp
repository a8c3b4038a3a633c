// CHAP as the initiator does it, one way and mutual (RFC 7143 sections 9.2.1 and 12.1.3, RFC 1994; algorithm
// numbers of IANA's ppp-numbers). The digests are OpenSSL's. Secrets, challenges and responses are never part
// of an error's detail. One thread for one exchange; Challenges may be shared by all.
#pragma once

#include "base/result.hpp"
#include "login/secret.hpp"
#include "wire/keys.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::login {

enum class ChapAlgorithm : std::uint8_t { md5 = 5, sha1 = 6, sha256 = 7, sha3_256 = 8 };

/// "MD5", "SHA1", "SHA256" or "SHA3-256".
std::string_view text(ChapAlgorithm algorithm);
/// A comma-separated list of these names, best first, each at most once. Errc::invalid.
base::Result<std::vector<ChapAlgorithm>> parse_chap_algorithms(std::string_view list);
/// Bytes of a response: 16, 20, 32, 32.
std::size_t response_bytes(ChapAlgorithm algorithm);
/// False where the host's policy (FIPS) forbids it.
bool is_available(ChapAlgorithm algorithm);

/// The response of RFC 1994 section 4.1: hash of identifier, secret, challenge. Errc::internal when the host
/// cannot compute it.
base::Result<Secret> chap_response(ChapAlgorithm algorithm, std::uint8_t identifier, base::Bytes secret,
                                   base::Bytes challenge);

/// Fills a span with unpredictable bytes; false when it cannot.
using RandomSource = std::function<bool(base::MutableBytes)>;
/// OpenSSL's RAND_bytes.
bool system_random(base::MutableBytes out);

/// Makes challenges and knows its own again, on whatever connection they come back: a challenge is 16 random
/// bytes and their keyed digest. This is how a reflection across connections (RFC 7143 section 9.2.1) is
/// seen without remembering anything. Constant after construction.
class Challenges {
public:
    static constexpr std::size_t challenge_bytes = 32;
    using Challenge = std::array<std::byte, challenge_bytes>;

    explicit Challenges(RandomSource random = system_random);
    Challenges(const Challenges&) = delete;
    Challenges& operator=(const Challenges&) = delete;
    ~Challenges();

    /// A new one; Errc::internal when there is no randomness.
    base::Result<Challenge> fresh() const;
    /// One random byte for CHAP_I.
    base::Result<std::uint8_t> fresh_identifier() const;
    bool is_ours(base::Bytes challenge) const;

    /// The one that all logins of this process share.
    static const Challenges& of_process();

private:
    static constexpr std::size_t nonce_bytes = 16;

    bool mark(base::Bytes nonce, base::MutableBytes out) const;

    RandomSource random_;
    std::array<std::byte, 32> key_{};
    bool ready_ = false;
};

/// Who we are to the target and, for mutual authentication, who it has to be.
struct ChapConfig {
    std::string username; ///< empty: no CHAP at all
    Secret secret;
    std::string username_in; ///< name the target must give; empty with a secret_in: any name
    Secret secret_in;        ///< not empty: the target must prove itself
    std::vector<ChapAlgorithm> algorithms{ChapAlgorithm::md5}; ///< best first
    const Challenges* challenges = nullptr;                    ///< nullptr: Challenges::of_process()

    bool enabled() const { return !username.empty(); }
    bool offers_md5_among_others() const;
    bool mutual() const { return !secret_in.empty(); }
};

/// Errc::invalid for what cannot work: no secret, equal secrets both ways, names or secrets too long, no or
/// unavailable algorithms.
base::Result<void> check_chap(const ChapConfig& config);

/// RFC 7143 section 9.2.1 asks for 96 bits at least; shorter ones work but deserve a warning.
inline constexpr std::size_t chap_secret_bytes_recommended = 12;

/// One authentication on one connection, after AuthMethod=CHAP was agreed.
class Chap {
public:
    /// `config` passed check_chap and outlives this.
    explicit Chap(const ChapConfig& config);

    /// Step 1: writes CHAP_A.
    base::Result<void> start(wire::KeyWriter& out);
    /// All CHAP_ keys of one complete answer (maybe none); writes our next step. Errc::protocol for keys
    /// that are not of the step, Errc::authentication for what proves nothing or too much.
    base::Result<void> on_keys(std::span<const wire::KeyValue> keys, wire::KeyWriter& out);
    /// True while the target has not answered the list of algorithms.
    bool awaits_choice() const { return step_ == Step::awaiting_challenge; }
    /// True once our last step is written: the request may offer to leave the security stage.
    bool ready_to_leave() const { return step_ == Step::awaiting_proof || step_ == Step::done; }
    /// True when everything asked for was proved; only then may the stage be left.
    bool proved() const {
        return step_ == Step::done || (step_ == Step::awaiting_proof && !config_.mutual());
    }

private:
    enum class Step : std::uint8_t { idle, awaiting_challenge, awaiting_proof, done };

    base::Result<void> on_challenge(std::span<const wire::KeyValue> keys, wire::KeyWriter& out);
    base::Result<void> on_proof(std::span<const wire::KeyValue> keys);
    base::Result<void> write_mutual(base::Bytes their_challenge, wire::KeyWriter& out);
    base::Result<ChapAlgorithm> chosen(std::string_view value) const;
    const Challenges& challenges() const;

    const ChapConfig& config_;
    Step step_ = Step::idle;
    ChapAlgorithm algorithm_ = ChapAlgorithm::md5;
    std::uint8_t our_identifier_ = 0;
    Challenges::Challenge our_challenge_{};
};

} // namespace iscsi::login

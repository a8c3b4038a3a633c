#include "login/chap.hpp"

#include "base/limits.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>

namespace iscsi::login {
namespace {

using base::Errc;
using base::Result;

constexpr std::array<ChapAlgorithm, 4> known{ChapAlgorithm::md5, ChapAlgorithm::sha1, ChapAlgorithm::sha256,
                                             ChapAlgorithm::sha3_256};

tl::unexpected<base::Error> broken(std::string_view why) {
    return base::fail(Errc::protocol, fmt::format("CHAP: {}", why));
}

tl::unexpected<base::Error> refused(std::string_view why) {
    return base::fail(
        base::Error{Errc::authentication, fmt::format("CHAP: {}", why), base::Cause::target_not_proved});
}

/// The values of exactly these keys, in this order; empty when one is missing, repeated or too many
/// (RFC 7143 section 12.1.3).
template <std::size_t Count>
std::optional<std::array<std::string_view, Count>> exactly(std::span<const wire::KeyValue> pairs,
                                                           const std::array<std::string_view, Count>& names) {
    std::array<std::string_view, Count> values;
    if (pairs.size() != Count) {
        return std::nullopt;
    }
    for (std::size_t i = 0; i < Count; ++i) {
        auto named = [&](const wire::KeyValue& pair) { return pair.key == names[i]; };
        if (std::count_if(pairs.begin(), pairs.end(), named) != 1) {
            return std::nullopt;
        }
        values[i] = std::find_if(pairs.begin(), pairs.end(), named)->value;
    }
    return values;
}

struct Question {
    std::uint8_t identifier;
    std::vector<std::byte> challenge;
};

Result<Question> parse_question(std::string_view identifier, std::string_view challenge) {
    std::optional<std::uint64_t> number = base::parse_rfc_number(identifier, 255);
    if (!number) {
        return broken("CHAP_I is not a number from 0 to 255");
    }
    auto bytes = base::parse_rfc_binary(challenge, base::limits::chap_binary_bytes_max);
    if (!bytes || bytes->empty()) {
        return broken("CHAP_C is not a binary value of 1 to 1024 bytes");
    }
    return Question{static_cast<std::uint8_t>(*number), std::move(*bytes)};
}

Result<void> check_secret(std::string_view what, const Secret& secret) {
    if (secret.bytes().size() > base::limits::chap_secret_bytes_max) {
        return base::fail(Errc::invalid, fmt::format("CHAP: the {} is too long", what));
    }
    return {};
}

} // namespace

Result<void> check_chap(const ChapConfig& config) {
    if (!config.enabled()) {
        bool leftovers = !config.secret.empty() || config.mutual();
        return leftovers ? base::fail(Errc::invalid, "CHAP: a secret without a username") : Result<void>{};
    }
    if (config.secret.empty()) {
        return base::fail(Errc::invalid, "CHAP: a username without a secret");
    }
    for (const std::string* name : {&config.username, &config.username_in}) {
        if (name->size() > base::limits::chap_name_bytes_max || name->find('\0') != std::string::npos) {
            return base::fail(Errc::invalid, "CHAP: a username that cannot be sent");
        }
    }
    if (Result<void> ours = check_secret("secret", config.secret); !ours) {
        return ours;
    }
    if (Result<void> theirs = check_secret("secret of the target", config.secret_in); !theirs) {
        return theirs;
    }
    if (same_secret(config.secret.bytes(), config.secret_in.bytes())) {
        return base::fail(Errc::invalid, "CHAP: the same secret for both directions proves nothing");
    }
    if (config.algorithms.empty()) {
        return base::fail(Errc::invalid, "CHAP: no algorithm to offer");
    }
    for (ChapAlgorithm algorithm : config.algorithms) {
        bool once = std::count(config.algorithms.begin(), config.algorithms.end(), algorithm) == 1;
        if (!once || !is_available(algorithm)) {
            return base::fail(Errc::invalid, fmt::format("CHAP: algorithm {} is {}", text(algorithm),
                                                         once ? "not available on this host" : "repeated"));
        }
    }
    return {};
}

Result<std::vector<ChapAlgorithm>> parse_chap_algorithms(std::string_view list) {
    std::vector<ChapAlgorithm> algorithms;
    for (std::string_view part : base::split(list, ',')) {
        std::string_view name = base::trim(part);
        const auto* found = std::find_if(known.begin(), known.end(),
                                         [name](ChapAlgorithm algorithm) { return text(algorithm) == name; });
        if (found == known.end()) {
            return base::fail(Errc::invalid,
                              fmt::format("unknown CHAP algorithm \"{}\"; known are MD5, SHA1, "
                                          "SHA256, SHA3-256",
                                          base::printable(name, 40)));
        }
        if (std::find(algorithms.begin(), algorithms.end(), *found) != algorithms.end()) {
            return base::fail(Errc::invalid, fmt::format("CHAP algorithm {} is named twice", name));
        }
        algorithms.push_back(*found);
    }
    return algorithms;
}

bool ChapConfig::offers_md5_among_others() const {
    return algorithms.size() > 1 &&
           std::find(algorithms.begin(), algorithms.end(), ChapAlgorithm::md5) != algorithms.end();
}

Chap::Chap(const ChapConfig& config) : config_(config) {}

const Challenges& Chap::challenges() const {
    return config_.challenges != nullptr ? *config_.challenges : Challenges::of_process();
}

Result<void> Chap::start(wire::KeyWriter& out) {
    std::string list;
    for (ChapAlgorithm algorithm : config_.algorithms) {
        list += fmt::format("{}{}", list.empty() ? "" : ",", static_cast<unsigned>(algorithm));
    }
    step_ = Step::awaiting_challenge;
    return out.add("CHAP_A", std::string_view(list));
}

Result<void> Chap::on_keys(std::span<const wire::KeyValue> keys, wire::KeyWriter& out) {
    switch (step_) {
    case Step::awaiting_challenge:
        return on_challenge(keys, out);
    case Step::awaiting_proof:
        return on_proof(keys);
    case Step::idle:
    case Step::done:
        break;
    }
    return keys.empty() ? Result<void>{} : broken("a key that is not of this step");
}

Result<ChapAlgorithm> Chap::chosen(std::string_view value) const {
    std::optional<std::uint64_t> number = base::parse_rfc_number(value, 255);
    for (ChapAlgorithm algorithm : config_.algorithms) {
        if (number && *number == static_cast<std::uint64_t>(algorithm)) {
            return algorithm;
        }
    }
    return broken("the target chose an algorithm that was not offered");
}

Result<void> Chap::on_challenge(std::span<const wire::KeyValue> keys, wire::KeyWriter& out) {
    if (keys.size() == 1 && keys[0].key == "CHAP_A" && keys[0].value == "Reject") {
        return base::fail(base::Error{Errc::authentication,
                                      "CHAP: the target supports none of the algorithms offered",
                                      base::Cause::chap_algorithms});
    }
    auto values = exactly<3>(keys, {"CHAP_A", "CHAP_I", "CHAP_C"});
    if (!values) {
        return broken("CHAP_A, CHAP_I and CHAP_C were expected, once each");
    }
    Result<ChapAlgorithm> algorithm = chosen((*values)[0]);
    if (!algorithm) {
        return base::fail(algorithm.error());
    }
    algorithm_ = *algorithm;
    Result<Question> question = parse_question((*values)[1], (*values)[2]);
    if (!question) {
        return base::fail(question.error());
    }
    // Answering a challenge of our own would hand out the proof that we ask of targets
    // (RFC 7143 section 9.2.1).
    if (challenges().is_ours(question->challenge)) {
        return refused("the target returned a challenge of ours");
    }
    auto response =
        chap_response(algorithm_, question->identifier, config_.secret.bytes(), question->challenge);
    if (!response) {
        return base::fail(response.error());
    }
    step_ = Step::awaiting_proof;
    if (Result<void> name = out.add("CHAP_N", std::string_view(config_.username)); !name) {
        return name;
    }
    if (Result<void> ours = out.add("CHAP_R", std::string_view(base::hex_binary(response->bytes()))); !ours) {
        return ours;
    }
    return config_.mutual() ? write_mutual(question->challenge, out) : Result<void>{};
}

Result<void> Chap::write_mutual(base::Bytes their_challenge, wire::KeyWriter& out) {
    Result<std::uint8_t> identifier = challenges().fresh_identifier();
    if (!identifier) {
        return base::fail(identifier.error());
    }
    Result<Challenges::Challenge> challenge = challenges().fresh();
    if (!challenge) {
        return base::fail(challenge.error());
    }
    if (std::equal(challenge->begin(), challenge->end(), their_challenge.begin(), their_challenge.end())) {
        return refused("both challenges are the same");
    }
    our_identifier_ = *identifier;
    our_challenge_ = *challenge;
    if (Result<void> number = out.add("CHAP_I", std::uint64_t{our_identifier_}); !number) {
        return number;
    }
    return out.add("CHAP_C", std::string_view(base::hex_binary(our_challenge_)));
}

Result<void> Chap::on_proof(std::span<const wire::KeyValue> keys) {
    if (!config_.mutual()) {
        return keys.empty() ? Result<void>{} : broken("the target sent keys that nobody asked for");
    }
    if (keys.empty()) {
        return refused("the target did not authenticate itself");
    }
    auto values = exactly<2>(keys, {"CHAP_N", "CHAP_R"});
    if (!values) {
        return broken("CHAP_N and CHAP_R were expected, once each");
    }
    auto [name, response] = *values;
    if (name.size() > base::limits::chap_name_bytes_max) {
        return broken("CHAP_N is too long");
    }
    auto given = base::parse_rfc_binary(response, base::limits::chap_binary_bytes_max);
    if (!given || given->size() != response_bytes(algorithm_)) {
        return broken("CHAP_R does not have the length of the digest");
    }
    auto ours = chap_response(algorithm_, our_identifier_, config_.secret.bytes(), our_challenge_);
    auto theirs = chap_response(algorithm_, our_identifier_, config_.secret_in.bytes(), our_challenge_);
    if (!ours || !theirs) {
        return base::fail(ours ? theirs.error() : ours.error());
    }
    if (same_secret(*given, ours->bytes())) {
        return refused("the target proved knowledge of our secret, not of its own");
    }
    bool name_fits = config_.username_in.empty() || config_.username_in == name;
    if (!same_secret(*given, theirs->bytes()) || !name_fits) {
        return refused("the target failed to authenticate itself");
    }
    step_ = Step::done;
    return {};
}

} // namespace iscsi::login

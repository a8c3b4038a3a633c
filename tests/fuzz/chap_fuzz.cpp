// CHAP against a target that does not know the secrets. Two bytes choose what we ask of it, the rest is its
// answers (see login_answers.hpp). In their text the byte 01h becomes what the honest target would answer,
// 02h the same with our own secret, 03h our challenge of this login, 04h one of another login. Whatever it
// says, only the honest answer makes a mutual login succeed, a challenge of ours is never answered, and no
// secret is ever told.
#include "login_answers.hpp"

#include "base/text.hpp"
#include "login/chap.hpp"

#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <vector>

using namespace iscsi;
using iscsi::test::LoginAnswers;
using iscsi::test::require;
using iscsi::test::Script;

namespace {

constexpr std::string_view our_secret = "the initiator's secret";
constexpr std::string_view their_secret = "the secret of the target";

login::LoginConfig config_of(std::uint8_t flags, const login::Challenges& challenges) {
    using enum login::ChapAlgorithm;
    login::LoginConfig config;
    config.initiator_name = "iqn.2026-01.example:initiator";
    config.target_name = "iqn.2026-01.example:disk";
    config.isid = base::Isid(0x80123456789aULL);
    config.chap.username = "user";
    config.chap.secret = login::Secret(our_secret);
    if ((flags & 1) != 0) {
        config.chap.secret_in = login::Secret(their_secret);
        config.chap.username_in = (flags & 2) != 0 ? "target" : "";
    }
    const std::array<std::vector<login::ChapAlgorithm>, 4> lists{
        {{md5}, {sha256, md5}, {sha3_256, sha256, sha1, md5}, {sha1}}};
    config.chap.algorithms = lists[flags >> 2 & 3];
    config.chap.challenges = &challenges;
    return config;
}

/// The target's side of one login: what it has seen of us, and what it makes of the script's marks.
class Imitator {
public:
    Imitator(const std::vector<std::string>& requests, std::string other_challenge)
        : requests_(requests), other_challenge_(std::move(other_challenge)) {}

    void edit(std::string& text, bool honest) {
        choose_algorithm(text);
        std::string out;
        for (std::size_t at = 0; at < text.size(); ++at) {
            const char c = text[at];
            if (c < '\x01' || c > '\x04') {
                out += c;
                continue;
            }
            const bool ends_value = at + 1 == text.size() || text[at + 1] == '\0';
            const bool whole_value = ends_value && out.ends_with(std::string_view("\0CHAP_C=", 8));
            switch (c) {
            case '\x01':
                out += proof(their_secret);
                proved = true;
                break;
            case '\x02':
                out += proof(our_secret);
                break;
            default:
                const std::string challenge = c == '\x03' ? ours("CHAP_C") : other_challenge_;
                reflected = reflected || (honest && whole_value && !challenge.empty());
                out += challenge;
            }
        }
        text = out;
    }

    bool proved = false;    ///< the honest answer was given
    bool reflected = false; ///< a challenge of ours came back as one of the target's

private:
    /// What we sent last for `key`.
    std::string ours(std::string_view key) const {
        for (auto request = requests_.rbegin(); request != requests_.rend(); ++request) {
            wire::KeyReader pairs(*request);
            for (auto pair = pairs.next(); pair && *pair; pair = pairs.next()) {
                if ((*pair)->key == key) {
                    return std::string((*pair)->value);
                }
            }
        }
        return {};
    }

    void choose_algorithm(const std::string& text) {
        std::size_t at = text.find("CHAP_A=");
        if (at != std::string::npos) {
            std::string_view value = std::string_view(text).substr(at + 7);
            value = value.substr(0, value.find('\0'));
            auto number = base::parse_rfc_number(value, 255).value_or(5);
            algorithm_ = number >= 5 && number <= 8 ? static_cast<login::ChapAlgorithm>(number) : algorithm_;
        }
    }

    std::string proof(std::string_view secret) const {
        auto challenge = base::parse_rfc_binary(ours("CHAP_C"), 1024);
        auto identifier = base::parse_rfc_number(ours("CHAP_I"), 255);
        if (!challenge || !identifier) {
            return "0x00";
        }
        auto response = login::chap_response(algorithm_, static_cast<std::uint8_t>(*identifier),
                                             base::bytes_of(secret), *challenge);
        require(response.has_value());
        return base::hex_binary(response->bytes());
    }

    const std::vector<std::string>& requests_;
    std::string other_challenge_;
    login::ChapAlgorithm algorithm_ = login::ChapAlgorithm::md5;
};

std::size_t responses_in(const std::vector<std::string>& requests) {
    return static_cast<std::size_t>(std::count_if(requests.begin(), requests.end(), [](const auto& request) {
        return request.find(std::string_view("\0CHAP_R=", 8)) != std::string::npos;
    }));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Script script(data, size);
    std::uint8_t flags = script.u8();
    unsigned seed = script.u8();
    // The same every time, so that an input does the same every time.
    login::Challenges challenges([random = std::minstd_rand(1)](base::MutableBytes out) mutable {
        std::generate(out.begin(), out.end(), [&] { return static_cast<std::byte>(random()); });
        return true;
    });
    login::LoginConfig config = config_of(flags, challenges);
    auto other = challenges.fresh();
    auto login = login::Login::make(config);
    require(other && login);

    LoginAnswers answers(script.rest(), seed);
    Imitator imitator(answers.requests, base::hex_binary(*other));
    std::size_t responses = 0;
    answers.edit = [&](std::string& text, bool honest) {
        require(!imitator.reflected || responses == responses_in(answers.requests));
        imitator.edit(text, honest);
        responses = responses_in(answers.requests);
    };
    base::Result<void> played = answers.play(**login);

    require(!imitator.reflected || responses == responses_in(answers.requests));
    if ((*login)->finished()) {
        require(played && !imitator.reflected && responses_in(answers.requests) == 1);
        require(!config.chap.mutual() || imitator.proved);
    }
    for (const std::string& request : answers.requests) {
        require(request.find(our_secret) == std::string::npos);
        require(request.find(their_secret) == std::string::npos);
    }
    return 0;
}

// What the tests of CHAP share: a configuration with counted randomness, a question of the target, and the
// proof that it would give.
#pragma once

#include "base/text.hpp"
#include "login/chap.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

namespace iscsi::test {

using login::Challenges;
using login::Chap;
using login::ChapAlgorithm;
using login::ChapConfig;
using login::Secret;

/// Counts instead of rolling dice.
inline login::RandomSource counting() {
    return [next = 0](base::MutableBytes out) mutable {
        for (std::byte& b : out) {
            b = static_cast<std::byte>(next++);
        }
        return true;
    };
}

struct ChapBench {
    Challenges challenges{counting()};
    ChapConfig config;
    wire::KeyWriter out{65536};

    explicit ChapBench(bool mutual = true) {
        config.username = "user";
        config.secret = Secret("our secret 12345");
        config.challenges = &challenges;
        config.algorithms = {ChapAlgorithm::sha256, ChapAlgorithm::md5};
        if (mutual) {
            config.username_in = "target";
            config.secret_in = Secret("their secret 678");
        }
    }
    std::string said() {
        std::string text = out.take();
        std::replace(text.begin(), text.end(), '\0', '\n');
        return text;
    }
};

using Keys = std::vector<wire::KeyValue>;

inline const Keys first_question{
    {"CHAP_A", "7"}, {"CHAP_I", "39"}, {"CHAP_C", "0x000102030405060708090a0b0c0d0e0f"}};

inline base::Errc give(Chap& chap, const Keys& keys, wire::KeyWriter& out) {
    auto given = chap.on_keys(keys, out);
    return given ? base::Errc::unknown : given.error().code;
}

inline std::string value_of(const std::string& text, const std::string& key) {
    std::size_t at = text.find(key + "=");
    REQUIRE(at != std::string::npos);
    at += key.size() + 1;
    return text.substr(at, text.find('\n', at) - at);
}

/// The proof that `secret` gives for the question in `said`.
inline std::string proof(const std::string& said, std::string_view secret) {
    auto challenge = *base::parse_rfc_binary(value_of(said, "CHAP_C"), 1024);
    auto identifier = static_cast<std::uint8_t>(std::stoi(value_of(said, "CHAP_I")));
    auto response =
        login::chap_response(ChapAlgorithm::sha256, identifier, base::bytes_of(secret), challenge);
    return base::hex_binary(response->bytes());
}

} // namespace iscsi::test

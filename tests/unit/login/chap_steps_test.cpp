// CHAP key by key: what each may be, that none comes out of its turn, in which writings they come, and what
// is never said twice (RFC 7143 sections 9.2.1 and 12.1.3). The numbers of the UNH-IOL suite are by its
// titles.
#include "unit/login/chap_bench.hpp"
#include "unit/login/login_bench.hpp"

#include <openssl/evp.h>
#include <set>

using namespace iscsi::test;
using iscsi::base::Errc;
using Bench = iscsi::test::ChapBench;
namespace base = iscsi::base;
namespace login = iscsi::login;
namespace wire = iscsi::wire;

namespace {

constexpr Errc fine = Errc::unknown;

std::string base64_binary(base::Bytes bytes) {
    std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
    int length =
        EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                        reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
    text.resize(static_cast<std::size_t>(length));
    return "0b" + text;
}

/// What becomes of this question, and what we say to it.
Errc ask(const Keys& keys, std::string* said = nullptr) {
    Bench bench;
    Chap chap(bench.config);
    REQUIRE(chap.start(bench.out).has_value());
    bench.said();
    Errc code = give(chap, keys, bench.out);
    CHECK((code == fine) == chap.ready_to_leave());
    CHECK_FALSE(chap.proved());
    if (said != nullptr) {
        *said = bench.said();
    }
    return code;
}

Errc ask(const char* algorithm, const char* identifier, const std::string& challenge) {
    return ask({{"CHAP_A", algorithm}, {"CHAP_I", identifier}, {"CHAP_C", challenge}});
}

/// A mutual exchange up to where the target has to prove itself.
struct Asked {
    Bench bench;
    Chap chap{bench.config};
    std::string said;

    explicit Asked(std::string_view secret_in = "their secret 678", std::string name_in = "target") {
        bench.config.secret_in = Secret(secret_in);
        bench.config.username_in = std::move(name_in);
        REQUIRE(chap.start(bench.out).has_value());
        bench.said();
        REQUIRE(give(chap, first_question, bench.out) == fine);
        said = bench.said();
    }
    std::string good() const { return proof(said, base::text_of(bench.config.secret_in.bytes())); }
    Errc prove(std::string_view name, std::string_view response) {
        return give(chap, {{"CHAP_N", name}, {"CHAP_R", response}}, bench.out);
    }
};

} // namespace

TEST_CASE("the algorithm is one of those offered",
          "[login][CHAP-03][UNH-CHAP-1.1][UNH-CHAP-1.2.1][UNH-CHAP-1.2.2]") {
    CHECK(ask("7", "1", "0x01") == fine);
    CHECK(ask("5", "1", "0x01") == fine);
    auto number = GENERATE("6", "8", "0", "4", "255", "256", "65541", "18446744073709551621");
    CHECK(ask(number, "1", "0x01") == Errc::protocol);
    auto word =
        GENERATE("", "MD5", "five", "7 ", " 7", "+7", "07", "-7", "7,5", "0x", "None", "NotUnderstood");
    CHECK(ask(word, "1", "0x01") == Errc::protocol);
    CHECK(ask({{"CHAP_A", "Reject"}}) == Errc::authentication);
}

TEST_CASE("MD5 is offered unless the operator says otherwise, and the operator's order is kept",
          "[login][CHAP-01]") {
    ChapConfig config;
    CHECK(config.algorithms == std::vector{ChapAlgorithm::md5});
    Bench bench;
    bench.config.algorithms = *login::parse_chap_algorithms("SHA3-256,SHA256,SHA1,MD5");
    Chap chap(bench.config);
    REQUIRE(chap.start(bench.out).has_value());
    CHECK(bench.said() == "CHAP_A=8,7,6,5\n");
}

TEST_CASE("the identifier is one byte", "[login][CHAP-03][UNH-CHAP-2.1][UNH-CHAP-2.2]") {
    auto good = GENERATE("0", "1", "128", "255", "0x0", "0xff", "0XFF");
    CHECK(ask("7", good, "0x01") == fine);
    auto bad = GENERATE("256", "0x100", "-1", "", "a", "01", "1 ", "1,2", "4294967297");
    CHECK(ask("7", bad, "0x01") == Errc::protocol);
}

TEST_CASE("the identifier may be the same again, that of ours or another one",
          "[login][CHAP-03][UNH-CHAP-2.4][UNH-CHAP-2.5][UNH-CHAP-2.6]") {
    std::string ours = value_of(Asked().said, "CHAP_I");
    for (const std::string& identifier : {std::string("39"), std::string("39"), std::string("40"), ours}) {
        CAPTURE(identifier);
        Bench bench;
        Chap chap(bench.config);
        REQUIRE(chap.start(bench.out).has_value());
        bench.said();
        REQUIRE(give(chap, {{"CHAP_A", "7"}, {"CHAP_I", identifier}, {"CHAP_C", "0x0102"}}, bench.out) ==
                fine);
        std::string said = bench.said();
        CHECK(value_of(said, "CHAP_I") == ours);
        std::array challenge{std::byte{1}, std::byte{2}};
        auto answer =
            login::chap_response(ChapAlgorithm::sha256, static_cast<std::uint8_t>(std::stoi(identifier)),
                                 base::bytes_of("our secret 12345"), challenge);
        CHECK(value_of(said, "CHAP_R") == base::hex_binary(answer->bytes()));
        CHECK(give(chap, {{"CHAP_N", "target"}, {"CHAP_R", proof(said, "their secret 678")}}, bench.out) ==
              fine);
        CHECK(chap.proved());
    }
}

TEST_CASE("a challenge has 1 to 1024 bytes, however it is written",
          "[login][CHAP-03][CHAP-04][UNH-CHAP-3.1][UNH-CHAP-3.2][UNH-CHAP-3.3][UNH-CHAP-3.4]") {
    CHECK(ask("7", "1", "0x" + std::string(2048, 'a')) == fine);
    CHECK(ask("7", "1", "0x" + std::string(2047, 'a')) == fine);
    CHECK(ask("7", "1", "0x" + std::string(2049, 'a')) == Errc::protocol);
    CHECK(ask("7", "1", "0x" + std::string(2050, 'a')) == Errc::protocol);
    CHECK(ask("7", "1", "0x" + std::string(100000, 'a')) == Errc::protocol);
    std::vector<std::byte> bytes(1024, std::byte{0x5a});
    CHECK(ask("7", "1", base64_binary(bytes)) == fine);
    bytes.push_back(std::byte{1});
    CHECK(ask("7", "1", base64_binary(bytes)) == Errc::protocol);
    CHECK(ask("7", "1", "0x0") == fine);
    CHECK(ask("7", "1", "0bAA==") == fine);
    auto none = GENERATE("", "0x", "0b", "0", "00", "x00", "0b=", "0b====", "0bA", "0bAA", "0bAA=A", "0b!!!!",
                         "0xg", "0x 1", "12345678");
    CHECK(ask("7", "1", none) == Errc::protocol);
}

TEST_CASE("all writings of a challenge get the same response", "[login][CHAP-04]") {
    std::vector<std::byte> bytes{std::byte{0x0a}, std::byte{0xbc}, std::byte{0xde}};
    auto response = login::chap_response(ChapAlgorithm::sha256, 9, base::bytes_of("our secret 12345"), bytes);
    auto expected = base::hex_binary(response->bytes());
    std::string base64 = base64_binary(bytes);
    std::string upper_base64 = "0B" + base64.substr(2);
    for (const std::string& written :
         {std::string("0x0abcde"), std::string("0xabcde"), std::string("0XABCDE"), std::string("0x0AbCdE"),
          base64, upper_base64}) {
        CAPTURE(written);
        std::string said;
        REQUIRE(ask({{"CHAP_A", "7"}, {"CHAP_I", "9"}, {"CHAP_C", written}}, &said) == fine);
        CHECK(value_of(said, "CHAP_R") == expected);
    }
}

TEST_CASE("all writings of a proof are understood", "[login][CHAP-04]") {
    // A secret whose proof begins with a zero digit, which may be left out.
    std::string secret;
    for (int i = 0; i < 1000 && secret.empty(); ++i) {
        std::string candidate = "their secret " + std::to_string(i);
        if (Asked(candidate).good()[2] == '0') {
            secret = candidate;
        }
    }
    REQUIRE_FALSE(secret.empty());
    std::string hex = Asked(secret).good();
    std::string upper = hex;
    std::transform(upper.begin(), upper.end(), upper.begin(),
                   [](char c) { return c == 'x' ? 'X' : std::toupper(c); });
    std::string base64 = base64_binary(*base::parse_rfc_binary(hex, 64));
    for (const std::string& written : {hex, upper, "0x" + hex.substr(3), base64, "0B" + base64.substr(2)}) {
        CAPTURE(written);
        Asked asked(secret);
        CHECK(asked.prove("target", written) == fine);
        CHECK(asked.chap.proved());
    }
}

TEST_CASE("a name is any text of at most 255 bytes",
          "[login][CHAP-03][UNH-CHAP-4.1][UNH-CHAP-4.2][UNH-CHAP-4.3]"
          "[UNH-CHAP-4.4]") {
    for (const std::string& name :
         {std::string("t"), std::string("a name = with, all"), std::string("\xc3\xa4"), std::string(255, 'n'),
          std::string("iqn.2026-01.example:disk")}) {
        Asked asked("their secret 678", name);
        CHECK(asked.prove(name, asked.good()) == fine);
        CHECK(asked.chap.proved());
    }
    Asked any("their secret 678", "");
    CHECK(any.prove(std::string(256, 'n'), any.good()) == Errc::protocol);
    Asked other("their secret 678", "name");
    CHECK(other.prove("Name", other.good()) == Errc::authentication);
    Asked longer("their secret 678", "name");
    CHECK(longer.prove("names", longer.good()) == Errc::authentication);
}

TEST_CASE("a target may have our name, or another one each time, unless it was told which",
          "[login][CHAP-03][UNH-CHAP-4.6][UNH-CHAP-4.7][UNH-CHAP-4.8]") {
    for (const char* name : {"user", "user", "target", "target", "disk-1", "disk-2"}) {
        CAPTURE(name);
        Asked any("their secret 678", "");
        CHECK(any.prove(name, any.good()) == fine);
        CHECK(any.chap.proved());
        Asked told("their secret 678", "target");
        bool is_the_one = std::string_view(name) == "target";
        CHECK(told.prove(name, told.good()) == (is_the_one ? fine : Errc::authentication));
        CHECK(told.chap.proved() == is_the_one);
    }
}

TEST_CASE("a proof has exactly the length of the digest, and every byte counts",
          "[login][CHAP-03][CHAP-11][UNH-CHAP-5.1][UNH-CHAP-5.2][UNH-CHAP-5.3]") {
    std::string good = Asked().good();
    for (std::size_t i = 2; i < good.size(); ++i) {
        std::string wrong = good;
        wrong[i] = wrong[i] == '0' ? '1' : '0';
        Asked asked;
        CHECK(asked.prove("target", wrong) == Errc::authentication);
        CHECK_FALSE(asked.chap.proved());
    }
    for (const std::string& length :
         {good + "00", good.substr(0, good.size() - 2), std::string("0x00"), "0x" + std::string(2048, '0'),
          "0x" + std::string(2050, '0'), std::string("0x"), std::string(), good.substr(2)}) {
        Asked asked;
        CHECK(asked.prove("target", length) == Errc::protocol);
    }
}

TEST_CASE("no key comes out of its turn",
          "[login][CHAP-02][UNH-CHAP-1.3][UNH-CHAP-2.3][UNH-CHAP-3.5][UNH-CHAP-4.5]") {
    // Each of the keys, alone and beside those that belong there, in each answer of the target.
    std::string stray = GENERATE("CHAP_A=5\n", "CHAP_I=7\n", "CHAP_C=0x0102\n", "CHAP_N=target\n",
                                 "CHAP_R=0x00\n", "CHAP_X=1\n");
    std::size_t when = GENERATE(0, 1, 2, 3);
    bool alone = GENERATE(false, true);
    CAPTURE(stray, when, alone);
    FakeLoginTarget target;
    target.edit = [&](LoginAnswer& answer, std::size_t number) {
        if (number == when) {
            answer.text = alone ? stray : answer.text + stray;
        }
    };
    auto code = failure(target, with_chap(true)).code;
    CHECK(code == Errc::protocol);
    CHECK(target.requests.size() == when + 1);
    CHECK_FALSE(target.requests.back().value("MaxBurstLength").has_value() != (when == 3));
}

TEST_CASE("an answer without a key of its step ends the connection", "[login][CHAP-02][CHAP-09]") {
    std::string missing = GENERATE("CHAP_A", "CHAP_I", "CHAP_C", "CHAP_N", "CHAP_R");
    CAPTURE(missing);
    FakeLoginTarget target;
    target.edit = [&](LoginAnswer& answer, std::size_t) {
        std::size_t at = answer.text.find(missing + "=");
        if (at != std::string::npos) {
            answer.text.erase(at, answer.text.find('\n', at) + 1 - at);
        }
    };
    CHECK(failure(target, with_chap(true)).code == Errc::protocol);
}

TEST_CASE("a target that keeps its proof to itself is not asked again", "[login][CHAP-09]") {
    bool leaves = GENERATE(false, true);
    FakeLoginTarget target;
    target.edit = [&](LoginAnswer& answer, std::size_t number) {
        if (number == 2) {
            answer.text.clear();
            answer.header.flags = leaves ? 0x81 : 0x00;
        }
    };
    CHECK(failure(target, with_chap(true)).code == Errc::authentication);
    CHECK(target.requests.size() == 3);
}

TEST_CASE("the stage is not left before the authentication is over", "[login][CHAP-09][LOGIN-07]") {
    auto flags = GENERATE(0x81, 0x83, 0x87);
    std::size_t when = GENERATE(0, 1);
    FakeLoginTarget target;
    target.edit = [&](LoginAnswer& answer, std::size_t number) {
        if (number == when) {
            answer.header.flags = static_cast<std::uint8_t>(flags);
        }
    };
    CHECK(failure(target, with_chap(GENERATE(false, true))).code == Errc::protocol);
    CHECK(target.requests.size() == when + 1);
}

TEST_CASE("each of our challenges is new and longer than any digest",
          "[login][CHAP-05][CHAP-08][UNH-CHAP-3.6.3][UNH-CHAP-3.6.4][UNH-CHAP-3.7]") {
    std::set<std::string> challenges;
    std::set<std::string> identifiers;
    std::string theirs = "0x" + std::string(64, '7');
    for (int i = 0; i < 500; ++i) {
        FakeLoginTarget target;
        target.challenge = theirs;
        auto engine = iscsi::test::make(with_chap(true));
        REQUIRE(target.run(*engine).has_value());
        std::string ours = *target.requests.at(2).value("CHAP_C");
        CHECK(ours.size() >= 2 + 2 * 32);
        CHECK(ours != theirs);
        challenges.insert(ours);
        identifiers.insert(*target.requests.at(2).value("CHAP_I"));
    }
    CHECK(challenges.size() == 500);
    CHECK(identifiers.size() > 150);
}

TEST_CASE(
    "a challenge of ours that comes back on another connection ends that one, first or later, in any writing",
    "[login][CHAP-05][UNH-CHAP-3.6.1][UNH-CHAP-3.6.2][UNH-CHAP-3.8]") {
    // The first login waits for its proof, or is over, when the second is asked what the first had asked.
    FakeLoginTarget first_target;
    auto first = iscsi::test::make(with_chap(true));
    for (int i = 0; i < 3; ++i) {
        if (i == 2) {
            first_target.edit = [](LoginAnswer& answer, std::size_t) { answer.header.flags = 0x40; };
        }
        REQUIRE(first_target.exchange(*first).has_value());
    }
    std::string ours = *first_target.requests.back().value("CHAP_C");
    if (GENERATE(false, true)) {
        first.reset();
    }
    bool base64 = GENERATE(false, true);
    bool mutual = GENERATE(false, true);
    FakeLoginTarget second;
    second.challenge = base64 ? base64_binary(*base::parse_rfc_binary(ours, 64)) : ours;
    auto error = failure(second, with_chap(mutual));
    CHECK(error.code == Errc::authentication);
    CHECK(second.requests.size() == 2); // the response was never sent
}

TEST_CASE("secrets are any octets, from one to 255", "[login][CHAP-07]") {
    std::string octets;
    for (int i = 1; i < 256; ++i) {
        octets += static_cast<char>(i);
    }
    for (const std::string& secret : {std::string("x"), std::string("\x80\xff\x01 0x", 6),
                                      std::string("0x1234"), octets.substr(0, 16), octets}) {
        auto config = with_chap(false);
        config.chap.secret = Secret(secret);
        FakeLoginTarget target;
        target.initiator_secret = secret;
        REQUIRE(target.run(*iscsi::test::make(std::move(config))).has_value());
        CHECK(target.initiator_proved);
    }
}

TEST_CASE("no error of an authentication tells a secret, a challenge or a response", "[login][CHAP-11]") {
    std::string wrong = Asked().good();
    wrong.back() = wrong.back() == '0' ? '1' : '0';
    for (const std::string& response : {wrong, Asked().good() + "00", std::string("secret")}) {
        Asked asked;
        auto refused = asked.chap.on_keys(Keys{{"CHAP_N", "target"}, {"CHAP_R", response}}, asked.bench.out);
        REQUIRE_FALSE(refused.has_value());
        std::string detail = refused.error().detail;
        std::string challenge = value_of(asked.said, "CHAP_C");
        for (const std::string& told : {std::string("their secret"), std::string("our secret 1"),
                                        response.substr(2, 16), challenge.substr(2, 16)}) {
            CHECK(detail.find(told) == std::string::npos);
        }
    }
}

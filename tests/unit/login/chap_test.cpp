#include "unit/login/chap_bench.hpp"

using namespace iscsi::test;
using iscsi::base::Errc;
using Bench = iscsi::test::ChapBench;
namespace base = iscsi::base;
namespace login = iscsi::login;

TEST_CASE("responses equal those of another implementation", "[rfc1994-4.1][CHAP-01]") {
    struct Row {
        ChapAlgorithm algorithm;
        const char* response;
    };
    // Identifier 0x27, secret "a secret of 16 b", challenge 00 01 .. 0f; computed with Python's hashlib.
    const auto row = GENERATE(
        Row{ChapAlgorithm::md5, "0xb55f99523937b4aa25cef487d0619b4f"},
        Row{ChapAlgorithm::sha1, "0xcba3c1a351d285635e2e58b06312f7e1c6a88624"},
        Row{ChapAlgorithm::sha256, "0x3bcf1de0ea794bd42a485f6166df3fd03f8c93cbf1cd65b231b3a929ba1d74a6"},
        Row{ChapAlgorithm::sha3_256, "0x02b0fea215b222a5b8bbb30090a87e9dd7269381583d465256cfce803d4383a9"});
    std::vector<std::byte> challenge = *base::parse_rfc_binary("0x000102030405060708090a0b0c0d0e0f", 16);
    auto response = login::chap_response(row.algorithm, 0x27, base::bytes_of("a secret of 16 b"), challenge);
    REQUIRE(response.has_value());
    CHECK(base::hex_binary(response->bytes()) == row.response);
    CHECK(response->bytes().size() == login::response_bytes(row.algorithm));
}

TEST_CASE("the operator names algorithms in order of preference", "[rfc7143-12.1.3]") {
    auto list = login::parse_chap_algorithms("SHA3-256, SHA256,SHA1,MD5");
    REQUIRE(list.has_value());
    CHECK(*list == std::vector{ChapAlgorithm::sha3_256, ChapAlgorithm::sha256, ChapAlgorithm::sha1,
                               ChapAlgorithm::md5});
    auto bad = GENERATE("", "md5", "MD5,", "MD5,MD5", "SHA512", "MD5;SHA1");
    CHECK(login::parse_chap_algorithms(bad).error().code == Errc::invalid);
}

TEST_CASE("mutual authentication takes three steps", "[rfc7143-12.1.3][CHAP-02][CHAP-03][CHAP-06][CHAP-09]") {
    Bench bench;
    Chap chap(bench.config);
    REQUIRE(chap.start(bench.out).has_value());
    CHECK(bench.said() == "CHAP_A=7,5\n");
    CHECK_FALSE(chap.ready_to_leave());
    REQUIRE(give(chap, first_question, bench.out) == Errc::unknown);
    std::string said = bench.said();
    CHECK(value_of(said, "CHAP_N") == "user");
    CHECK(value_of(said, "CHAP_R").size() == 2 + 64);
    CHECK(chap.ready_to_leave());
    CHECK_FALSE(chap.proved());
    std::string good = proof(said, "their secret 678");
    SECTION("the right proof ends it") {
        CHECK(give(chap, {{"CHAP_N", "target"}, {"CHAP_R", good}}, bench.out) == Errc::unknown);
        CHECK(chap.proved());
        CHECK(give(chap, {{"CHAP_R", good}}, bench.out) == Errc::protocol);
    }
    SECTION("the order of the keys does not matter") {
        CHECK(give(chap, {{"CHAP_R", good}, {"CHAP_N", "target"}}, bench.out) == Errc::unknown);
        CHECK(chap.proved());
    }
    SECTION("silence proves nothing") {
        CHECK(give(chap, {}, bench.out) == Errc::authentication);
        CHECK_FALSE(chap.proved());
    }
    SECTION("a wrong proof, another name, or our own secret are refused") {
        std::string wrong = proof(said, "their secret 679");
        std::string ours = proof(said, "our secret 12345");
        auto number = GENERATE(0, 1, 2);
        Keys keys{{"CHAP_N", number == 1 ? "other" : "target"},
                  {"CHAP_R", number == 0   ? wrong
                             : number == 1 ? good
                                           : ours}};
        auto refused = chap.on_keys(keys, bench.out);
        REQUIRE_FALSE(refused.has_value());
        CHECK(refused.error().code == Errc::authentication);
        bool names_our_secret = refused.error().detail.find("of our secret") != std::string::npos;
        CHECK(names_our_secret == (number == 2));
        CHECK_FALSE(chap.proved());
    }
    SECTION("keys that are not of the step are refused") {
        std::string too_long = good + "00";
        const std::vector<Keys> bad{{{"CHAP_N", "target"}},
                                    {{"CHAP_R", good}},
                                    {{"CHAP_N", "target"}, {"CHAP_R", good}, {"CHAP_I", "1"}},
                                    {{"CHAP_N", "target"}, {"CHAP_N", "target"}},
                                    {{"CHAP_N", "target"}, {"CHAP_R", "0x00"}},
                                    {{"CHAP_N", "target"}, {"CHAP_R", too_long}},
                                    {{"CHAP_N", "target"}, {"CHAP_R", "secret"}},
                                    {{"CHAP_N", ""}, {"CHAP_R", ""}}};
        for (const Keys& keys : bad) {
            CHECK(give(chap, keys, bench.out) == Errc::protocol);
            CHECK_FALSE(chap.proved());
        }
    }
}

TEST_CASE("with no name configured any name of the target will do", "[rfc7143-12.1.3]") {
    Bench bench;
    bench.config.username_in.clear();
    Chap chap(bench.config);
    REQUIRE(chap.start(bench.out).has_value());
    REQUIRE(give(chap, first_question, bench.out) == Errc::unknown);
    std::string good = proof(bench.said().substr(std::string("CHAP_A=7,5\n").size()), "their secret 678");
    CHECK(give(chap, {{"CHAP_N", "whoever"}, {"CHAP_R", good}}, bench.out) == Errc::unknown);
    CHECK(chap.proved());
}

TEST_CASE("one-way authentication asks the target for nothing and takes nothing",
          "[rfc7143-12.1.3][CHAP-02]") {
    Bench bench(false);
    Chap chap(bench.config);
    REQUIRE(chap.start(bench.out).has_value());
    bench.said();
    REQUIRE(give(chap, first_question, bench.out) == Errc::unknown);
    CHECK(bench.said().find("CHAP_C") == std::string::npos);
    CHECK(chap.proved());
    CHECK(give(chap, {}, bench.out) == Errc::unknown);
    CHECK(give(chap, {{"CHAP_N", "x"}, {"CHAP_R", "0x00"}}, bench.out) == Errc::protocol);
}

TEST_CASE("a malformed question is refused", "[rfc7143-12.1.3][CHAP-02][CHAP-03]") {
    std::string long_challenge = "0x" + std::string(2050, 'a');
    const std::vector<Keys> bad{{},
                                {{"CHAP_A", "7"}},
                                {{"CHAP_A", "7"}, {"CHAP_I", "1"}},
                                {{"CHAP_A", "6"}, {"CHAP_I", "1"}, {"CHAP_C", "0x01"}},
                                {{"CHAP_A", "7,5"}, {"CHAP_I", "1"}, {"CHAP_C", "0x01"}},
                                {{"CHAP_A", "7"}, {"CHAP_I", "256"}, {"CHAP_C", "0x01"}},
                                {{"CHAP_A", "7"}, {"CHAP_I", "-1"}, {"CHAP_C", "0x01"}},
                                {{"CHAP_A", "7"}, {"CHAP_I", ""}, {"CHAP_C", "0x01"}},
                                {{"CHAP_A", "7"}, {"CHAP_I", "1"}, {"CHAP_C", ""}},
                                {{"CHAP_A", "7"}, {"CHAP_I", "1"}, {"CHAP_C", "0x"}},
                                {{"CHAP_A", "7"}, {"CHAP_I", "1"}, {"CHAP_C", "1234"}},
                                {{"CHAP_A", "7"}, {"CHAP_I", "1"}, {"CHAP_C", "0xzz"}},
                                {{"CHAP_A", "7"}, {"CHAP_I", "1"}, {"CHAP_C", "0bA==="}},
                                {{"CHAP_A", "7"}, {"CHAP_I", "1"}, {"CHAP_C", long_challenge}},
                                {{"CHAP_A", "7"}, {"CHAP_I", "1"}, {"CHAP_C", "0x01"}, {"CHAP_N", "x"}},
                                {{"CHAP_A", "7"}, {"CHAP_I", "1"}, {"CHAP_I", "1"}}};
    for (const Keys& keys : bad) {
        Bench bench;
        Chap chap(bench.config);
        REQUIRE(chap.start(bench.out).has_value());
        CHECK(give(chap, keys, bench.out) == Errc::protocol);
        CHECK_FALSE(chap.ready_to_leave());
    }
}

TEST_CASE("challenges come in hexadecimal and base64, with any count of digits", "[rfc7143-6.1][CHAP-04]") {
    auto challenge = GENERATE("0xABCdef", "0Xabc", "0bq83v", "0BAQ==", "0x01");
    Bench bench(false);
    Chap chap(bench.config);
    REQUIRE(chap.start(bench.out).has_value());
    CHECK(give(chap, {{"CHAP_A", "0x7"}, {"CHAP_I", "0xff"}, {"CHAP_C", challenge}}, bench.out) ==
          Errc::unknown);
}

TEST_CASE("a challenge of ours is not answered, on whatever connection it comes back",
          "[rfc7143-9.2.1][CHAP-05]") {
    Bench bench;
    Chap first(bench.config);
    REQUIRE(first.start(bench.out).has_value());
    REQUIRE(give(first, first_question, bench.out) == Errc::unknown);
    std::string reflected = value_of(bench.said(), "CHAP_C");
    Chap second(bench.config);
    REQUIRE(second.start(bench.out).has_value());
    bench.said();
    Keys keys{{"CHAP_A", "7"}, {"CHAP_I", "1"}, {"CHAP_C", reflected}};
    CHECK(give(second, keys, bench.out) == Errc::authentication);
    CHECK(bench.said().empty());
}

TEST_CASE("only its own challenges are recognised", "[rfc7143-9.2.1][CHAP-05]") {
    Challenges ours;
    Challenges others;
    auto one = *ours.fresh();
    auto two = *ours.fresh();
    CHECK(one != two);
    CHECK(ours.is_ours(one));
    CHECK(ours.is_ours(two));
    CHECK_FALSE(others.is_ours(one));
    CHECK_FALSE(ours.is_ours(base::Bytes(one).first(16)));
    one[31] ^= std::byte{1};
    CHECK_FALSE(ours.is_ours(one));
    CHECK(Challenges::of_process().is_ours(*Challenges::of_process().fresh()));
}

TEST_CASE("without randomness there is no challenge", "[rfc7143-9.2.1][CHAP-08]") {
    Challenges challenges([](base::MutableBytes) { return false; });
    CHECK(challenges.fresh().error().code == Errc::internal);
    CHECK(challenges.fresh_identifier().error().code == Errc::internal);
    CHECK_FALSE(challenges.is_ours(Challenges::Challenge{}));
}

TEST_CASE("a configuration that cannot authenticate is refused", "[rfc7143-9.2.1][CHAP-06]") {
    Bench bench;
    ChapConfig& config = bench.config;
    CHECK(login::check_chap(config).has_value());
    CHECK(login::check_chap(ChapConfig{}).has_value());
    SECTION("no secret") {
        config.secret = Secret();
    }
    SECTION("no username") {
        config.username.clear();
    }
    SECTION("equal secrets") {
        config.secret_in = config.secret;
    }
    SECTION("no algorithm") {
        config.algorithms.clear();
    }
    SECTION("an algorithm twice") {
        config.algorithms = {ChapAlgorithm::md5, ChapAlgorithm::md5};
    }
    SECTION("too long a name") {
        config.username = std::string(256, 'u');
    }
    SECTION("too long a secret") {
        config.secret = Secret(std::string(256, 's'));
    }
    auto checked = login::check_chap(config);
    REQUIRE_FALSE(checked.has_value());
    CHECK(checked.error().code == Errc::invalid);
    CHECK(checked.error().detail.find("our secret") == std::string::npos);
}

TEST_CASE("secrets compare by value and survive copies and moves", "[secret]") {
    Secret a("abc");
    Secret b = a;
    Secret c = std::move(a);
    CHECK(login::same_secret(b.bytes(), c.bytes()));
    CHECK_FALSE(login::same_secret(b.bytes(), Secret("abd").bytes()));
    CHECK_FALSE(login::same_secret(b.bytes(), Secret("ab").bytes()));
    b = Secret("x");
    CHECK(base::text_of(b.bytes()) == "x");
    CHECK(Secret().empty());
}

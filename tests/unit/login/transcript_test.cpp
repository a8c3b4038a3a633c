// The transcript of a login: what is in it, what never is, and its bounds.
#include "unit/login/login_bench.hpp"

#include "base/text.hpp"
#include "login/transcript.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace iscsi;
using login::shown_pair;
using login::Transcript;
using test::FakeLoginTarget;
using test::key_text;
using test::LoginAnswer;

namespace {

std::string joined(const std::vector<std::string>& lines) {
    std::string all;
    for (const std::string& line : lines) {
        all += line + "\n";
    }
    return all;
}

/// The transcript of a login that fails against `target`.
std::string failed(FakeLoginTarget& target, login::LoginConfig config) {
    config.transcript = true;
    auto engine = test::make(std::move(config));
    REQUIRE_FALSE(target.run(*engine));
    return joined(engine->transcript());
}

bool has(const std::string& text, const std::string& words) {
    return text.find(words) != std::string::npos;
}

/// Nothing of it, in whatever case, that would be of use: no eight digits in a row.
bool has_part_of(std::string text, const std::string& hex) {
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
    for (std::size_t at = 2; at + 8 <= hex.size(); ++at) {
        if (has(text, hex.substr(at, 8))) {
            return true;
        }
    }
    return false;
}

wire::Bhs response(std::uint8_t flags) {
    wire::LoginResponse pdu;
    pdu.flags = flags;
    return wire::generic(pdu);
}

void receive(Transcript& transcript, const std::string& text, bool continues = false) {
    transcript.received(response(continues ? wire::login_flag::continues : std::uint8_t{0}),
                        base::bytes_of(text));
}

const std::string secret_digits = "0x0123456789abcdeffedcba9876543210";

} // namespace

TEST_CASE("a transcript shows each PDU's direction, stages, status and keys") {
    FakeLoginTarget target;
    target.operational["HeaderDigest"] = "Reject";
    login::LoginConfig config = test::normal();
    config.offers.header_digest = "CRC32C";
    const std::string told = failed(target, config);
    CAPTURE(told);
    const std::vector<std::string> expected{
        "> Login Request, CSG=0 (security negotiation) NSG=1 (operational negotiation) T, TSIH 0\n",
        "    TargetName=iqn.2026-01.example:disk\n",
        "    AuthMethod=None\n",
        "< Login Response, status 0000 (success), CSG=0 (security negotiation) NSG=1 (operational "
        "negotiation) T, TSIH 0\n",
        "    TargetPortalGroupTag=1\n",
        "> Login Request, CSG=1 (operational negotiation) NSG=3 (full feature phase) T, TSIH 0\n",
        "    HeaderDigest=CRC32C\n",
        "    MaxBurstLength=",
        "< Login Response, status 0000 (success), CSG=1 (operational negotiation)",
        "    HeaderDigest=Reject\n",
    };
    std::size_t at = 0;
    for (const std::string& line : expected) {
        at = told.find(line, at);
        INFO(line);
        REQUIRE(at != std::string::npos);
    }
}

TEST_CASE("a transcript says a refusal in words") {
    FakeLoginTarget target;
    target.edit = [](LoginAnswer& answer, std::size_t) {
        answer = {};
        answer.header.itt = 1;
        answer.header.status = 0x0203;
    };
    CHECK(has(failed(target, test::normal()),
              "< Login Response, status 0203 (initiator error: target not found), CSG=0"));
}

TEST_CASE("there is no transcript that was not asked for") {
    FakeLoginTarget target;
    auto engine = test::make(test::normal());
    REQUIRE(target.run(*engine));
    CHECK(engine->transcript().empty());
}

TEST_CASE("challenges and responses of both sides are in no transcript", "[rfc7143-9.2.1]") {
    FakeLoginTarget target;
    target.challenge = secret_digits;
    target.own_secret = "not what was agreed on";
    const std::string told = failed(target, test::with_chap(true));
    CAPTURE(told);
    CHECK_FALSE(has_part_of(told, secret_digits));
    REQUIRE(target.requests.size() == 3);
    for (const char* key : {"CHAP_R", "CHAP_C"}) {
        const auto sent = target.requests[2].value(key);
        REQUIRE(sent);
        CHECK_FALSE(has_part_of(told, *sent));
    }
    CHECK(has(told, "    CHAP_R=<34 bytes, not shown>\n"));
    CHECK(has(told, "    CHAP_C=<34 bytes, not shown>\n"));
    CHECK(has(told, "    CHAP_A=5\n"));
    CHECK(has(told, "    CHAP_I=7\n"));
    CHECK(has(told, "    CHAP_N=user\n"));
    for (const char* secret : {"initiator secret", "the target's own", "not what was agreed on"}) {
        CHECK_FALSE(has(told, secret));
    }
}

TEST_CASE("what a target sends oddly is not shown either") {
    const auto pair = GENERATE(
        as<std::string>{}, "CHAP_C=", "chap_r=", "Chap_C=", " CHAP_R=", "CHAP_R =", "CHAP_R",
        "CHAP_C:", "CHAP_C ",
        "X-CHAP_C=", "XCHAP_R=", "CHAP_I=", "CHAP_A=", "AuthMethod=CHAP_C=", "TargetAlias=aCHAP_R=",
        "TargetAlias=a\x01"
        "chap_c=",
        "CHAP_N=aCHAP_R=", "=", "==", "CHAP_R==", "\xff\xfe=", "Challenge=", "AuthMethod=SRP_U=", "");
    const std::string line = shown_pair(pair + secret_digits);
    CAPTURE(pair, line);
    CHECK_FALSE(has_part_of(line, secret_digits));
    // Where the name should be.
    CHECK_FALSE(has_part_of(shown_pair(pair + secret_digits + "=1"), secret_digits));
}

TEST_CASE("a secret that comes in parts is not shown") {
    const std::string text = key_text("CHAP_A=5\nCHAP_C=" + secret_digits + "\nTargetAlias=disk\n");
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
        Transcript transcript;
        receive(transcript, text.substr(0, cut), true);
        receive(transcript, text.substr(cut));
        const std::string told = joined(transcript.lines());
        INFO(told);
        REQUIRE_FALSE(has_part_of(told, secret_digits));
        REQUIRE(has(told, "    CHAP_C=<34 bytes, not shown>\n"));
        REQUIRE(has(told, "    TargetAlias=disk\n"));
    }
    // Both directions at once, and a last part without its NUL.
    Transcript transcript;
    receive(transcript, "CHAP_", true);
    wire::LoginRequest request;
    request.flags = wire::login_flag::continues;
    transcript.sent(wire::generic(request), base::bytes_of(key_text("CHAP_N=me\nCHAP_R=0x01")));
    receive(transcript, "R=" + secret_digits);
    const std::string told = joined(transcript.lines());
    CHECK(has(told, " C, TSIH 0\n"));
    CHECK(has(told, "    CHAP_N=me\n"));
    CHECK(has(told, "    CHAP_R=<34 bytes, not shown> (without a NUL behind it)\n"));
    CHECK_FALSE(has_part_of(told, secret_digits));
}

TEST_CASE("the rest of a value that was cut without saying so is not taken for a name") {
    const std::string text = key_text("CHAP_A=5\nCHAP_R=" + secret_digits + "\nTargetAlias=disk\n");
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
        for (std::size_t again = cut; again <= text.size(); ++again) {
            Transcript transcript;
            receive(transcript, text.substr(0, cut));
            receive(transcript, text.substr(cut, again - cut));
            receive(transcript, text.substr(again) + std::string(1, '\0'));
            receive(transcript, key_text("TargetAlias=next\n"));
            const std::string told = joined(transcript.lines());
            INFO(told);
            REQUIRE_FALSE(has_part_of(told, secret_digits));
            REQUIRE(has(told, "    TargetAlias=next\n"));
        }
    }
    Transcript transcript;
    receive(transcript, "CHAP_R=0x01234567");
    receive(transcript, key_text("89abcdef=\nTargetAlias=disk\n"));
    const std::string told = joined(transcript.lines());
    CHECK(has(told, "    CHAP_R=<10 bytes, not shown> (without a NUL behind it)\n"));
    CHECK(has(told, "    <9 bytes, not shown>\n    TargetAlias=disk\n"));
}

TEST_CASE("hostile values are printable and cut") {
    CHECK(shown_pair("TargetAlias=\x1b[2J\nfake") == "TargetAlias=\\x1b[2J\\x0afake");
    CHECK(shown_pair("TargetAlias=" + std::string(5000, 'x')) ==
          "TargetAlias=" + std::string(200, 'x') + "...");
    CHECK(shown_pair("X-com.vendor=NotUnderstood") == "X-com.vendor=NotUnderstood");
    CHECK(shown_pair("X-com.vendor=12345") == "X-com.vendor=<5 bytes, not shown>");
    CHECK(shown_pair(std::string(900, 'A') + "=1") == "<a name of 900 bytes>=<1 bytes, not shown>");
}

TEST_CASE("a transcript is bounded, and its end is there") {
    Transcript transcript;
    std::string many;
    for (int i = 0; i < 2000; ++i) {
        many += "A=\n";
    }
    receive(transcript, key_text(many));
    CHECK(transcript.lines().size() == 1 + Transcript::keys_max + 1);
    CHECK(transcript.lines().back() == "    and 1952 more");
    for (int i = 0; i < 100; ++i) {
        receive(transcript, key_text(many + "TargetAlias=" + std::string(9000, '\x01') + "\n"), i % 2 == 0);
        // A pair without an end.
        receive(transcript, std::string(8192, 'x'), true);
    }
    receive(transcript, key_text("\nTargetAlias=the last\n"));
    const std::vector<std::string> lines = transcript.lines();
    CHECK(lines.size() == Transcript::lines_max + 1);
    CHECK(lines.back() == "    TargetAlias=the last");
    CHECK(std::ranges::all_of(lines,
                              [](const auto& line) { return line.size() <= Transcript::line_bytes_max; }));
    CHECK(std::ranges::any_of(lines, [](const auto& line) { return line.ends_with("lines left out)"); }));
}

TEST_CASE("what is no Login Response is a line without its data") {
    Transcript transcript;
    wire::ScsiResponse pdu;
    transcript.received(wire::generic(pdu), base::bytes_of(std::string_view("CHAP_R=0x0123456789")));
    REQUIRE(transcript.lines().size() == 1);
    CHECK(transcript.lines()[0].starts_with("< SCSI Response"));
    CHECK_FALSE(has(transcript.lines()[0], "0123456789"));
}

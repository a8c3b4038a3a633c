// Key text over several PDUs, cut anywhere and in both directions (the C bit of RFC 7143 section 6.2), how
// much of it there may be, and keys that nobody knows.
#include "unit/login/login_bench.hpp"

#include <catch2/catch.hpp>
#include <functional>
#include <random>

using namespace iscsi::test;
using iscsi::base::Errc;
using iscsi::login::LoginConfig;
namespace wire = iscsi::wire;

namespace {

constexpr std::uint8_t transit = 0x80;
constexpr std::uint8_t continues = 0x40;

/// Sends texts of a target in pieces, each but the last with C=1.
class Cutter {
public:
    /// Bytes of the next piece of this text; as many as it has, or more: no cut.
    using Piece = std::function<std::size_t(const std::string&)>;

    explicit Cutter(Piece piece) : piece_(std::move(piece)) {}

    void operator()(LoginAnswer& answer, std::size_t number) {
        if (!rest_.empty()) {
            answer.text = std::exchange(rest_, {});
        }
        std::size_t piece = piece_(answer.text);
        if (piece < answer.text.size()) {
            rest_ = answer.text.substr(piece);
            answer.text.resize(piece);
            answer.header.flags = static_cast<std::uint8_t>((answer.header.flags & 0x0c) | continues);
            answer.header.tsih = 0;
            cut.push_back(number);
        }
    }

    std::vector<std::size_t> cut; ///< numbers of the answers with C=1

private:
    Piece piece_;
    std::string rest_;
};

/// A whole login with mutual CHAP whose answers are cut. Returns in how many places.
std::size_t cut_login(const Cutter::Piece& piece) {
    FakeLoginTarget target;
    Cutter cutter(piece);
    target.operational = {{"MaxBurstLength", "131072"}, {"FirstBurstLength", "0x10000"}};
    target.extra = "TargetAlias=an alias\n";
    target.edit = std::ref(cutter);
    auto engine = make(with_chap(true));
    auto ran = target.run(*engine);
    INFO((ran ? std::string() : ran.error().detail));
    REQUIRE(ran.has_value());
    CHECK(target.initiator_proved);
    CHECK(engine->negotiated().session.max_burst_bytes == 131072);
    CHECK(engine->negotiated().session.first_burst_bytes == 65536);
    CHECK(engine->target_alias() == "an alias");
    CHECK(target.requests.size() == 4 + cutter.cut.size());
    for (std::size_t number : cutter.cut) {
        CHECK(target.requests.at(number + 1).text.empty());
    }
    return cutter.cut.size();
}

/// Names of keys whose "name=NotUnderstood" texts have `bytes` together; at most 106 of them.
std::vector<std::string> names_answered_with(std::size_t bytes) {
    constexpr std::size_t around = sizeof "=NotUnderstood";
    std::vector<std::string> names;
    while (bytes > 0) {
        std::size_t length = std::min<std::size_t>(63, bytes - around);
        if (bytes - around - length != 0 && bytes - around - length < around + 8) {
            length -= 24; // leave enough for a last one
        }
        names.push_back("X-" + std::to_string(1000 + names.size()));
        names.back().resize(length, 'x');
        bytes -= around + length;
    }
    return names;
}

} // namespace

TEST_CASE("an answer may be cut in two at any byte", "[login][LOGIN-08]") {
    std::string which = GENERATE("AuthMethod=", "CHAP_C=", "CHAP_R=", "MaxBurstLength=");
    std::size_t at = 1;
    for (bool was_cut = true; was_cut; ++at) {
        CAPTURE(which, at);
        bool begun = false;
        was_cut = cut_login([&](const std::string& text) {
                      bool now = !begun && text.find(which) != std::string::npos;
                      begun = begun || now;
                      return now ? at : text.size();
                  }) == 1;
    }
    CHECK(at > 30);
}

TEST_CASE("an answer may come in any pieces, also empty ones", "[login][LOGIN-08]") {
    unsigned seed = GENERATE(range(0U, 200U));
    CAPTURE(seed);
    std::mt19937 random(seed);
    cut_login(
        [&](const std::string& text) { return std::max<std::size_t>(text.size() / 8, random() % 200); });
    int empty = 3;
    CHECK(cut_login([&](const std::string& text) { return empty-- > 0 ? 0 : text.size(); }) == 3);
}

TEST_CASE("our own text is cut at 8192 bytes and not before, and T waits for its end",
          "[login][LOGIN-08][LOGIN-09]") {
    std::size_t bytes = GENERATE(8191, 8192, 8193, 8200);
    std::string questions;
    for (const std::string& name : names_answered_with(bytes)) {
        questions += name + "=\n";
    }
    REQUIRE(questions.size() <= 8192);
    FakeLoginTarget target;
    target.edit = [&](LoginAnswer& answer, std::size_t number) {
        if (number == 0) {
            answer.header.flags = 0;
        } else if (number == 1) {
            answer.header.flags = 0;
            answer.text = questions;
        }
    };
    REQUIRE(target.run(*make(normal())).has_value());
    const LoginSeen& said = target.requests.at(2);
    CHECK(said.text.size() == std::min<std::size_t>(bytes, 8192));
    CHECK(said.header.flags == (bytes <= 8192 ? 0x81 : 0x40));
    const LoginSeen& next = target.requests.at(3);
    if (bytes > 8192) {
        CHECK(next.text.size() == bytes - 8192);
        CHECK(next.header.flags == 0x81);
    } else {
        CHECK(next.header.flags == 0x87);
    }
}

TEST_CASE("between the parts of our text a target says nothing and moves nowhere", "[login][LOGIN-09]") {
    std::string questions;
    for (const std::string& name : names_answered_with(8300)) {
        questions += name + "=\n";
    }
    auto flags = GENERATE(0x00, 0x40, 0x81);
    std::string text = GENERATE("", "X-late=1\n");
    FakeLoginTarget target;
    target.edit = [&](LoginAnswer& answer, std::size_t number) {
        if (number == 0) {
            answer.header.flags = 0;
            answer.text = questions;
        } else if (number == 1) {
            answer.header.flags = static_cast<std::uint8_t>(flags);
            answer.text = text;
        }
    };
    auto engine = make(normal());
    REQUIRE(target.exchange(*engine).has_value());
    CHECK(target.exchange(*engine).has_value() == (flags == 0 && text.empty()));
}

TEST_CASE("text far beyond 8192 bytes is taken in one negotiation", "[login][TEXT-02]") {
    std::string all;
    for (int i = 0; i < 120; ++i) {
        all += "X-" + std::to_string(i) + "=" + std::string(400, 'v') + "\n";
    }
    REQUIRE(all.size() > 6 * 8000);
    all = "TargetPortalGroupTag=1\nAuthMethod=None\n" + all;
    FakeLoginTarget target;
    target.edit = [&](LoginAnswer& answer, std::size_t) {
        if (!all.empty()) {
            std::size_t piece = std::min<std::size_t>(8192, all.size());
            answer.text = all.substr(0, piece);
            all.erase(0, piece);
            answer.header.flags = all.empty() ? 0 : continues;
        } else if (wire::current_stage(answer.header.flags) == wire::LoginStage::security) {
            answer.text.clear();
        }
    };
    REQUIRE(target.run(*make(normal())).has_value());
    CHECK(target.requests.back().has(transit));
}

TEST_CASE("a value has 255 bytes at most, where nothing else is said", "[login][TEXT-02][NAME-07]") {
    std::string alias;
    for (int i = 0; i < 85; ++i) {
        alias += "\xe2\x82\xac"; // three bytes each
    }
    FakeLoginTarget longest;
    longest.extra = "TargetAlias=" + alias + "\n";
    auto engine = make(normal());
    REQUIRE(longest.run(*engine).has_value());
    CHECK(engine->target_alias() == alias);
    FakeLoginTarget endless;
    endless.extra = "TargetAlias=" + std::string(1000, 'a') + "\n";
    CHECK(failure(endless).code == Errc::protocol);
    FakeLoginTarget beyond_all;
    beyond_all.extra = "X-key=" + std::string(3000, 'a') + "\n";
    CHECK(failure(beyond_all).code == Errc::protocol);
}

TEST_CASE("an alias decides nothing", "[login][NAME-07]") {
    FakeLoginTarget target;
    target.own_name = "impostor";
    target.security_text = "TargetPortalGroupTag=1\nTargetAlias=target\nAuthMethod=None\n";
    CHECK(failure(target, with_chap(true)).code == Errc::authentication);
}

TEST_CASE("a key that nobody knows is answered so, once, with its own name and nothing of its value",
          "[login][TEXT-04][UNH-LOGIN-7.6]") {
    std::string name = GENERATE("X-com.example.key", "X-a", "Unheard", "Z", "X#Unheard", "iSCSIUnheard");
    std::string value = GENERATE(as<std::string>{}, "", "1", "a=b=c", std::string(2000, 'v'));
    FakeLoginTarget target;
    target.edit = [&](LoginAnswer& answer, std::size_t number) {
        if (number == 1) {
            answer.header.flags = 0x04;
            answer.header.tsih = 0;
            answer.text.append(name).append("=").append(value).append("\n");
        }
    };
    REQUIRE(target.run(*make(normal())).has_value());
    CHECK(target.requests.at(2).text == iscsi::test::key_text(name + "=NotUnderstood\n"));
}

TEST_CASE("the name of a key is bounded before it is answered", "[login][TEXT-01][TEXT-04]") {
    FakeLoginTarget target;
    target.edit = [&](LoginAnswer& answer, std::size_t number) {
        if (number == 1) {
            answer.header.flags = 0x04;
            answer.text += "X-" + std::string(62, 'x') + "=1\n";
        }
    };
    CHECK(failure(target).code == Errc::protocol);
    CHECK(target.requests.size() == 2);
}

TEST_CASE("what a target says of its make needs no answer and changes nothing", "[login][TEXT-10]") {
    auto make_text = GENERATE("X#NodeArchitecture=Example/1.0,Other/2\n", "X#NodeArchitecture=\n",
                              "X#NodeArchitecture=Reject\n");
    std::size_t when = GENERATE(0, 1);
    FakeLoginTarget plain;
    auto without = make(normal());
    REQUIRE(plain.run(*without).has_value());
    FakeLoginTarget target;
    target.edit = [&](LoginAnswer& answer, std::size_t number) {
        answer.text += number == when ? make_text : "";
    };
    auto engine = make(normal());
    REQUIRE(target.run(*engine).has_value());
    REQUIRE(target.requests.size() == plain.requests.size());
    for (std::size_t i = 0; i < plain.requests.size(); ++i) {
        CHECK(target.requests[i].text == plain.requests[i].text);
        CHECK_THAT(plain.requests[i].text, !Catch::Contains("NodeArchitecture"));
    }
    FakeLoginTarget twice;
    twice.extra = std::string(make_text) + make_text;
    CHECK(failure(twice).code == Errc::protocol);
}

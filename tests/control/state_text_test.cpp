// The form of a session's state in its file: everything comes back, and nothing else is believed.
#include "control/state_text.hpp"

#include "base/bytes.hpp"
#include "base/crc32c.hpp"
#include "base/limits.hpp"
#include "control/state_sample.hpp"
#include "support/sanitized.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>
#include <vector>

using namespace iscsi;
using namespace iscsi::control;
using Json = nlohmann::json;

namespace {

constexpr int rounds = test::sanitized ? 300 : 5000;
constexpr std::size_t step = test::sanitized ? 29 : 1;
const std::string whole = state_text(samples::session(7)); // some 5 KiB

bool tells_a_secret(const std::string& text) {
    return text.find("secr3t") != std::string::npos || text.find("-of-the-target") != std::string::npos ||
           text.find("772d6f66") != std::string::npos;
}

/// A file around `session` with a checksum that is right.
std::string sealed(const Json& session) {
    const std::string text = session.dump();
    return fmt::format("{{\"v\":1,\"crc32c\":\"{:08x}\",\"session\":{}}}\n",
                       base::crc32c(base::bytes_of(text)), text);
}

Json session_json() {
    return Json::parse(whole).at("session");
}

/// What the first files of version 1 did not have.
const std::vector<std::string> later{"logged_in_at_ns", "portal_group", "time2wait_s",   "time2retain_s",
                                     "reinstated_at",   "companions",   "cache_survives"};

bool is_later(const std::string& name) {
    return std::ranges::find(later, name) != later.end();
}

std::string refusal(const std::string& text) {
    auto state = parse_state(text);
    return state ? std::string("accepted") : state.error().detail;
}

} // namespace

TEST_CASE("the state of a session comes back as it was, member for member") {
    for (std::uint32_t sid : {1U, 7U, 0xffffffffU}) {
        const SessionState state = samples::session(sid);
        auto again = parse_state(state_text(state));
        REQUIRE(again);
        CHECK(again->sid == state.sid);
        CHECK(again->node == state.node);
        CHECK(again->node.text(records::Key::session_password) == samples::secret);
        CHECK(again->node.text(records::Key::session_password_in) == samples::secret_in);
        CHECK(again->isid == state.isid);
        CHECK(again->initiator_name == state.initiator_name);
        CHECK(again->down_since == state.down_since);
        CHECK(again->portal_group == state.portal_group);
        CHECK(again->time2wait_s == state.time2wait_s);
        CHECK(again->time2retain_s == state.time2retain_s);
        CHECK(again->reinstated_at == state.reinstated_at);
        CHECK(again->logging_in);
        CHECK(again->ending);
        CHECK(again->units == state.units);
        CHECK(state_text(*again) == state_text(state));
    }
}

TEST_CASE("a session without units, before its first login, comes back too") {
    SessionState state;
    state.sid = 1;
    state.node = samples::session(1).node;
    auto again = parse_state(state_text(state));
    REQUIRE(again);
    CHECK(*again == state);
    CHECK_FALSE(again->down_since);
}

TEST_CASE("a file is one line that other programs can read, with numbers that they do not round") {
    CHECK(whole.find('\n') == whole.size() - 1);
    Json file = Json::parse(whole);
    CHECK(file.at("v") == 1);
    const Json& unit = file.at("session").at("units").at(1);
    CHECK(unit.at("cookie") == "ffffffffffffffff");
    CHECK(unit.at("backend") == "nbd");
    CHECK(unit.at("facts").at("lun") == "4001000000000000");
    CHECK(file.at("session").at("isid") == "80ffffffffff");
}

TEST_CASE("a file that was cut anywhere is refused") {
    for (std::size_t length = 0; length < whole.size(); length += step) {
        auto state = parse_state(std::string_view(whole).substr(0, length));
        if (state) {
            FAIL("accepted " << length << " of " << whole.size() << " bytes");
        }
        auto ended = parse_state(whole.substr(0, length) + "\n"); // by something else than the text itself
        if (ended && length + 1 != whole.size()) {
            FAIL("accepted " << length << " of " << whole.size() << " bytes and an end of line");
        }
        if (!ended && tells_a_secret(ended.error().detail)) {
            FAIL("cut at " << length << ": " << ended.error().detail);
        }
    }
}

TEST_CASE("a file with flipped bytes is refused, or means the same") {
    const SessionState state = samples::session(7);
    std::mt19937 random(1);
    std::uniform_int_distribution<std::size_t> where(0, whole.size() - 1);
    std::uniform_int_distribution<int> what(1, 255);
    for (int round = 0; round < rounds; ++round) {
        std::string bent = whole;
        for (int flips = round % 4; flips >= 0; --flips) {
            char& byte = bent[where(random)];
            byte = static_cast<char>(byte ^ what(random));
        }
        auto parsed = parse_state(bent);
        if (parsed && *parsed != state) {
            FAIL("round " << round << " was accepted: " << bent);
        }
        if (!parsed && tells_a_secret(parsed.error().detail)) {
            FAIL("round " << round << ": " << parsed.error().detail);
        }
    }
}

TEST_CASE("a forged file never does more than be refused or be a session") {
    std::mt19937 random(2);
    const std::string text = session_json().dump();
    std::uniform_int_distribution<std::size_t> where(0, text.size() - 1);
    constexpr std::string_view pieces = "0123456789-+.eE\"{}[],:\\ntfabcxyz";
    std::uniform_int_distribution<std::size_t> piece(0, pieces.size() - 1);
    int accepted = 0;
    for (int round = 0; round < rounds; ++round) {
        std::string bent = text;
        bent[where(random)] = pieces[piece(random)];
        Json session = Json::parse(bent, nullptr, false);
        if (session.is_discarded()) {
            continue;
        }
        auto parsed = parse_state(sealed(session));
        if (parsed) {
            ++accepted;
            auto again = parse_state(state_text(*parsed));
            if (!again || *again != *parsed) {
                FAIL("round " << round << " is not a session: " << bent);
            }
        } else if (tells_a_secret(parsed.error().detail)) {
            FAIL("round " << round << ": " << parsed.error().detail);
        }
    }
    CHECK(accepted > 0); // the checksums are right
}

TEST_CASE("a file of an older iscsid lacks what came later, and is read") {
    Json session = session_json();
    for (const std::string& name : later) {
        session.erase(name);
        session["units"][0]["facts"].erase(name);
    }
    const auto state = parse_state(sealed(session));
    REQUIRE(state);
    CHECK(state->units.size() == samples::session(7).units.size());
    CHECK_FALSE(state->portal_group);
    CHECK(state->time2retain_s == 0);
    CHECK_FALSE(state->reinstated_at);
    CHECK_FALSE(state->units[0].facts.cache_survives);
}

TEST_CASE("a session without companions has the file that it had before there were any") {
    SessionState state = samples::session(7);
    state.companions.clear();
    const std::string text = state_text(state);
    CHECK(text.find("companions") == std::string::npos);
    const auto read = parse_state(text);
    REQUIRE(read);
    CHECK(*read == state);
}

TEST_CASE("a member that is missing or of another type is refused by its name") {
    const Json session = session_json();
    REQUIRE(parse_state(sealed(session)));
    const Json leaves = session.flatten();
    for (const auto& [path, value] : leaves.items()) {
        const Json::json_pointer at(path);
        const std::string name = at.back();
        if (path.starts_with("/node/values") || session.at(at.parent_pointer()).is_array()) {
            continue; // a record's keys have defaults; a list may be shorter
        }
        CAPTURE(path);
        Json without = session;
        without.at(at.parent_pointer()).erase(name);
        CHECK((refusal(sealed(without)) != "accepted" || is_later(name)));
        if (test::sanitized && std::hash<std::string>()(path) % 8 != 0) {
            continue;
        }
        for (const Json& wrong : {Json("zzz"), Json(-1), Json(1.5), Json(Json::array({Json::object()})),
                                  Json(Json::object()), Json(99999999999999999999.0)}) {
            Json other = session;
            other.at(at) = wrong;
            if (other.at(at).is_string() && value.is_string()) {
                continue; // many texts are as good as others
            }
            CHECK(refusal(sealed(other)) != "accepted");
        }
    }
    Json without = session;
    without.erase("isid");
    CHECK(refusal(sealed(without)) == "isid is missing");
}

TEST_CASE("a file of a newer version is refused in words, whatever else is in it") {
    auto state = parse_state("{\"v\":2,\"sessions\":[]}\n");
    REQUIRE_FALSE(state);
    CHECK(state.error().code == base::Errc::not_supported);
    CHECK(state.error().detail == "it is of version 2; this iscsid reads version 1");
    CHECK(parse_state("{\"v\":0}\n").error().code == base::Errc::invalid);
    CHECK(parse_state("{\"v\":-1}\n").error().code == base::Errc::invalid);
    CHECK(parse_state("{}\n").error().detail == "v is missing");
}

TEST_CASE("what is no state at all is refused") {
    for (const std::string& text :
         {std::string(), std::string("\n"), std::string("null\n"), std::string("[]\n"),
          std::string("\0\n", 2), std::string(100000, '[') + "\n",
          std::string("{\"v\":1,\"crc32c\":\"00000000\",\"session\":1}\n"), whole + whole, whole + "x\n"}) {
        CHECK(refusal(text) != "accepted");
    }
    CHECK(refusal(std::string(base::limits::state_file_bytes_max, ' ') + "\n") == "it is too long");
}

TEST_CASE("what no session can have is refused, written or read") {
    using Change = void (*)(SessionState&);
    for (Change change : std::initializer_list<Change>{
             [](SessionState& s) { s.sid = 0; },
             [](SessionState& s) { s.isid = base::Isid(0x1000000000000); },
             [](SessionState& s) { s.node = records::Record(records::RecordKind::iface); },
             [](SessionState& s) { s.node = records::Record(records::RecordKind::node); },
             [](SessionState& s) { (void)s.node.set(records::Key::node_name, "../../etc/shadow"); },
             [](SessionState& s) { (void)s.node.set(records::Key::iface_name, "a/b"); },
             [](SessionState& s) { s.initiator_name = "not a name"; },
             [](SessionState& s) { s.down_since = base::Duration(-1); },
             [](SessionState& s) { s.companions[1].isid = s.isid; },
             [](SessionState& s) { s.companions[1].isid = s.companions[0].isid; },
             [](SessionState& s) { s.companions[0].isid = base::Isid(0x1000000000000); },
             [](SessionState& s) { s.companions[0].down_since = base::Duration(-1); },
             [](SessionState& s) {
                 for (std::uint64_t isid = 1; isid <= base::limits::queues_max; ++isid) {
                     s.companions.emplace_back().isid = base::Isid(isid);
                 }
             },
             [](SessionState& s) { s.logged_in_at = base::Duration(-1); },
             [](SessionState& s) { s.units[1].cookie = 0; },
             [](SessionState& s) { s.units[1].cookie = s.units[0].cookie; },
             [](SessionState& s) { s.units[0].facts.peripheral_type = 5; },
             [](SessionState& s) { s.units[0].facts.peripheral_qualifier = 1; },
             [](SessionState& s) { s.units[0].facts.block_bytes = 0; },
             [](SessionState& s) { s.units[0].facts.block_bytes = 520; },
             [](SessionState& s) { s.units[0].facts.block_bytes = 1U << 31; },
             [](SessionState& s) { s.units[0].facts.physical_block_bytes = 512; },
             [](SessionState& s) { s.units[0].facts.blocks = base::BlockCount(std::uint64_t{1} << 51); },
             [](SessionState& s) { s.units[0].facts.limits.max_unmap_descriptors = 65535; },
         }) {
        SessionState state = samples::session(7);
        change(state);
        CHECK_FALSE(check_state(state));
        auto parsed = parse_state(state_text(state));
        REQUIRE_FALSE(parsed);
        CHECK(parsed.error().code == base::Errc::invalid);
        CHECK_FALSE(parsed.error().detail.empty());
    }
    CHECK(check_state(samples::session(7)));
}

TEST_CASE("a value that a record refuses is not quoted when it is a secret") {
    Json session = session_json();
    session["node"]["values"]["node.session.auth.password"] = "secr3t\nof two lines";
    const std::string said = refusal(sealed(session));
    CHECK(said.find("node.session.auth.password") != std::string::npos);
    CHECK_FALSE(tells_a_secret(said));
    session["node"]["values"]["node.session.auth.password"] = Json::array({"secr3t"});
    CHECK_FALSE(tells_a_secret(refusal(sealed(session))));
}

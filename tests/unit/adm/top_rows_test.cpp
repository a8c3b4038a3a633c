// What `iscsiadm top` says of two looks at the sessions, and when it looks.
#include "top_pace.hpp"
#include "top_rows.hpp"
#include "top_table.hpp"

#include <catch2/catch.hpp>
#include <sstream>

using namespace iscsi;
using adm::Top;
using adm::top_between;
using adm::top_lines;
using adm::TopLine;
using adm::TopRow;
using namespace std::chrono_literals;

namespace {

ipc::KindSnapshot kind(std::uint64_t requests, std::uint64_t bytes, std::uint64_t each_us,
                       std::uint64_t failures = 0) {
    base::LatencyHistogram histogram;
    for (std::uint64_t i = 0; i < requests; ++i) {
        histogram.add(std::chrono::microseconds(each_us));
    }
    return ipc::snapshot(histogram.read(), failures, bytes);
}

std::vector<ipc::SessionSnapshot> session(const ipc::IoSnapshot& io) {
    ipc::AttachedLun lun;
    lun.number = 1;
    lun.state = "running";
    lun.device = "/dev/ublkb0";
    lun.io = io;
    ipc::SessionSnapshot one;
    one.sid = 3;
    one.target = "iqn.2026-01.example:t";
    one.session_state = ipc::SessionState::logged_in;
    one.luns = {lun};
    return {one};
}

Top many(std::size_t count) {
    Top top;
    top.seconds = 2;
    top.rows.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
        top.rows[i].sid = static_cast<std::uint32_t>(i + 1);
        top.rows[i].target = "iqn.2026-01.example:" + std::string(100, 'x');
        top.rows[i].shown_device = "ublkb0";
        top.rows[i].shown_state = "up";
        top.rows[i].is_up = true;
        top.rows[i].reads_per_s = static_cast<double>(i);
    }
    return top;
}

std::vector<std::string> words(const TopLine& line) {
    std::vector<std::string> out;
    std::istringstream in(line.text);
    for (std::string word; in >> word;) {
        out.push_back(word);
    }
    return out;
}

/// The sids of the lines of units.
std::vector<std::string> sids(const std::vector<TopLine>& lines) {
    std::vector<std::string> out;
    for (const TopLine& line : lines) {
        if (line.kind == TopLine::Kind::unit || line.kind == TopLine::Kind::trouble) {
            out.push_back(words(line).at(0));
        }
    }
    return out;
}

} // namespace

TEST_CASE("rates and latencies are those between two looks") {
    const auto before = session({kind(10, 40960, 1000), kind(5, 5000, 10), kind(1, 0, 10), 3, 0, 0});
    ipc::IoSnapshot later{kind(10, 40960, 1000), kind(5, 5000, 10), kind(2, 0, 10, 1), 7, 0, 0};
    // A hundred more reads of 200 us.
    base::LatencyCounts reads = ipc::latency_of(later.read);
    reads += ipc::latency_of(kind(100, 0, 200));
    later.read = ipc::snapshot(reads, 2, 40960 + 409600);
    const Top top = top_between(before, session(later), 2.0);
    REQUIRE(top.rows.size() == 1);
    const TopRow& row = top.rows[0];
    CHECK(row.sid == 3);
    CHECK(row.lun == 1);
    CHECK(row.state == "running");
    CHECK(row.shown_device == "ublkb0");
    CHECK(row.shown_state == "up");
    CHECK(row.is_up);
    CHECK(row.reads_per_s == Approx(50));
    CHECK(row.read_bytes_per_s == Approx(204800));
    CHECK(row.writes_per_s == Approx(0));
    CHECK(row.others_per_s == Approx(0.5));
    CHECK(row.failures == 3);
    CHECK(row.in_hand == 7);
    CHECK(row.p50_us == Approx(200).epsilon(0.07));
    CHECK(row.p999_us == Approx(200).epsilon(0.07));
    CHECK(top.seconds == 2.0);
    CHECK(top.sessions == 1);
    CHECK(top.recovering == 0);
    CHECK(top.total.per_s() == Approx(50.5));
}

TEST_CASE("of a daemon that was started anew all is new, and nothing is below zero") {
    const auto before = session({kind(1000, 4096000, 100), kind(7, 70, 10), {}, 0, 0, 0});
    const auto after = session({kind(4, 16384, 100), kind(9, 90, 10), {}, 0, 0, 0});
    const Top top = top_between(before, after, 1.0);
    CHECK(top.rows.at(0).reads_per_s == Approx(4));
    CHECK(top.rows.at(0).read_bytes_per_s == Approx(16384));
    CHECK(top.rows.at(0).writes_per_s == Approx(2));
}

TEST_CASE("a daemon that was started anew is known by any bucket, though it has counted more by now") {
    const auto before = session({kind(10, 40960, 5000), {}, {}, 0, 0, 0});
    const auto after = session({kind(1000, 4096000, 100), {}, {}, 0, 0, 0});
    const Top top = top_between(before, after, 1.0);
    CHECK(top.rows.at(0).reads_per_s == Approx(1000));
    CHECK(top.rows.at(0).p999_us == Approx(100).epsilon(0.07));
}

TEST_CASE("a unit that was not there before has a row, one that is gone has none") {
    const auto after = session({kind(4, 16384, 100), {}, {}, 0, 0, 0});
    CHECK(top_between({}, after, 1.0).rows.at(0).reads_per_s == Approx(4));
    CHECK(top_between(session({}), {}, 1.0).rows.empty());
}

TEST_CASE("a daemon that tells no numbers has rows without") {
    auto plain = session({});
    plain[0].luns[0].io.reset();
    const Top top = top_between(plain, plain, 1.0);
    CHECK(top.rows.at(0).per_s() == 0.0);
    CHECK(top.rows.at(0).p50_us == 0);
}

TEST_CASE("a session that is not logged in shows its own state, and is counted") {
    auto lost = session({});
    lost[0].session_state = ipc::SessionState::failed;
    lost[0].down_s = 95;
    const Top top = top_between({}, lost, 1.0);
    CHECK(top.rows.at(0).state == "FAILED");
    CHECK(top.rows.at(0).shown_state == "recovering 1 min");
    CHECK(top.recovering == 1);
    const auto lines = top_lines(top, "12:00:00", 0, 0);
    CHECK(lines.at(0).text == "12:00:00  1 session, 1 recovering, 1 unit, 1.0 s");
    CHECK(lines.at(3).kind == TopLine::Kind::trouble);
}

TEST_CASE("the sum has the requests of all units, and the latencies of all requests") {
    auto before = session({});
    auto after = session({kind(90, 90 * 4096, 100), {}, {}, 2, 0, 0});
    for (auto* sessions : {&before, &after}) {
        ipc::SessionSnapshot other = sessions->front();
        other.sid = 4;
        sessions->push_back(other);
    }
    after[1].luns[0].io = ipc::IoSnapshot{{}, kind(10, 10 * 4096, 90000), {}, 3, 0, 0};
    const Top top = top_between(before, after, 10.0);
    CHECK(top.total.reads_per_s == Approx(9));
    CHECK(top.total.writes_per_s == Approx(1));
    CHECK(top.total.read_bytes_per_s == Approx(9 * 4096));
    CHECK(top.total.write_bytes_per_s == Approx(4096));
    CHECK(top.total.in_hand == 5);
    CHECK(top.total.p50_us == Approx(100).epsilon(0.07));
    CHECK(top.total.p99_us == Approx(90000).epsilon(0.07));
    const auto lines = top_lines(top, "", 0, 0);
    REQUIRE(lines.size() == 5);
    CHECK(words(lines[2]) ==
          std::vector<std::string>{"all", "9", "1", "0", "0.0", "0.0", "5", "99us", "86ms", "86ms", "0"});
    const ipc::Json json = adm::top_json(top);
    CHECK(json["total"]["in_hand"] == 5);
    CHECK(json["units"].size() == 2);
    CHECK(json["units"][1]["sid"] == 4);
    CHECK(json["units"][1]["write_bytes_per_s"] == Approx(4096));
    CHECK(json["sessions"] == 2);
    CHECK(json["recovering"] == 0);
}

TEST_CASE("a screen shows the busiest, and how many there are beside them") {
    const auto lines = top_lines(many(50), "12:00:00", 80, 10);
    CHECK(lines.size() == 10);
    CHECK(sids(lines) == std::vector<std::string>{"50", "49", "48", "47", "46", "45"});
    CHECK(lines.back().text == "... and 44 more");
}

TEST_CASE("no line is longer than the screen is wide, and there are no more of them than it has") {
    auto top = many(20);
    top.rows[3].target = "iqn.2026-01.example:\xc3\xa4\xc3\xb6\xc3\xbc" + std::string(40, 'y');
    for (std::size_t columns = 1; columns < 250; ++columns) {
        for (const TopLine& line : top_lines(top, "12:00:00", columns, 0)) {
            REQUIRE(line.text.size() <= columns);
        }
    }
    for (std::size_t lines = 1; lines < 30; ++lines) {
        REQUIRE(top_lines(top, "12:00:00", 80, lines).size() == std::min<std::size_t>(lines, 23));
    }
}

TEST_CASE("eighty columns have the rates, the depth and all three latencies") {
    const auto lines = top_lines(many(3), "12:00:00", 80, 24);
    CHECK(words(lines.at(1)) == std::vector<std::string>{"SID", "LUN", "DEVICE", "STATE", "R/S", "W/S",
                                                         "RMIB", "WMIB", "QD", "P50", "P99", "P99.9"});
}

TEST_CASE("as many as there is room for are in their own order, and nothing is cut without a width") {
    const auto lines = top_lines(many(9), "12:00:00", 0, 12);
    CHECK(lines.size() == 12);
    CHECK(sids(lines) == std::vector<std::string>{"1", "2", "3", "4", "5", "6", "7", "8", "9"});
    CHECK(lines.back().text.ends_with(std::string(100, 'x')));
    CHECK(top_lines(many(200), "", 80, 0).size() == 203);
}

TEST_CASE("what a target or a unit calls itself cannot write to the terminal") {
    auto evil = session({});
    evil[0].target = "iqn.x:\x1b[2J\nfake";
    evil[0].luns[0].state = "\x1b[31m";
    evil[0].luns[0].device = "/dev/\x1b[1m";
    for (const TopLine& line : top_lines(top_between(evil, evil, 1.0), "", 0, 0)) {
        CHECK(std::ranges::none_of(line.text, [](char byte) { return byte >= 0 && byte < ' '; }));
    }
}

TEST_CASE("an interval is seconds, with a point or without") {
    CHECK(adm::parse_interval("2") == 2000ms);
    CHECK(adm::parse_interval("0.5") == 500ms);
    CHECK(adm::parse_interval("0.1") == 100ms);
    CHECK(adm::parse_interval("1.005") == 1005ms);
    CHECK(adm::parse_interval("86400") == 86400s);
    for (const char* wrong : {"",      ".",   "0",       "0.05",   "1.",
                              ".5",    "-1",  "1,5",     "1.0001", "1.-5",
                              " 1",    "1s",  "86400.1", "86401",  "99999999999999999999",
                              "1.5.5", "0x1", "nan",     "inf",    "1e3"}) {
        CHECK_FALSE(adm::parse_interval(wrong));
    }
}

TEST_CASE("a number of refreshes is one from 1 on") {
    CHECK(adm::parse_refreshes("1") == 1U);
    CHECK(adm::parse_refreshes("1000000000000") == 1000000000000U);
    for (const char* wrong : {"", "0", "-1", "1.5", "x", "99999999999999999999"}) {
        CHECK_FALSE(adm::parse_refreshes(wrong));
    }
}

TEST_CASE("refreshes do not drift, and what was slept through is not made up for") {
    const std::chrono::steady_clock::time_point begun(1000s);
    CHECK(adm::next_refresh(begun, 2s, begun) == begun + 2s);
    // An answer that took a while, a wake-up that was late: the next one is where it would have been.
    CHECK(adm::next_refresh(begun, 2s, begun + 1999ms) == begun + 2s);
    CHECK(adm::next_refresh(begun, 2s, begun + 2300ms) == begun + 4s);
    CHECK(adm::next_refresh(begun, 2s, begun + 4s) == begun + 6s);
    CHECK(adm::next_refresh(begun, 100ms, begun + 8h + 50ms) == begun + 8h + 100ms);
}

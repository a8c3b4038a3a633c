// The metrics that are made from a list of sessions, as text.
#include "base/histogram.hpp"
#include "exporter_families.hpp"

#include <catch2/catch.hpp>
#include <fmt/format.h>

using namespace iscsi;
using tools::metrics_text;
using Sessions = std::vector<ipc::SessionSnapshot>;

namespace {

ipc::KindSnapshot kind(std::initializer_list<std::int64_t> durations_us, std::uint64_t failures,
                       std::uint64_t bytes) {
    base::LatencyHistogram histogram;
    for (std::int64_t us : durations_us) {
        histogram.add(std::chrono::microseconds(us));
    }
    return ipc::snapshot(histogram.read(), failures, bytes);
}

Sessions one_session() {
    ipc::SessionSnapshot session;
    session.sid = 3;
    session.target = "iqn.2026-01.example:t";
    session.current = {"fe80::1%eth0", 3261};
    session.session_state = ipc::SessionState::failed;
    session.chap = {"name-of-chap", "secret-of-chap", "", ""};
    session.statistics.txdata_octets = 5'000'000'000'000;
    session.statistics.rxdata_octets = 11;
    session.statistics.scsicmd_pdus = 12;
    session.statistics.digest_err = 13;
    session.statistics.timeout_err = 14;
    session.recoveries = 15;
    session.failed_recoveries = 16;
    session.down_s = 17;
    session.queues = {{1, ipc::SessionState::failed, 18, 19, 20, "No route to host"},
                      {2, ipc::SessionState::logged_in, 0, 0, {}, ""}};
    ipc::AttachedLun lun;
    lun.number = 7;
    lun.state = "running";
    lun.device = "/dev/ublkb0";
    lun.vendor = "A \"quoted\" one";
    lun.product = "back\\slash";
    lun.serial = "two\nlines";
    lun.size_bytes = 1ULL << 40;
    lun.cache_losses = 2;
    lun.io = ipc::IoSnapshot{kind({5, 20, 1'000'000}, 1, 8192), kind({}, 0, 0), {}, 4, 6, 2'500'000};
    session.luns = {lun};
    return {session};
}

std::vector<std::string> lines_with(const std::string& text, std::string_view beginning) {
    std::vector<std::string> found;
    for (std::size_t at = 0, end = 0; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
        if (text.compare(at, beginning.size(), beginning) == 0) {
            found.push_back(text.substr(at, end - at));
        }
    }
    return found;
}

std::string line_with(const std::string& text, std::string_view beginning) {
    const std::vector<std::string> found = lines_with(text, beginning);
    return found.size() == 1 ? found[0] : fmt::format("{} lines", found.size());
}

} // namespace

TEST_CASE("without an answer of iscsid there is that it is not up, and nothing else") {
    CHECK(metrics_text(std::nullopt) == "# HELP iscsi_up 1 when iscsid has answered\n"
                                        "# TYPE iscsi_up gauge\n"
                                        "iscsi_up 0\n"
                                        "# HELP iscsi_build_info Version of iscsi-exporter\n"
                                        "# TYPE iscsi_build_info gauge\n"
                                        "iscsi_build_info{version=\"" ISCSI_VERSION "\"} 1\n");
}

TEST_CASE("without sessions it is up, and no family is without a metric") {
    const std::string text = metrics_text(Sessions{});
    CHECK(line_with(text, "iscsi_up") == "iscsi_up 1");
    CHECK(lines_with(text, "# TYPE").size() == 2);
}

TEST_CASE("a session is told apart by its number, and its words are in one metric") {
    const std::string text = metrics_text(one_session());
    CHECK(line_with(text, "iscsi_session_info") ==
          "iscsi_session_info{sid=\"3\",target=\"iqn.2026-01.example:t\",portal=\"[fe80::1%eth0]:3261\","
          "iface=\"default\"} 1");
    CHECK(lines_with(text, "iscsi_session_state") ==
          std::vector<std::string>{"iscsi_session_state{sid=\"3\",state=\"LOGGED_IN\"} 0",
                                   "iscsi_session_state{sid=\"3\",state=\"FAILED\"} 1",
                                   "iscsi_session_state{sid=\"3\",state=\"FREE\"} 0"});
    for (const char* line :
         {"iscsi_session_sent_bytes_total{sid=\"3\"} 5000000000000",
          "iscsi_session_received_bytes_total{sid=\"3\"} 11",
          "iscsi_session_digest_errors_total{sid=\"3\"} 13", "iscsi_session_timeouts_total{sid=\"3\"} 14",
          "iscsi_session_recoveries_total{sid=\"3\"} 15",
          "iscsi_session_failed_recoveries_total{sid=\"3\"} 16", "iscsi_session_down_seconds{sid=\"3\"} 17",
          "iscsi_session_queue_up{sid=\"3\",queue=\"1\"} 0",
          "iscsi_session_queue_up{sid=\"3\",queue=\"2\"} 1",
          "iscsi_session_queue_down_seconds{sid=\"3\",queue=\"1\"} 20",
          "iscsi_session_queue_down_seconds{sid=\"3\",queue=\"2\"} 0",
          "iscsi_session_queue_recoveries_total{sid=\"3\",queue=\"1\"} 18",
          "iscsi_session_queue_failed_recoveries_total{sid=\"3\",queue=\"1\"} 19",
          "iscsi_session_pdus_total{sid=\"3\",pdu=\"scsicmd\"} 12"}) {
        CHECK(line_with(text, line) == line);
    }
    // All counters but those of octets and of errors.
    CHECK(lines_with(text, "iscsi_session_pdus_total").size() == base::session_counters.size() - 4);
}

TEST_CASE("CHAP's names and secrets are in no metric") {
    CHECK(metrics_text(one_session()).find("of-chap") == std::string::npos);
}

TEST_CASE("what a unit says of itself is escaped") {
    CHECK(line_with(metrics_text(one_session()), "iscsi_lun_info") ==
          R"(iscsi_lun_info{sid="3",lun="7",device="/dev/ublkb0",vendor="A \"quoted\" one",)"
          R"(model="back\\slash",serial="two\nlines"} 1)");
}

TEST_CASE("a unit's requests are counted by kind") {
    const std::string text = metrics_text(one_session());
    for (const char* line :
         {"iscsi_lun_size_bytes{sid=\"3\",lun=\"7\"} 1099511627776",
          "iscsi_lun_running{sid=\"3\",lun=\"7\"} 1", "iscsi_lun_cache_losses_total{sid=\"3\",lun=\"7\"} 2",
          "iscsi_lun_requests_in_flight{sid=\"3\",lun=\"7\"} 4",
          "iscsi_lun_waits_total{sid=\"3\",lun=\"7\"} 6",
          "iscsi_lun_wait_seconds_total{sid=\"3\",lun=\"7\"} 2.5",
          "iscsi_lun_requests_total{sid=\"3\",lun=\"7\",kind=\"read\"} 3",
          "iscsi_lun_requests_total{sid=\"3\",lun=\"7\",kind=\"other\"} 0",
          "iscsi_lun_request_failures_total{sid=\"3\",lun=\"7\",kind=\"read\"} 1",
          "iscsi_lun_request_bytes_total{sid=\"3\",lun=\"7\",kind=\"read\"} 8192"}) {
        CHECK(line_with(text, line) == line);
    }
}

TEST_CASE("a unit that was not asked for its requests has none, and one that cannot be used says so") {
    Sessions sessions = one_session();
    sessions[0].luns[0].io.reset();
    sessions[0].luns[0].state = "another unit answers in its place";
    const std::string text = metrics_text(sessions);
    CHECK(line_with(text, "iscsi_lun_running") == "iscsi_lun_running{sid=\"3\",lun=\"7\"} 0");
    CHECK(lines_with(text, "# TYPE iscsi_lun_request").empty());
}

TEST_CASE("the histogram counts what was shorter than each bound, and all of it at the end") {
    const std::string text = metrics_text(one_session());
    const std::string read = "iscsi_lun_request_seconds_bucket{sid=\"3\",lun=\"7\",kind=\"read\",le=";
    const std::vector<std::string> buckets = lines_with(text, read);
    REQUIRE(buckets.size() == tools::longest_bound_bits - tools::shortest_bound_bits + 2);
    CHECK(buckets[0] == read + "\"1.6e-05\"} 1");
    CHECK(buckets[1] == read + "\"3.2e-05\"} 2");
    CHECK(line_with(text, read + "\"0.524288\"") == read + "\"0.524288\"} 2");
    CHECK(line_with(text, read + "\"1.048576\"") == read + "\"1.048576\"} 3");
    CHECK(buckets.back() == read + "\"+Inf\"} 3");
    CHECK(line_with(text, "iscsi_lun_request_seconds_sum{sid=\"3\",lun=\"7\",kind=\"read\"}")
              .ends_with(" 1.000025"));
    CHECK(line_with(text, "iscsi_lun_request_seconds_count{sid=\"3\",lun=\"7\",kind=\"read\"}")
              .ends_with(" 3"));
}

TEST_CASE("at each bound of the histogram a bucket of what was counted begins") {
    for (unsigned bits = tools::shortest_bound_bits; bits <= tools::longest_bound_bits; ++bits) {
        const std::uint64_t bound_us = std::uint64_t{1} << bits;
        CHECK(base::latency::lowest_us(base::latency::bucket_of(bound_us)) == bound_us);
    }
    Sessions sessions = one_session();
    sessions[0].luns[0].io->read = kind({15, 16, 1 << 25, (1 << 25) - 1}, 0, 0);
    const std::string text = metrics_text(sessions);
    const std::string read = "iscsi_lun_request_seconds_bucket{sid=\"3\",lun=\"7\",kind=\"read\",le=";
    CHECK(line_with(text, read + "\"1.6e-05\"") == read + "\"1.6e-05\"} 1");
    CHECK(line_with(text, read + "\"3.2e-05\"") == read + "\"3.2e-05\"} 2");
    CHECK(line_with(text, read + "\"33.554432\"") == read + "\"33.554432\"} 3");
    CHECK(line_with(text, read + "\"+Inf\"") == read + "\"+Inf\"} 4");
}

#include "top_rows.hpp"

#include "base/histogram.hpp"
#include "session_table.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

namespace iscsi::adm {
namespace {

using Place = std::pair<std::uint32_t, std::uint64_t>;

/// What has ended between two looks, of one kind.
struct Ended {
    std::uint64_t requests = 0;
    std::uint64_t failures = 0;
    std::uint64_t bytes = 0;
    base::LatencyCounts latency;

    Ended& operator+=(const Ended& other) {
        requests += other.requests;
        failures += other.failures;
        bytes += other.bytes;
        latency += other.latency;
        return *this;
    }
};

/// What a unit was asked, or all of them.
struct Asked {
    Ended read;
    Ended write;
    Ended other;
    std::uint64_t in_hand = 0;

    Asked& operator+=(const Asked& more) {
        read += more.read;
        write += more.write;
        other += more.other;
        in_hand += more.in_hand;
        return *this;
    }
};

/// Whether `after` goes on counting from `before`: less of anything is another daemon's, or another unit's.
bool goes_on(const ipc::KindSnapshot& before, const ipc::KindSnapshot& after) {
    return after.failures >= before.failures && after.bytes >= before.bytes &&
           after.sum_us >= before.sum_us &&
           std::ranges::equal(ipc::latency_of(after).buckets, ipc::latency_of(before).buckets,
                              std::greater_equal());
}

/// How many there were comes from the buckets, too: the snapshot is not all of one moment.
Ended between(const ipc::KindSnapshot& before, const ipc::KindSnapshot& after) {
    Ended ended{0, after.failures, after.bytes, ipc::latency_of(after)};
    if (goes_on(before, after)) {
        ended.failures -= before.failures;
        ended.bytes -= before.bytes;
        ended.latency -= ipc::latency_of(before);
    }
    ended.requests = ended.latency.count();
    return ended;
}

Asked between(const ipc::IoSnapshot& before, const ipc::IoSnapshot& after) {
    return {between(before.read, after.read), between(before.write, after.write),
            between(before.other, after.other), after.in_hand};
}

std::map<Place, const ipc::IoSnapshot*> index(const std::vector<ipc::SessionSnapshot>& sessions) {
    std::map<Place, const ipc::IoSnapshot*> all;
    for (const ipc::SessionSnapshot& session : sessions) {
        for (const ipc::AttachedLun& lun : session.luns) {
            if (lun.io) {
                all[{session.sid, lun.number}] = &*lun.io;
            }
        }
    }
    return all;
}

TopLoad load_of(const Asked& asked, double seconds) {
    auto rate = [seconds](std::uint64_t count) { return static_cast<double>(count) / seconds; };
    base::LatencyCounts all = asked.read.latency;
    all += asked.write.latency;
    all += asked.other.latency;
    TopLoad load;
    load.reads_per_s = rate(asked.read.requests);
    load.writes_per_s = rate(asked.write.requests);
    load.others_per_s = rate(asked.other.requests);
    load.read_bytes_per_s = rate(asked.read.bytes);
    load.write_bytes_per_s = rate(asked.write.bytes);
    load.in_hand = asked.in_hand;
    load.failures = asked.read.failures + asked.write.failures + asked.other.failures;
    load.p50_us = all.quantile_us(0.5);
    load.p99_us = all.quantile_us(0.99);
    load.p999_us = all.quantile_us(0.999);
    return load;
}

TopRow row_of(const ipc::SessionSnapshot& session, const ipc::AttachedLun& lun, const TopLoad& load) {
    const bool is_logged_in = session.session_state == ipc::SessionState::logged_in;
    TopRow row;
    static_cast<TopLoad&>(row) = load;
    row.sid = session.sid;
    row.lun = lun.number;
    row.target = session.target;
    row.device = lun.device;
    row.state = is_logged_in ? lun.state : std::string(ipc::text(session.session_state));
    row.shown_device = device_words(lun);
    row.shown_state = state_words(session, &lun);
    row.is_up = is_logged_in && lun.state == "running";
    return row;
}

ipc::Json json_of_load(const TopLoad& load) {
    return {{"reads_per_s", load.reads_per_s},
            {"writes_per_s", load.writes_per_s},
            {"others_per_s", load.others_per_s},
            {"read_bytes_per_s", load.read_bytes_per_s},
            {"write_bytes_per_s", load.write_bytes_per_s},
            {"in_hand", load.in_hand},
            {"failures", load.failures},
            {"p50_us", load.p50_us},
            {"p99_us", load.p99_us},
            {"p999_us", load.p999_us}};
}

} // namespace

Top top_between(const std::vector<ipc::SessionSnapshot>& before,
                const std::vector<ipc::SessionSnapshot>& after, double seconds) {
    const auto known = index(before);
    const ipc::IoSnapshot nothing;
    Top top;
    top.seconds = seconds;
    top.sessions = after.size();
    Asked all;
    for (const ipc::SessionSnapshot& session : after) {
        top.recovering += session.session_state == ipc::SessionState::failed ? 1U : 0U;
        for (const ipc::AttachedLun& lun : session.luns) {
            Asked asked;
            if (lun.io) {
                const auto found = known.find({session.sid, lun.number});
                asked = between(found == known.end() ? nothing : *found->second, *lun.io);
            }
            top.rows.push_back(row_of(session, lun, load_of(asked, seconds)));
            all += asked;
        }
    }
    top.total = load_of(all, seconds);
    return top;
}

ipc::Json top_json(const Top& top) {
    ipc::Json units = ipc::Json::array();
    for (const TopRow& row : top.rows) {
        ipc::Json unit = json_of_load(row);
        unit["sid"] = row.sid;
        unit["lun"] = row.lun;
        unit["target"] = row.target;
        unit["device"] = row.device;
        unit["state"] = row.state;
        units.push_back(std::move(unit));
    }
    return {{"seconds", top.seconds},
            {"sessions", top.sessions},
            {"recovering", top.recovering},
            {"total", json_of_load(top.total)},
            {"units", std::move(units)}};
}

} // namespace iscsi::adm

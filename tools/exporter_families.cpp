#include "exporter_families.hpp"

#include "base/histogram.hpp"
#include "base/statistics.hpp"
#include "records/names.hpp"

#include <array>
#include <cmath>
#include <prometheus/text_serializer.h>
#include <sstream>
#include <string_view>
#include <utility>

namespace iscsi::tools {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;
using Families = std::vector<MetricFamily>;

constexpr double us_per_s = 1e6;

/// What is measured, and what tells it apart.
template <class T>
struct Item {
    Labels labels;
    const T* value;
};

/// A family with one number of each item.
template <class T>
struct Row {
    const char* name;
    const char* help;
    MetricType type;
    double (*number)(const T&);
};

double number(std::uint64_t value) {
    return static_cast<double>(value);
}

constexpr std::array session_rows{
    Row<ipc::SessionSnapshot>{"iscsi_session_sent_bytes_total", "Bytes sent to the target, headers included",
                              MetricType::Counter,
                              [](const auto& session) { return number(session.statistics.txdata_octets); }},
    Row<ipc::SessionSnapshot>{"iscsi_session_received_bytes_total",
                              "Bytes received from the target, headers included", MetricType::Counter,
                              [](const auto& session) { return number(session.statistics.rxdata_octets); }},
    Row<ipc::SessionSnapshot>{"iscsi_session_digest_errors_total",
                              "PDUs whose header or data digest did not match", MetricType::Counter,
                              [](const auto& session) { return number(session.statistics.digest_err); }},
    Row<ipc::SessionSnapshot>{"iscsi_session_timeouts_total",
                              "Answers of the target that did not come in time", MetricType::Counter,
                              [](const auto& session) { return number(session.statistics.timeout_err); }},
    Row<ipc::SessionSnapshot>{"iscsi_session_recoveries_total",
                              "Times that the session was lost, or left by another iscsid, and came back",
                              MetricType::Counter,
                              [](const auto& session) { return number(session.recoveries); }},
    Row<ipc::SessionSnapshot>{"iscsi_session_failed_recoveries_total",
                              "Times that the session was lost and not back in time, so that I/O failed",
                              MetricType::Counter,
                              [](const auto& session) { return number(session.failed_recoveries); }},
    Row<ipc::SessionSnapshot>{"iscsi_session_down_seconds",
                              "For how long the session has been lost, 0 while it is up", MetricType::Gauge,
                              [](const auto& session) { return number(session.down_s.value_or(0)); }},
};

constexpr std::array queue_rows{
    Row<ipc::QueueSnapshot>{
        "iscsi_session_queue_up", "1 when a further queue of the session's devices is served",
        MetricType::Gauge,
        [](const auto& queue) { return queue.session_state == ipc::SessionState::logged_in ? 1.0 : 0.0; }},
    Row<ipc::QueueSnapshot>{"iscsi_session_queue_down_seconds",
                            "For how long the queue's own session has been lost, 0 while it is up",
                            MetricType::Gauge,
                            [](const auto& queue) { return number(queue.down_s.value_or(0)); }},
    Row<ipc::QueueSnapshot>{"iscsi_session_queue_recoveries_total",
                            "Times that the queue's own session was lost and came back", MetricType::Counter,
                            [](const auto& queue) { return number(queue.recoveries); }},
    Row<ipc::QueueSnapshot>{"iscsi_session_queue_failed_recoveries_total",
                            "Times that the queue's own session was not back in time, so that its I/O failed",
                            MetricType::Counter,
                            [](const auto& queue) { return number(queue.failed_recoveries); }},
};

constexpr std::array lun_rows{
    Row<ipc::AttachedLun>{"iscsi_lun_size_bytes", "Size of the unit", MetricType::Gauge,
                          [](const auto& lun) { return number(lun.size_bytes); }},
    Row<ipc::AttachedLun>{"iscsi_lun_running", "1 when the unit can be used", MetricType::Gauge,
                          [](const auto& lun) { return lun.state == "running" ? 1.0 : 0.0; }},
    Row<ipc::AttachedLun>{"iscsi_lun_cache_losses_total",
                          "Times that the unit's volatile cache was lost with writes in it",
                          MetricType::Counter, [](const auto& lun) { return number(lun.cache_losses); }},
};

constexpr std::array io_rows{
    Row<ipc::IoSnapshot>{"iscsi_lun_requests_in_flight", "Requests of the block device that have not ended",
                         MetricType::Gauge, [](const auto& io) { return number(io.in_hand); }},
    Row<ipc::IoSnapshot>{"iscsi_lun_waits_total",
                         "Requests that waited in the daemon before their first command was sent",
                         MetricType::Counter, [](const auto& io) { return number(io.waits); }},
    Row<ipc::IoSnapshot>{"iscsi_lun_wait_seconds_total", "For how long they waited, all of them",
                         MetricType::Counter, [](const auto& io) { return number(io.waited_us) / us_per_s; }},
};

constexpr std::array kind_rows{
    Row<ipc::KindSnapshot>{"iscsi_lun_requests_total",
                           "Requests that have ended: read, write, other (flush, discard, write zeroes)",
                           MetricType::Counter, [](const auto& kind) { return number(kind.requests); }},
    Row<ipc::KindSnapshot>{"iscsi_lun_request_failures_total", "Requests that have ended with an error",
                           MetricType::Counter, [](const auto& kind) { return number(kind.failures); }},
    Row<ipc::KindSnapshot>{"iscsi_lun_request_bytes_total", "Bytes of the requests that have ended well",
                           MetricType::Counter, [](const auto& kind) { return number(kind.bytes); }},
};

Labels with(Labels labels, std::initializer_list<ClientMetric::Label> more) {
    labels.insert(labels.end(), more);
    return labels;
}

MetricFamily family(const char* name, const char* help, MetricType type) {
    return {name, help, type, {}};
}

void add(MetricFamily& family, Labels labels, double value) {
    ClientMetric& metric = family.metric.emplace_back();
    metric.label = std::move(labels);
    metric.counter.value = family.type == MetricType::Counter ? value : 0;
    metric.gauge.value = family.type == MetricType::Gauge ? value : 0;
}

template <class T, std::size_t count>
void add_rows(Families& families, const std::array<Row<T>, count>& rows, const std::vector<Item<T>>& items) {
    for (const Row<T>& row : rows) {
        MetricFamily& made = families.emplace_back(family(row.name, row.help, row.type));
        for (const Item<T>& item : items) {
            add(made, item.labels, row.number(*item.value));
        }
    }
}

MetricFamily session_info(const std::vector<Item<ipc::SessionSnapshot>>& sessions) {
    MetricFamily made =
        family("iscsi_session_info", "A session: its target, portal and interface", MetricType::Gauge);
    for (const auto& [labels, session] : sessions) {
        const std::string portal =
            records::address_port({session->current.address, session->current.port, session->tpgt});
        add(made,
            with(labels, {{"target", session->target}, {"portal", portal}, {"iface", session->iface.name}}),
            1);
    }
    return made;
}

MetricFamily session_states(const std::vector<Item<ipc::SessionSnapshot>>& sessions) {
    using ipc::SessionState;
    MetricFamily made = family("iscsi_session_state",
                               "1 for the state that the session is in, 0 for the others", MetricType::Gauge);
    for (const auto& [labels, session] : sessions) {
        for (SessionState state : {SessionState::logged_in, SessionState::failed, SessionState::free}) {
            add(made, with(labels, {{"state", std::string(ipc::text(state))}}),
                session->session_state == state ? 1 : 0);
        }
    }
    return made;
}

/// The counters of session_counters whose names end with _pdus.
MetricFamily session_pdus(const std::vector<Item<ipc::SessionSnapshot>>& sessions) {
    constexpr std::string_view suffix = "_pdus";
    MetricFamily made =
        family("iscsi_session_pdus_total", "PDUs by kind, under the names of iscsiadm -m session -s",
               MetricType::Counter);
    for (const auto& [labels, session] : sessions) {
        for (const base::CounterRow& row : base::session_counters) {
            if (row.name.ends_with(suffix)) {
                const std::string kind(row.name.substr(0, row.name.size() - suffix.size()));
                add(made, with(labels, {{"pdu", kind}}), number(session->statistics.*row.value));
            }
        }
    }
    return made;
}

MetricFamily lun_info(const std::vector<Item<ipc::AttachedLun>>& luns) {
    MetricFamily made =
        family("iscsi_lun_info", "A logical unit and the block device that shows it", MetricType::Gauge);
    for (const auto& [labels, lun] : luns) {
        add(made,
            with(labels, {{"device", lun->device},
                          {"vendor", lun->vendor},
                          {"model", lun->product},
                          {"serial", lun->serial}}),
            1);
    }
    return made;
}

ClientMetric::Histogram histogram(const ipc::KindSnapshot& kind) {
    const base::LatencyCounts counts = ipc::latency_of(kind);
    ClientMetric::Histogram made;
    made.sample_count = counts.count();
    made.sample_sum = number(counts.sum_us) / us_per_s;
    std::uint64_t so_far = 0;
    std::size_t bucket = 0;
    for (unsigned bits = shortest_bound_bits; bits <= longest_bound_bits; ++bits) {
        const std::uint64_t bound_us = std::uint64_t{1} << bits;
        for (; base::latency::lowest_us(bucket) < bound_us; ++bucket) {
            so_far += counts.buckets[bucket];
        }
        made.bucket.push_back({so_far, number(bound_us) / us_per_s});
    }
    return made;
}

MetricFamily request_seconds(const std::vector<Item<ipc::KindSnapshot>>& kinds) {
    MetricFamily made =
        family("iscsi_lun_request_seconds", "How long requests took, from their coming to their end",
               MetricType::Histogram);
    for (const auto& [labels, kind] : kinds) {
        ClientMetric& metric = made.metric.emplace_back();
        metric.label = labels;
        metric.histogram = histogram(*kind);
    }
    return made;
}

void add_luns(Families& families, const std::vector<Item<ipc::AttachedLun>>& luns) {
    std::vector<Item<ipc::IoSnapshot>> ios;
    std::vector<Item<ipc::KindSnapshot>> kinds;
    for (const auto& [labels, lun] : luns) {
        if (lun->io) {
            ios.push_back({labels, &*lun->io});
            kinds.push_back({with(labels, {{"kind", "read"}}), &lun->io->read});
            kinds.push_back({with(labels, {{"kind", "write"}}), &lun->io->write});
            kinds.push_back({with(labels, {{"kind", "other"}}), &lun->io->other});
        }
    }
    families.push_back(lun_info(luns));
    add_rows(families, lun_rows, luns);
    add_rows(families, io_rows, ios);
    add_rows(families, kind_rows, kinds);
    families.push_back(request_seconds(kinds));
}

} // namespace

Families metric_families(const std::optional<std::vector<ipc::SessionSnapshot>>& sessions) {
    Families families;
    add(families.emplace_back(family("iscsi_up", "1 when iscsid has answered", MetricType::Gauge)), {},
        sessions ? 1 : 0);
    add(families.emplace_back(family("iscsi_build_info", "Version of iscsi-exporter", MetricType::Gauge)),
        {{"version", ISCSI_VERSION}}, 1);
    if (!sessions) {
        return families;
    }
    std::vector<Item<ipc::SessionSnapshot>> all;
    std::vector<Item<ipc::AttachedLun>> luns;
    std::vector<Item<ipc::QueueSnapshot>> queues;
    for (const ipc::SessionSnapshot& session : *sessions) {
        const Labels labels{{"sid", std::to_string(session.sid)}};
        all.push_back({labels, &session});
        for (const ipc::QueueSnapshot& queue : session.queues) {
            queues.push_back({with(labels, {{"queue", std::to_string(queue.number)}}), &queue});
        }
        for (const ipc::AttachedLun& lun : session.luns) {
            luns.push_back({with(labels, {{"lun", std::to_string(lun.number)}}), &lun});
        }
    }
    families.push_back(session_info(all));
    families.push_back(session_states(all));
    families.push_back(session_pdus(all));
    add_rows(families, session_rows, all);
    add_rows(families, queue_rows, queues);
    add_luns(families, luns);
    // One without a metric would be a heading of nothing.
    std::erase_if(families, [](const MetricFamily& one) { return one.metric.empty(); });
    return families;
}

std::string metrics_text(const std::optional<std::vector<ipc::SessionSnapshot>>& sessions) {
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, metric_families(sessions));
    return std::move(out).str();
}

} // namespace iscsi::tools

#include "monitor_lines.hpp"

#include "base/text.hpp"
#include "ipc/describe.hpp"
#include "ipc/json.hpp"

#include <algorithm>
#include <ctime>
#include <fmt/format.h>
#include <utility>

namespace iscsi::adm {
namespace {

constexpr std::int64_t us_per_s = 1'000'000;
/// The end of the year 9999: what is behind it is no time.
constexpr std::int64_t time_us_max = 253'402'300'799 * us_per_s;

/// "2026-01-31T13:00:00.123"; `between` stands for the T.
std::string written(std::int64_t time_us, char between, bool local) {
    const std::int64_t known = std::clamp<std::int64_t>(time_us, 0, time_us_max);
    const std::time_t seconds = known / us_per_s;
    std::tm fields{};
    local ? ::localtime_r(&seconds, &fields) : ::gmtime_r(&seconds, &fields);
    return fmt::format("{:04}-{:02}-{:02}{}{:02}:{:02}:{:02}.{:03}", fields.tm_year + 1900, fields.tm_mon + 1,
                       fields.tm_mday, between, fields.tm_hour, fields.tm_min, fields.tm_sec,
                       known % us_per_s / 1000);
}

bool is_of_the_daemon(std::string_view event) {
    return event.starts_with("daemon_") || event == "monitoring" || event == "events_lost";
}

bool is_about(const ipc::EventReply& event, const records::NodeFilter& filter) {
    records::NodeId id{event.target, {}, event.iface};
    if (auto portal = records::parse_portal(event.portal)) {
        id.portal = std::move(*portal);
    }
    return filter.matches(id);
}

} // namespace

bool wanted(const ipc::EventReply& event, const EventFilter& filter) {
    if (is_of_the_daemon(event.event)) {
        return true;
    }
    return (!filter.sid || event.sid == filter.sid) && is_about(event, filter.node);
}

std::string text_line(const ipc::EventReply& event) {
    return fmt::format("{} {} {}: {}\n", written(event.time_us, ' ', true), base::printable(event.level, 16),
                       base::printable(event.event, 64), base::printable(event.message, 4096));
}

std::string json_line(const ipc::EventReply& event) {
    ipc::JsonWriter writer;
    describe(writer, event);
    ipc::Json object = ipc::Json::parse(writer.text());
    object.erase("time_us");
    object["time"] = written(event.time_us, 'T', false) + 'Z';
    return ipc::text_of(object) + '\n';
}

} // namespace iscsi::adm

#include "session_table.hpp"

#include "base/text.hpp"
#include "columns.hpp"
#include "print.hpp"
#include "records/text.hpp"
#include "text_table.hpp"
#include "words.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <string_view>
#include <utility>
#include <vector>

namespace iscsi::adm {
namespace {

using ipc::AttachedLun;
using ipc::SessionSnapshot;

/// In the order in which they stand.
enum Place : std::size_t { sid, state, device, size, lun, target, portal, model, chap, digests, age, places };

constexpr std::array<std::string_view, places> titles{"SID",    "STATE", "DEVICE", "SIZE",    "LUN", "TARGET",
                                                      "PORTAL", "MODEL", "CHAP",   "DIGESTS", "AGE"};

/// Left out in this order where there is no room.
constexpr std::array<std::size_t, 8> left_out{digests, model, chap, portal, age, lun, size, device};

/// Numbers to the right.
constexpr std::string_view sides = "><<>><<<<<<";
static_assert(sides.size() == places);

using Row = std::vector<std::string>;

/// Of the further queues of its devices; empty when all are up.
std::string lost_queues(const SessionSnapshot& session) {
    std::string which;
    std::size_t lost = 0;
    std::uint64_t longest_s = 0;
    for (const ipc::QueueSnapshot& queue : session.queues) {
        if (queue.session_state != ipc::SessionState::logged_in) {
            ++lost;
            which = lost == 1 ? fmt::format("queue {}", queue.number) : fmt::format("{} queues", lost);
            longest_s = std::max(longest_s, queue.down_s.value_or(0));
        }
    }
    return lost == 0 ? which : fmt::format("{} lost {}", which, duration_words(longest_s));
}

std::string digests_of(const ipc::NegotiatedSnapshot& negotiated) {
    const bool header = negotiated.header_digest != "None";
    const bool data = negotiated.data_digest != "None";
    if (header && data) {
        return "both";
    }
    return header ? "header" : data ? "data" : "none";
}

std::string chap_of(const SessionSnapshot& session) {
    if (session.authentication == "None") {
        return "none";
    }
    return session.authentication == "CHAP" ? "one way" : "mutual";
}

std::string model_of(const AttachedLun& unit) {
    const std::string text = fmt::format("{} {}", base::trim(unit.vendor), base::trim(unit.product));
    return base::printable(base::trim(text), 40);
}

Row row_of(const SessionSnapshot& session, const AttachedLun* unit) {
    Row row(places);
    row[sid] = std::to_string(session.sid);
    row[state] = state_words(session, unit);
    row[target] = base::printable(session.target);
    row[portal] = base::printable(
        records::address_port({session.persistent.address, session.persistent.port, session.tpgt}));
    row[chap] = chap_of(session);
    row[digests] = digests_of(session.negotiated);
    row[age] = session.age_s ? duration_words(*session.age_s) : "?";
    if (unit == nullptr) {
        row[device] = "none";
        return row;
    }
    row[device] = device_words(*unit);
    row[size] = size_words(unit->size_bytes);
    row[lun] = std::to_string(unit->number);
    row[model] = model_of(*unit);
    return row;
}

std::vector<Row> rows_of(std::span<const SessionSnapshot> sessions) {
    std::vector<Row> rows{Row(titles.begin(), titles.end())};
    for (const SessionSnapshot& session : sessions) {
        for (const AttachedLun& unit : session.luns) {
            rows.push_back(row_of(session, &unit));
        }
        if (session.luns.empty()) {
            rows.push_back(row_of(session, nullptr));
        }
    }
    return rows;
}

/// Which columns had no room, as far as the line itself has.
std::string missing_line(std::string_view shown_titles, std::size_t width) {
    std::string list;
    for (std::string_view title : titles) {
        if (shown_titles.find(title) == std::string_view::npos) {
            list += fmt::format("{}{}", list.empty() ? "" : ", ", title);
        }
    }
    const std::string line = fmt::format("No room for {}: -j has all.\n", list);
    return list.empty() || line.size() > width + 1 ? std::string() : line;
}

} // namespace

std::string state_words(const SessionSnapshot& session, const AttachedLun* unit) {
    if (session.session_state == ipc::SessionState::failed) {
        return session.down_s ? "recovering " + duration_words(*session.down_s) : "recovering";
    }
    if (session.connection_state == ipc::ConnectionState::in_logout) {
        return "logging out";
    }
    if (session.session_state != ipc::SessionState::logged_in) {
        return "logging in";
    }
    if (unit != nullptr && unit->state != "running") {
        return base::printable(unit->state, 24);
    }
    const std::string lost = lost_queues(session);
    return lost.empty() ? "up" : lost;
}

std::string device_words(const AttachedLun& unit) {
    // The URI of an export is longer than a line; -P 3 has it.
    return unit.uri.empty() ? base::printable(disk_name(unit)) : "socket";
}

std::string session_table(std::span<const SessionSnapshot> sessions, std::size_t width) {
    const TableForm form{sides, target, left_out};
    std::string text;
    for (const std::string& line : table_lines(rows_of(sessions), form, width)) {
        text += line + '\n';
    }
    return text + missing_line(text.substr(0, text.find('\n')), width);
}

} // namespace iscsi::adm

#include "top_table.hpp"

#include "base/text.hpp"
#include "text_table.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <functional>
#include <span>

namespace iscsi::adm {
namespace {

using Kind = TopLine::Kind;
using Cells = std::vector<std::string>;

/// In the order in which they stand.
enum Place : std::size_t {
    sid,
    lun,
    device,
    state,
    reads,
    writes,
    others,
    read_mib,
    write_mib,
    depth,
    p50,
    p99,
    p999,
    failures,
    target,
    places
};

constexpr std::array<std::string_view, places> titles{"SID", "LUN", "DEVICE", "STATE",  "R/S",
                                                      "W/S", "O/S", "RMIB",   "WMIB",   "QD",
                                                      "P50", "P99", "P99.9",  "FAILED", "TARGET"};
constexpr std::string_view sides = ">><<>>>>>>>>>><";
static_assert(sides.size() == places);

/// Left out in this order where there is no room.
constexpr std::array<std::size_t, 12> left_out{others, target,    failures, state, lun,   p50,
                                               p999,   write_mib, read_mib, p99,   depth, sid};

/// Lines above the first unit: the summary, the titles and the sum.
constexpr std::size_t head_lines = 3;

/// "87us", "1.2ms", "13s"
std::string time_text(std::uint64_t us) {
    if (us == 0) {
        return "-";
    }
    if (us < 1000) {
        return fmt::format("{}us", us);
    }
    const double ms = static_cast<double>(us) / 1000;
    if (ms < 1000) {
        return ms < 10 ? fmt::format("{:.1f}ms", ms) : fmt::format("{:.0f}ms", ms);
    }
    return fmt::format("{:.1f}s", ms / 1000);
}

std::string mib_text(double bytes_per_s) {
    constexpr double mib = 1024.0 * 1024.0;
    return fmt::format("{:>5.1f}", bytes_per_s / mib);
}

/// As wide as they usually are, so that the columns stay where they are from one refresh to the next.
Cells cells_of(const TopLoad& load) {
    Cells cells(places);
    cells[reads] = fmt::format("{:>6.0f}", load.reads_per_s);
    cells[writes] = fmt::format("{:>6.0f}", load.writes_per_s);
    cells[others] = fmt::format("{:.0f}", load.others_per_s);
    cells[read_mib] = mib_text(load.read_bytes_per_s);
    cells[write_mib] = mib_text(load.write_bytes_per_s);
    cells[depth] = fmt::format("{:>3}", load.in_hand);
    cells[p50] = fmt::format("{:>4}", time_text(load.p50_us));
    cells[p99] = fmt::format("{:>4}", time_text(load.p99_us));
    cells[p999] = fmt::format("{:>4}", time_text(load.p999_us));
    cells[failures] = std::to_string(load.failures);
    return cells;
}

Cells cells_of(const TopRow& row) {
    Cells cells = cells_of(static_cast<const TopLoad&>(row));
    cells[sid] = std::to_string(row.sid);
    cells[lun] = std::to_string(row.lun);
    cells[device] = row.shown_device;
    cells[state] = row.shown_state;
    cells[target] = base::printable(row.target);
    return cells;
}

std::string summary(const Top& top, std::string_view clock) {
    auto counted = [](std::size_t number, std::string_view what) {
        return fmt::format("{} {}{}", number, what, number == 1 ? "" : "s");
    };
    const std::string lost = top.recovering == 0 ? "" : fmt::format(", {} recovering", top.recovering);
    return fmt::format("{}  {}{}, {}, {:.1f} s", clock, counted(top.sessions, "session"), lost,
                       counted(top.rows.size(), "unit"), top.seconds);
}

/// The busiest ones first; of those that have ended nothing, the ones that have most in hand.
bool is_busier(const TopRow& one, const TopRow& other) {
    return one.per_s() != other.per_s() ? one.per_s() > other.per_s() : one.in_hand > other.in_hand;
}

} // namespace

TopLine top_line(TopLine::Kind kind, std::string_view text, std::size_t columns) {
    std::string line(text);
    if (columns != 0 && line.size() > columns) {
        // Whole characters of UTF-8.
        while (columns > 0 && (static_cast<unsigned char>(line[columns]) & 0xc0U) == 0x80) {
            --columns;
        }
        line.resize(columns);
    }
    return {kind, std::move(line)};
}

std::vector<TopLine> top_lines(const Top& top, std::string_view clock, std::size_t columns,
                               std::size_t lines) {
    std::vector<TopRow> rows = top.rows;
    const bool is_too_long = lines != 0 && rows.size() + head_lines > lines;
    if (is_too_long) {
        std::ranges::stable_sort(rows, is_busier);
        // With a line that says how many are left out.
        rows.resize(lines > head_lines + 1 ? lines - head_lines - 1 : 0);
    }
    std::vector<Cells> table{Cells(titles.begin(), titles.end()), cells_of(top.total)};
    table.back()[device] = "all";
    for (const TopRow& row : rows) {
        table.push_back(cells_of(row));
    }
    const std::vector<std::string> texts = table_lines(table, {sides, target, left_out}, columns);
    std::vector<TopLine> out{top_line(Kind::summary, summary(top, clock), columns),
                             top_line(Kind::titles, texts[0], columns),
                             top_line(Kind::total, texts[1], columns)};
    for (std::size_t i = 0; i < rows.size(); ++i) {
        out.push_back(top_line(rows[i].is_up ? Kind::unit : Kind::trouble, texts[i + 2], columns));
    }
    if (is_too_long) {
        out.push_back(
            top_line(Kind::note, fmt::format("... and {} more", top.rows.size() - rows.size()), columns));
        out.resize(std::min(out.size(), lines));
    }
    return out;
}

} // namespace iscsi::adm

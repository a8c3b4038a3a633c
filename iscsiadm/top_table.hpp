// The table of `iscsiadm top`. Pure; any thread.
#pragma once

#include "top_rows.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::adm {

struct TopLine {
    /// What it says: how many there are, what the columns are, all units, one of them, one that is not up, or
    /// something else.
    enum class Kind : std::uint8_t { summary, titles, total, unit, trouble, note };

    Kind kind = Kind::note;
    std::string text; ///< without its end, safe to print
};

/// `clock` begins the first line. No line is longer than `columns`, and there are no more than `lines` (at
/// least 1); where that leaves some units out, the busiest are shown, the busiest first. 0: any.
std::vector<TopLine> top_lines(const Top& top, std::string_view clock, std::size_t columns,
                               std::size_t lines);

/// One line, cut to `columns` (0: any).
TopLine top_line(TopLine::Kind kind, std::string_view text, std::size_t columns);

} // namespace iscsi::adm

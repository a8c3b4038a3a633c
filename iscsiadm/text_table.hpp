// A table for people, in lines no longer than a terminal is wide while that can be had. Pure; any thread.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::adm {

struct TableForm {
    std::string_view sides;                ///< a '<' or '>' for each column: where its cells stand
    std::size_t elastic = 0;               ///< the column whose cells lose their beginnings
    std::span<const std::size_t> left_out; ///< columns, in this order, where there is no room
};

/// A line for each row, without its end. Each row has a cell for each column; the first row has the titles.
/// Where `width` (0: any) leaves no room the elastic column is shortened, then columns are left out, then it
/// is shortened more; with a width that is too small even so, lines are longer.
std::vector<std::string> table_lines(std::span<const std::vector<std::string>> rows, const TableForm& form,
                                     std::size_t width);

/// The end of `text`, in `width` columns of a terminal, behind dots where something is missing.
std::string shortened(std::string_view text, std::size_t width);

} // namespace iscsi::adm

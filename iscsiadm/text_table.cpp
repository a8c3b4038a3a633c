#include "text_table.hpp"

#include "columns.hpp"

#include <algorithm>

namespace iscsi::adm {
namespace {

/// As long as it has that much, the elastic column is shortened before another one is left out.
constexpr std::size_t elastic_width_wanted = 24;
constexpr std::size_t elastic_width_least = 8;
constexpr std::size_t gap = 2;

using Widths = std::vector<std::size_t>; ///< 0: left out

Widths widths_of(std::span<const std::vector<std::string>> rows, std::size_t columns) {
    Widths widths(columns);
    for (const std::vector<std::string>& row : rows) {
        for (std::size_t i = 0; i < columns; ++i) {
            widths[i] = std::max(widths[i], columns_of(row.at(i)));
        }
    }
    return widths;
}

/// What a line has beside the elastic column, with the gaps; behind the last column there is none.
std::size_t rest_of(const Widths& widths, std::size_t elastic) {
    std::size_t sum = 0;
    for (std::size_t i = 0; i < widths.size(); ++i) {
        sum += i != elastic && widths[i] != 0 ? widths[i] + gap : 0;
    }
    return widths[elastic] == 0 && sum != 0 ? sum - gap : sum;
}

void fit(Widths& widths, const TableForm& form, std::size_t width) {
    for (const std::size_t place : form.left_out) {
        if (rest_of(widths, form.elastic) + std::min(widths[form.elastic], elastic_width_wanted) <= width) {
            break;
        }
        widths.at(place) = 0;
    }
    const std::size_t rest = rest_of(widths, form.elastic);
    const std::size_t room = width > rest ? width - rest : 0;
    widths[form.elastic] = std::min(widths[form.elastic], std::max(room, elastic_width_least));
}

} // namespace

std::string shortened(std::string_view text, std::size_t width) {
    constexpr std::string_view dots = "..";
    if (columns_of(text) <= width) {
        return std::string(text);
    }
    const std::size_t room = width - std::min(width, dots.size());
    return std::string(dots.substr(0, width)).append(last_columns(text, room));
}

std::vector<std::string> table_lines(std::span<const std::vector<std::string>> rows, const TableForm& form,
                                     std::size_t width) {
    Widths widths = widths_of(rows, form.sides.size());
    if (width != 0) {
        fit(widths, form, width);
    }
    std::vector<std::string> lines;
    for (const std::vector<std::string>& row : rows) {
        std::string& line = lines.emplace_back();
        for (std::size_t i = 0; i < widths.size(); ++i) {
            if (widths[i] == 0) {
                continue;
            }
            const std::string cell = shortened(row[i], widths[i]);
            const std::string space(widths[i] - std::min(widths[i], columns_of(cell)), ' ');
            line += form.sides[i] == '>' ? space + cell : cell + space;
            line += std::string(gap, ' ');
        }
        line.erase(line.find_last_not_of(' ') + 1);
    }
    return lines;
}

} // namespace iscsi::adm

// How much room text takes on a terminal. Pure functions; any thread.
#pragma once

#include <cstddef>
#include <string_view>

namespace iscsi::adm {

/// Columns that printable UTF-8 takes: two for a wide character, none for one that combines.
std::size_t columns_of(std::string_view text);
/// The longest end of the text that takes no more columns.
std::string_view last_columns(std::string_view text, std::size_t columns);

} // namespace iscsi::adm

// What stands at the other end of stdout and stderr. Asks the kernel and the environment each time; any
// thread.
#pragma once

#include <cstddef>
#include <optional>

namespace iscsi::adm {

/// Columns of the terminal that `fd` is; nothing when it is none. 80 where nobody says how wide it is.
std::optional<std::size_t> terminal_width(int fd);

/// Lines of the terminal that `fd` is; nothing when it is none. 24 where nobody says how many.
std::optional<std::size_t> terminal_height(int fd);

/// Whether the terminal `fd` is to have colours: not with NO_COLOR set to anything (no-color.org), nor where
/// can_rewrite() is false.
bool wants_colour(int fd);

/// Whether a line on the terminal `fd` can be written over (TERM=dumb cannot).
bool can_rewrite(int fd);

} // namespace iscsi::adm

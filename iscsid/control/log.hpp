// The daemon's log: to standard error in the foreground, else to syslog. One line an event where one is
// enough, printable text only, never a secret. Nothing here waits: what the reader has no room for is lost.
// Control's thread (and start-up); shards tell control instead of logging.
#pragma once

#include <fmt/format.h>
#include <string>
#include <string_view>

namespace iscsi::control::log {

enum class Level : int { error = 0, warning = 1, info = 2, debug = 3 };

enum class Sink { standard_error, syslog };

/// `debug_level` as iscsid's -d: 0 logs errors, warnings and the life of sessions, 1 and more adds detail.
void open(Sink sink, int debug_level);

bool enabled(Level level);
/// `text` may have several lines; each is logged as one.
void write(Level level, std::string_view text);

template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::error, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::warning, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::info, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::debug)) {
        write(Level::debug, fmt::format(format, std::forward<Args>(args)...));
    }
}

} // namespace iscsi::control::log

// The daemon's log: in the foreground to standard error, else to syslog; where that would reach systemd's
// journal, to the journal itself, with fields. One line an event where one is enough, printable text only,
// never a secret. Nothing here waits: what the reader has no room for is lost. Each line goes to whoever
// monitors the daemon, too. Control's thread (and start-up); shards tell control instead of logging.
#pragma once

#include "base/units.hpp"
#include "ipc/events.hpp"
#include "ipc/requests.hpp"

#include <cstdint>
#include <fmt/format.h>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace iscsi::control::log {

using ipc::Event;
using ipc::Level;

enum class Sink { standard_error, syslog };

/// Where the loggers of the machine listen.
struct Loggers {
    std::string syslog = "/dev/log";
    std::string journal = "/run/systemd/journal/socket";
};

/// `debug_level` as iscsid's -d: 0 logs errors, warnings and the life of sessions, 1 and more adds detail.
/// Standard error is the journal's when JOURNAL_STREAM says so; in the background it is taken when it is
/// there. Lines that it does not take because nobody is there go where they would go without it.
void open(Sink sink, int debug_level, const Loggers& loggers = {});

/// What a line is about; whatever is known of it.
struct About {
    ipc::Event event = ipc::Event::message;
    std::optional<std::uint32_t> sid{};
    std::string target{};
    std::string portal{}; ///< "10.0.0.1:3260"
    std::string iface{};
    std::optional<base::Lun> lun{};
    std::string device{}; ///< "/dev/ublkb0"
};

/// Hears of every line but debug's, also of those that repeat too often for the log. One at a time; empty:
/// nobody.
using Listener = std::function<void(const ipc::EventReply& event)>;
void set_listener(Listener listener);

/// What a listener is told of a line, at this time.
ipc::EventReply event_of(Level level, const About& about, std::string line);

bool enabled(Level level);
/// `text` may have several lines; each is logged as one. Nothing is put before it.
void write(Level level, const About& about, std::string_view text);

/// "session 1 LUN 2: " as far as it is about one.
std::string prefix(const About& about);

/// A line of an event, at the event's level. It has a prefix of what it is about; when the event repeats
/// itself often, lines are left out, and the next one says how many.
template <class... Args>
void event(const About& about, fmt::format_string<Args...> format, Args&&... args) {
    write(ipc::row_of(about.event).level, about,
          prefix(about) + fmt::format(format, std::forward<Args>(args)...));
}

// What has no event of its own.
template <class... Args>
void error(const About& about, fmt::format_string<Args...> format, Args&&... args) {
    write(Level::error, about, prefix(about) + fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warning(const About& about, fmt::format_string<Args...> format, Args&&... args) {
    write(Level::warning, about, prefix(about) + fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void info(const About& about, fmt::format_string<Args...> format, Args&&... args) {
    write(Level::info, about, prefix(about) + fmt::format(format, std::forward<Args>(args)...));
}

// What is about none of its sessions.
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::error, {}, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::warning, {}, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::info, {}, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::debug)) {
        write(Level::debug, {}, fmt::format(format, std::forward<Args>(args)...));
    }
}

/// As write() with nothing that it is about.
inline void write(Level level, std::string_view text) {
    write(level, {}, text);
}

} // namespace iscsi::control::log

#include "control/log.hpp"

#include "base/text.hpp"

#include <array>
#include <cstdio>
#include <syslog.h>

namespace iscsi::control::log {
namespace {

constexpr std::size_t line_bytes_max = 2048;

struct State {
    Sink sink = Sink::standard_error;
    Level most = Level::info;
};

State& state() {
    static State the_state;
    return the_state;
}

} // namespace

void open(Sink sink, int debug_level) {
    state().sink = sink;
    state().most = debug_level > 0 ? Level::debug : Level::info;
    if (sink == Sink::syslog) {
        ::openlog("iscsid", LOG_PID, LOG_DAEMON);
    }
}

bool enabled(Level level) {
    return level <= state().most;
}

void write(Level level, std::string_view text) {
    if (!enabled(level)) {
        return;
    }
    for (std::string_view line : base::split(text, '\n')) {
        if (line.empty()) {
            continue;
        }
        std::string safe = base::printable(line, line_bytes_max);
        if (state().sink == Sink::standard_error) {
            std::fprintf(stderr, "iscsid: %s\n", safe.c_str());
            continue;
        }
        constexpr std::array priorities{LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_DEBUG};
        ::syslog(priorities[static_cast<std::size_t>(level)], "%s", safe.c_str());
    }
}

} // namespace iscsi::control::log

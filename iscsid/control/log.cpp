#include "control/log.hpp"

#include "base/text.hpp"
#include "control/journal.hpp"
#include "control/log_socket.hpp"
#include "control/told_lately.hpp"
#include "ring/loop.hpp"
#include "scsi/capacity.hpp"

#include <array>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

namespace iscsi::control::log {
namespace {

constexpr std::size_t line_bytes_max = 2048;

struct State {
    Sink sink = Sink::standard_error;
    Level most = Level::info;
    std::unique_ptr<LogSocket> syslog;
    std::unique_ptr<LogSocket> journal; ///< none: this is no service of systemd's
    EventLimiter limiter;
    Listener listener;
    mode_t standard_error = 0; ///< what kind of file it is, where that is known
};

State& state() {
    static State the_state;
    return the_state;
}

/// Whether the reader of standard error has room. One that has stopped reading (its own disk may be one of
/// ours) must not stop this daemon: the line is lost then.
void write_to_standard_error(const std::string& line) {
    if (S_ISSOCK(state().standard_error)) { // of the journal
        ::send(STDERR_FILENO, line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        return;
    }
    pollfd ready{STDERR_FILENO, POLLOUT, 0};
    if (S_ISREG(state().standard_error) || (::poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT) != 0)) {
        [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
    }
}

void write_line(Level level, const About& about, const std::string& line) {
    State& log = state();
    if (log.journal != nullptr &&
        log.journal->send(journal_entry(level, about, line)) != LogSocket::Outcome::gone) {
        return;
    }
    if (log.sink == Sink::standard_error) {
        write_to_standard_error(fmt::format("iscsid: {}\n", line));
    } else if (log.syslog != nullptr) {
        log.syslog->send(
            fmt::format("<{}>iscsid[{}]: {}", LOG_DAEMON | syslog_priority(level), ::getpid(), line));
    }
}

/// Of events without a session (a discovery finds and misses hundreds of portals) each node is heard of.
std::size_t node_hash(const About& about) {
    return about.sid
               ? 0
               : std::hash<std::string>()(fmt::format("{}\n{}\n{}", about.target, about.portal, about.iface));
}

/// How many lines like this one were left out since the last one; empty: this one is, too.
std::optional<unsigned> admit(const About& about) {
    if (about.event == ipc::Event::message) {
        return 0; // of all kinds
    }
    const EventLimiter::Key key{about.event, about.sid.value_or(0), about.lun ? about.lun->value() : 0,
                                node_hash(about)};
    return state().limiter.admit(key, ring::monotonic_now());
}

} // namespace

void open(Sink sink, int debug_level, const Loggers& loggers) {
    State& log = state();
    log.sink = sink;
    log.most = debug_level > 0 ? Level::debug : Level::info;
    struct stat info {};
    log.standard_error = ::fstat(STDERR_FILENO, &info) == 0 ? info.st_mode & S_IFMT : 0;
    log.syslog = std::make_unique<LogSocket>(loggers.syslog);
    log.journal = std::make_unique<LogSocket>(loggers.journal);
    const bool is_wanted = sink == Sink::standard_error
                               ? is_journal(std::getenv("JOURNAL_STREAM"), STDERR_FILENO)
                               : log.journal->is_there();
    if (!is_wanted) {
        log.journal.reset();
    }
}

void set_listener(Listener listener) {
    state().listener = std::move(listener);
}

ipc::EventReply event_of(Level level, const About& about, std::string line) {
    using std::chrono::duration_cast;
    ipc::EventReply event;
    event.time_us =
        duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
    event.event = ipc::row_of(about.event).name;
    event.level = text(level);
    event.message = std::move(line);
    event.sid = about.sid;
    event.target = about.target;
    event.portal = about.portal;
    event.iface = about.iface;
    if (about.lun) {
        event.lun = scsi::lun_number(*about.lun);
    }
    event.device = about.device;
    return event;
}

bool enabled(Level level) {
    return level <= state().most;
}

std::string prefix(const About& about) {
    if (!about.sid) {
        return {};
    }
    return about.lun ? fmt::format("session {} LUN {}: ", *about.sid, scsi::describe_lun(*about.lun))
                     : fmt::format("session {}: ", *about.sid);
}

void write(Level level, const About& about, std::string_view text) {
    if (!enabled(level)) {
        return;
    }
    const std::optional<unsigned> left_out = admit(about);
    for (std::string_view piece : base::split(text, '\n')) {
        if (piece.empty()) {
            continue;
        }
        const std::string line = base::printable(piece, line_bytes_max);
        if (state().listener && level <= Level::info) {
            state().listener(event_of(level, about, line));
        }
        if (left_out) {
            const bool tells = *left_out != 0;
            write_line(level, about,
                       tells ? fmt::format("{} ({} more such lines since the last one)", line, *left_out)
                             : line);
        }
    }
}

} // namespace iscsi::control::log

#include "control/log.hpp"

#include "base/text.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

namespace iscsi::control::log {
namespace {

constexpr std::size_t line_bytes_max = 2048;

struct State {
    Sink sink = Sink::standard_error;
    Level most = Level::info;
    int syslog_socket = -1;
};

constexpr std::string_view syslog_path = "/dev/log";

State& state() {
    static State the_state;
    return the_state;
}

/// Whether the reader of standard error has room. One that has stopped reading (its own disk may be one of
/// ours) must not stop this daemon: the line is lost then.
void write_to_standard_error(const std::string& line) {
    pollfd ready{STDERR_FILENO, POLLOUT, 0};
    if (::poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT) != 0) {
        [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
    }
}

int connect_to_syslog() {
    const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    syslog_path.copy(address.sun_path, sizeof address.sun_path - 1);
    if (fd >= 0 && ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        ::close(fd);
        return -1;
    }
    return fd;
}

/// syslog(3) waits for a logger that does not read; this does not.
void send_to_syslog(int priority, const std::string& text) {
    const std::string line = fmt::format("<{}>iscsid[{}]: {}", LOG_DAEMON | priority, ::getpid(), text);
    for (int tries = 0; tries < 2; ++tries) {
        int& fd = state().syslog_socket;
        if (fd < 0) {
            fd = connect_to_syslog();
        }
        if (fd < 0 || ::send(fd, line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ||
            errno == EAGAIN) {
            return;
        }
        ::close(fd); // a logger that was started anew
        fd = -1;
    }
}

} // namespace

void open(Sink sink, int debug_level) {
    state().sink = sink;
    state().most = debug_level > 0 ? Level::debug : Level::info;
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
            write_to_standard_error(fmt::format("iscsid: {}\n", safe));
            continue;
        }
        constexpr std::array priorities{LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_DEBUG};
        send_to_syslog(priorities[static_cast<std::size_t>(level)], safe);
    }
}

} // namespace iscsi::control::log

#include "top_screen.hpp"

#include "terminal.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <initializer_list>
#include <poll.h>
#include <string>
#include <sys/signalfd.h>
#include <unistd.h>

namespace iscsi::adm {
namespace {

constexpr std::string_view alternate_screen = "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J";
constexpr std::string_view usual_screen = "\x1b[?25h\x1b[?1049l";

std::string_view colour_of(TopLine::Kind kind) {
    switch (kind) {
    case TopLine::Kind::titles:
        return "\x1b[7m";
    case TopLine::Kind::total:
        return "\x1b[1m";
    case TopLine::Kind::trouble:
        return "\x1b[31m";
    default:
        return "";
    }
}

} // namespace

Screen::Screen() : is_coloured_(wants_colour(STDOUT_FILENO)), has_keys_(::isatty(STDIN_FILENO) != 0) {
    sigset_t taken;
    sigemptyset(&taken);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH}) {
        sigaddset(&taken, number);
    }
    sigprocmask(SIG_BLOCK, &taken, &mask_before_);
    signals_ = ::signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals_ == -1) {
        // Without it nothing could end us but what restores nothing.
        sigprocmask(SIG_SETMASK, &mask_before_, nullptr);
    }
    enter();
}

Screen::~Screen() {
    leave();
    if (signals_ != -1) {
        ::close(signals_);
        sigprocmask(SIG_SETMASK, &mask_before_, nullptr);
    }
}

void Screen::enter() {
    termios settings{};
    if (has_keys_ && ::tcgetattr(STDIN_FILENO, &settings) == 0) {
        settings_before_ = settings;
        settings.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
        settings.c_cc[VMIN] = 1;
        settings.c_cc[VTIME] = 0;
        ::tcsetattr(STDIN_FILENO, TCSANOW, &settings);
    }
    write_out(alternate_screen);
}

void Screen::leave() {
    write_out(usual_screen);
    if (settings_before_) {
        ::tcsetattr(STDIN_FILENO, TCSANOW, &*settings_before_);
        settings_before_.reset();
    }
}

void Screen::draw(const std::vector<TopLine>& lines) {
    std::string text = "\x1b[H";
    bool is_first = true;
    for (const TopLine& line : lines) {
        // No line's end behind the last one, which may be the terminal's last: it would scroll.
        text += is_first ? "" : "\r\n";
        is_first = false;
        const std::string_view colour = is_coloured_ ? colour_of(line.kind) : std::string_view();
        text += colour;
        text += line.text;
        text += colour.empty() ? "" : "\x1b[0m";
        text += "\x1b[K";
    }
    write_out(text + "\x1b[J");
}

Screen::Event Screen::wait(std::chrono::steady_clock::time_point deadline) {
    while (!is_over_) {
        const auto left = deadline - std::chrono::steady_clock::now();
        const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(left).count();
        std::array<pollfd, 2> waiting{pollfd{signals_, POLLIN, 0},
                                      pollfd{has_keys_ ? STDIN_FILENO : -1, POLLIN, 0}};
        constexpr std::int64_t longest = 1000000000;
        const int timeout = static_cast<int>(std::clamp<std::int64_t>(milliseconds, 0, longest));
        const int ready = ::poll(waiting.data(), waiting.size(), timeout);
        if (ready == 0) {
            return Event::none;
        }
        if (ready > 0 && waiting[1].revents != 0) {
            take_keys();
        }
        if (ready > 0 && waiting[0].revents != 0 && take_signal() == Event::redraw) {
            return Event::redraw;
        }
    }
    return Event::quit;
}

Screen::Event Screen::take_signal() {
    signalfd_siginfo told{};
    if (::read(signals_, &told, sizeof told) != static_cast<ssize_t>(sizeof told)) {
        return Event::none;
    }
    if (told.ssi_signo == SIGTSTP) {
        leave();
        ::raise(SIGSTOP);
        enter();
        return Event::redraw;
    }
    if (told.ssi_signo == SIGWINCH) {
        return Event::redraw;
    }
    is_over_ = true;
    return Event::quit;
}

void Screen::take_keys() {
    std::array<char, 64> keys{};
    const ssize_t n = ::read(STDIN_FILENO, keys.data(), keys.size());
    if (n <= 0) {
        is_over_ = is_over_ || n == 0 || (errno != EINTR && errno != EAGAIN);
        return;
    }
    is_over_ = is_over_ || std::string_view(keys.data(), static_cast<std::size_t>(n)).find_first_of("qQ") !=
                               std::string_view::npos;
}

std::size_t Screen::columns() const {
    // In the last column the end of a line could not be cleared without the character that stands there.
    return std::max<std::size_t>(2, terminal_width(STDOUT_FILENO).value_or(2)) - 1;
}

std::size_t Screen::lines() const {
    return terminal_height(STDOUT_FILENO).value_or(1);
}

void Screen::write_out(std::string_view text) {
    while (!text.empty()) {
        const ssize_t n = ::write(STDOUT_FILENO, text.data(), text.size());
        if (n > 0) {
            text.remove_prefix(static_cast<std::size_t>(n));
        } else if (n < 0 && errno == EAGAIN) {
            pollfd writable{STDOUT_FILENO, POLLOUT, 0};
            ::poll(&writable, 1, -1);
        } else if (n == 0 || errno != EINTR) {
            is_over_ = true; // the terminal is gone
            return;
        }
    }
}

} // namespace iscsi::adm

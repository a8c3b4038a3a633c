// `iscsiadm top`: what is asked of each logical unit, how fast, how long it takes; looked at again and again.
// In place on a terminal, a table a refresh elsewhere, a line of JSON with -j.
#include "base/text.hpp"
#include "context.hpp"
#include "io_look.hpp"
#include "json_output.hpp"
#include "matching.hpp"
#include "messages.hpp"
#include "terminal.hpp"
#include "top_pace.hpp"
#include "top_rows.hpp"
#include "top_screen.hpp"
#include "top_table.hpp"

#include <array>
#include <ctime>
#include <functional>
#include <optional>
#include <thread>
#include <unistd.h>
#include <utility>

namespace iscsi::adm {
namespace {

using std::chrono::steady_clock;

constexpr int line_version = 1;
constexpr std::chrono::seconds patience{5};

struct Pace {
    std::chrono::milliseconds interval{2000};
    std::optional<std::uint64_t> refreshes; ///< for ever without
};

std::string clock_text() {
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    ::localtime_r(&now, &local);
    std::array<char, 16> text{};
    const std::size_t size = std::strftime(text.data(), text.size(), "%H:%M:%S", &local);
    return {text.data(), size};
}

/// What has to be waited for, in a line.
std::string outage_text(const base::Error& error) {
    return error.code == base::Errc::daemon_not_running
               ? "iscsid does not run: waiting for it"
               : fmt::format("{}: asking again", base::printable(error.message()));
}

class TopMode {
public:
    TopMode(const Context& context, Pace pace)
        : context_(context), filter_(adm::filter_of(context)), pace_(pace), is_json_(is_json()) {
        leave_json(); // the lines are no document
        if (!is_json_ && can_rewrite(STDOUT_FILENO)) {
            screen_.emplace();
        }
    }

    int run() {
        const auto begun = steady_clock::now();
        look();
        std::uint64_t done = 0;
        while (!is_over_ && (!pace_.refreshes || done < *pace_.refreshes)) {
            if (!wait_until(next_refresh(begun, pace_.interval, steady_clock::now()))) {
                break;
            }
            look();
            done += has_shown_ ? 1U : 0U;
        }
        const bool is_done = pace_.refreshes && done == *pace_.refreshes;
        if (screen_) {
            screen_.reset();
            // What was asked for by number, or ended it, is to be read.
            if (is_done && !error_) {
                print_lines();
            } else if (error_ && (is_done || is_over_)) {
                complain_of(*error_);
            }
        }
        return error_ && (is_done || is_over_) ? exit_of(error_->code) : exit_ok;
    }

private:
    /// False when the user wants no more.
    bool wait_until(steady_clock::time_point deadline) {
        if (!screen_) {
            std::this_thread::sleep_until(deadline);
            return true;
        }
        for (;;) {
            const Screen::Event event = screen_->wait(deadline);
            if (event != Screen::Event::redraw) {
                return event == Screen::Event::none;
            }
            draw();
        }
    }

    void look() {
        const auto is_over = [this] {
            const Screen::Event event = screen_->wait(steady_clock::now());
            if (event == Screen::Event::redraw) {
                draw();
            }
            return event == Screen::Event::quit;
        };
        auto answer =
            look_at_io(context_.store.paths(), patience, screen_ ? is_over : std::function<bool()>());
        const auto now = steady_clock::now();
        const bool is_first = !has_looked_;
        has_looked_ = true;
        has_shown_ = false;
        if (!answer) {
            if (screen_ && is_over()) {
                return; // that is why there is no answer
            }
            has_shown_ = !is_first;
            take_outage(std::move(answer.error()), is_first);
            return;
        }
        if (error_ && !screen_ && !is_json_) {
            complain("iscsid answers again");
        }
        error_.reset();
        std::vector<ipc::SessionSnapshot> sessions = chosen(std::move(*answer));
        has_shown_ = before_.has_value();
        if (before_) {
            top_ = top_between(before_->sessions, sessions,
                               std::chrono::duration<double>(now - before_->at).count());
            show();
        } else {
            draw();
        }
        before_ = Look{std::move(sessions), now};
    }

    void take_outage(base::Error error, bool is_first) {
        const bool is_new = !error_ || error_->code != error.code;
        error_ = std::move(error);
        // Asked again, it would refuse again.
        is_over_ = error_->code == base::Errc::access_denied;
        if (is_json_) {
            if (!is_first || is_over_) {
                print_json({{"exit_code", exit_of(error_->code)},
                            {"error", std::string(base::text(error_->code))},
                            {"units", ipc::Json::array()}});
            }
        } else if (screen_) {
            draw();
        } else if (is_over_) {
            complain_of(*error_);
        } else if (is_new) {
            complain(outage_text(*error_));
        }
    }

    std::vector<ipc::SessionSnapshot> chosen(std::vector<ipc::SessionSnapshot> sessions) const {
        sessions = matching_sessions(sessions, filter_);
        if (context_.options.session) {
            std::erase_if(sessions,
                          [&](const auto& session) { return session.sid != *context_.options.session; });
        }
        return sessions;
    }

    void show() {
        clock_ = clock_text();
        if (is_json_) {
            print_json(top_json(*top_));
        } else if (screen_) {
            draw();
        } else {
            say(is_begun_ ? "\n" : "");
            is_begun_ = true;
            print_lines();
        }
    }

    void print_lines() {
        for (const TopLine& line : lines_for(terminal_width(STDOUT_FILENO).value_or(0), 0)) {
            say("{}\n", line.text);
        }
        is_over_ = !flush_output() || is_over_;
    }

    void print_json(ipc::Json line) {
        line["version"] = line_version;
        line["time"] =
            std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
        say("{}\n", ipc::text_of(line));
        is_over_ = !flush_output() || is_over_;
    }

    void draw() {
        if (screen_) {
            screen_->draw(lines_for(screen_->columns(), screen_->lines()));
        }
    }

    std::vector<TopLine> lines_for(std::size_t columns, std::size_t lines) const {
        if (error_) {
            return {top_line(TopLine::Kind::trouble, outage_text(*error_), columns)};
        }
        if (!top_) {
            const auto seconds = std::chrono::duration<double>(pace_.interval).count();
            return {top_line(TopLine::Kind::note, fmt::format("the first numbers come after {} s", seconds),
                             columns)};
        }
        return top_lines(*top_, clock_, columns, lines);
    }

    struct Look {
        std::vector<ipc::SessionSnapshot> sessions;
        steady_clock::time_point at; ///< when the answer was there
    };

    const Context& context_;
    records::NodeFilter filter_;
    Pace pace_;
    bool is_json_;
    std::optional<Screen> screen_; ///< where it is refreshed in place
    std::optional<Look> before_;   ///< the last that was answered
    std::optional<Top> top_;       ///< the last that was shown
    std::string clock_;            ///< when that was
    std::optional<base::Error> error_;
    bool has_looked_ = false;
    bool has_shown_ = false; ///< by the last look
    bool is_begun_ = false;  ///< a table was printed
    bool is_over_ = false;
};

} // namespace

int run_top(const Context& context) {
    const Options& options = context.options;
    Pace pace;
    if (options.interval) {
        const auto interval = parse_interval(*options.interval);
        if (!interval) {
            return refuse(fmt::format("Invalid interval '{}'. Must be from 0.1 to 86400 seconds.",
                                      base::printable(*options.interval, 64)));
        }
        pace.interval = *interval;
    }
    if (options.count) {
        pace.refreshes = parse_refreshes(*options.count);
        if (!pace.refreshes) {
            return refuse(fmt::format("Invalid count '{}'. Must be a number above 0.",
                                      base::printable(*options.count, 64)));
        }
    }
    return TopMode(context, pace).run();
}

} // namespace iscsi::adm
